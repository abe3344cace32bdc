"""Files: exact round trips, and a StoreError for every truncated, altered or unwritable one."""

from __future__ import annotations

import copy
import errno
import json
import math
import os
import resource
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from node_oc import store
from node_oc.errors import StoreError

META = {"epoch": 3, "best": math.inf, "shape": (2, 3), "name": "é", "by depth": {4: 0.5}, "$x": None}


def tensors() -> dict[str, Tensor]:
    base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    return {"a.b": base, "view": base[1:], "strided": base.t(), "bits": torch.tensor([True, False])}


def same(x: object, y: object) -> bool:
    """Equal in value, type and order; nan equals nan."""
    if isinstance(x, Tensor):
        if not isinstance(y, Tensor) or x.dtype != y.dtype or x.shape != y.shape:
            return False
        return torch.equal(*(t.contiguous().view(-1).view(torch.uint8) for t in (x, y)))
    if type(x) is not type(y):
        return False
    if isinstance(x, dict) and isinstance(y, dict):
        return same(list(x.items()), list(y.items()))
    if isinstance(x, (list, tuple)) and isinstance(y, (list, tuple)):
        return len(x) == len(y) and all(map(same, x, y))
    return repr(x) == repr(y)


# ---------------------------------------------------------------- trees

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64]
SHAPES = st.lists(st.integers(0, 3), max_size=3)
TENSORS = st.builds(lambda shape, dtype: (torch.randn(shape) * 9).to(dtype), SHAPES, st.sampled_from(DTYPES))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
KEYS = st.one_of(SCALARS, st.sampled_from(["$tensor", "$dict", "__metadata__", "a.b", "a", "b"]))
TREES = st.recursive(
    st.one_of(SCALARS, TENSORS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(tree=TREES)
def test_any_tree_comes_back_exactly(tree: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "tree.safetensors"
    flat, skeleton = store.flatten(tree)
    store.save(path, flat, {"skeleton": skeleton})
    again, meta = store.load(path)
    assert same(store.unflatten(again, meta["skeleton"]), tree)


def test_flatten_names_places_and_cuts_ties() -> None:
    base = torch.zeros(4, requires_grad=True)
    tree = {"a.b": base, "a": {"b": base[:2]}, "__metadata__": torch.tensor(1.0), 0: torch.nn.Parameter(base)}
    flat, skeleton = store.flatten(tree)
    assert list(flat) == ["a.b", "a.b~", "__metadata__~", "0"]
    assert all(not t.requires_grad and t.is_contiguous() and type(t) is Tensor for t in flat.values())
    with torch.no_grad():
        base += 1
    assert store.unflatten(flat, skeleton)["a"]["b"].tolist() == [0, 0]
    assert store.flatten(torch.ones(1))[1] == {"$tensor": "tensor"}
    assert store.flatten({"x": [1, 2.5, None, "s"]}) == ({}, {"x": [1, 2.5, None, "s"]})


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_optimizer_state(name: str, tmp_path: Path) -> None:
    net = torch.nn.Linear(3, 2)
    optimizer = getattr(torch.optim, name)(net.parameters(), lr=0.1)
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    tree = {"optimizer": optimizer.state_dict(), "rng": torch.get_rng_state(), "best": math.nan}
    flat, skeleton = store.flatten(tree)
    store.save(tmp_path / "c.safetensors", flat, {"skeleton": skeleton})
    flat, meta = store.load(tmp_path / "c.safetensors")
    again = store.unflatten(flat, meta["skeleton"])
    assert same(again, tree)
    optimizer.load_state_dict(again["optimizer"])


@pytest.mark.parametrize(
    ("tree", "place"),
    [
        ({"a": [0, {1}]}, "a.1"),
        ({"a": {(1, 2): 0}}, "a"),
        ({"a": np.float32(1)}, "a"),
        ({"a": torch.eye(2).to_sparse()}, "tensor a"),
        ({"a": torch.empty(2, device="meta")}, "tensor a"),
        ({"a": torch.zeros(2, dtype=torch.complex128)}, "tensor a"),
        (b"bytes", "value"),
    ],
)
def test_flatten_refuses_by_place(tree: object, place: str) -> None:
    with pytest.raises(StoreError) as caught:
        store.flatten(tree)
    assert caught.value.what == place


@pytest.mark.parametrize(
    "skeleton",
    [{"$tensor": "b"}, {"$tensor": []}, {"$what": 1}, {"$dict": 3}, {"$tuple": 1}, {"$float": "x"}],
)
def test_unflatten_refuses(skeleton: object) -> None:
    with pytest.raises(StoreError, match="skeleton"):
        store.unflatten({"a": torch.ones(1)}, [skeleton])


# ---------------------------------------------------------------- checkpoints and exports


def test_save_and_load(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    store.save(path, tensors(), META)
    again, meta = store.load(path)
    assert same(meta, META)
    assert all(same(again[name], tensor) for name, tensor in tensors().items())
    first = path.read_bytes()
    store.save(path, tensors(), META)
    assert path.read_bytes() == first, "the same content gives the same bytes"
    assert [child.name for child in tmp_path.iterdir()] == [path.name]
    assert stat.S_IMODE(path.stat().st_mode) & 0o600 == 0o600
    with pytest.raises(StoreError, match=r"meta\.net"):
        store.save(path, {}, {"net": torch.ones(1)})
    for bad in [{"__metadata__": torch.ones(1)}, {"x": torch.ones(1, dtype=torch.complex128)}]:
        with pytest.raises(StoreError):
            store.save(path, bad, {})
    assert path.read_bytes() == first


def test_every_flipped_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    store.save(path, tensors(), META)
    data = path.read_bytes()
    mark = data.index(b'"sha256":"') + 10
    letters = [at for at in range(mark, mark + 64) if data[at : at + 1].isalpha()]  # A and a, the same digit
    for at, flip in [*((at, 1 << at % 8) for at in range(0, len(data), 2)), *((at, 0x20) for at in letters)]:
        path.write_bytes(data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :])
        with pytest.raises(StoreError):
            store.load(path)


def test_truncated_foreign_missing(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    store.save(path, tensors(), META)
    data = path.read_bytes()
    for length in {*range(0, len(data), max(1, len(data) // 60)), len(data) - 1}:
        path.write_bytes(data[:length])
        with pytest.raises(StoreError):
            store.load(path)
    plain = b"\x02\0\0\0\0\0\0\0{}"
    deep = (9999).to_bytes(8, "little") + b"[" * 9999
    for other in [data + b"\0", plain, b"\x80\x04pickle" * 9, deep, b"\x02\0\0\0\0\0\0\0[]", bytes(64)]:
        path.write_bytes(other)
        with pytest.raises(StoreError):
            store.load(path)
    with pytest.raises(StoreError, match="No such file"):
        store.load(tmp_path / "none")
    with pytest.raises(StoreError, match="directory"):
        store.load(tmp_path)


def test_newer_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node_oc.store.tensors.FORMAT", store.FORMAT + 1)
    store.save(tmp_path / "c", tensors(), {})
    store.save_model(tmp_path / "m", tensors(), {})
    monkeypatch.undo()
    with pytest.raises(StoreError, match="Upgrade"):
        store.load(tmp_path / "c")
    with pytest.raises(StoreError, match="Upgrade"):
        store.load_model(tmp_path / "m")


def test_models(tmp_path: Path) -> None:
    stem = tmp_path / "net.v2"
    store.save_model(stem, tensors(), META)
    again, meta = store.load_model(stem)
    assert same(meta, META)
    assert same(again["strided"], tensors()["strided"])
    assert json.loads((tmp_path / "net.v2.json").read_text("utf-8"))["meta"]["$dict"][0] == ["epoch", 3]

    weights, description = tmp_path / "net.v2.safetensors", tmp_path / "net.v2.json"
    text, data = description.read_bytes(), weights.read_bytes()
    for at in range(len(text)):  # an altered description is refused, or says the same (white space)
        description.write_bytes(text[:at] + bytes([text[at] ^ 1 << at % 8]) + text[at + 1 :])
        try:
            assert same(store.load_model(stem)[1], META)
        except StoreError:
            continue
        assert text[at : at + 1].isspace()
    description.write_bytes(text)
    store.save(weights, {"a": torch.ones(1)}, {})  # as after a kill between the two files
    with pytest.raises(StoreError, match="does not match"):
        store.load_model(stem)
    weights.write_bytes(data)
    for broken in (b"[]", b"{}", b"3", b"", text.replace(b'"format": 1', b'"format": 0')):
        description.write_bytes(broken)
        with pytest.raises(StoreError):
            store.load_model(stem)
    description.unlink()
    with pytest.raises(StoreError, match="No such file"):
        store.load_model(stem)


# ---------------------------------------------------------------- failing disks


def untouched(path: Path) -> bool:
    return path.read_bytes() == b"old" and [child.name for child in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize(
    ("error", "word"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "full disk"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (KeyboardInterrupt("killed"), "killed"),
    ],
)
def test_failure_leaves_the_old_file(
    call: str, error: BaseException, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StoreError if isinstance(error, OSError) else KeyboardInterrupt, match=word):
        store.write_atomic(path, b"new")
    monkeypatch.undo()
    assert untouched(path)
    store.write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_disk_that_fills_up_halfway(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(StoreError, match="File too large"):
            store.save(path, {"a": torch.zeros(10_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert untouched(path)


def test_a_kill_during_a_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    pid = os.fork()
    if pid == 0:  # the child dies between write and rename, with no chance to clean up
        os.replace = lambda *_: os.kill(os.getpid(), 9)
        store.write_atomic(path, b"new")
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 9
    assert path.read_bytes() == b"old"


def test_unwritable_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(StoreError, match="no such directory"):
        store.write_atomic(tmp_path / "none" / "x", b"")
    with pytest.raises(StoreError, match="file where a directory"):
        store.write_atomic(tmp_path / "file" / "x", b"")
    with pytest.raises(StoreError, match="file where a directory"):
        store.output_directory(tmp_path / "file")
    with pytest.raises(StoreError, match="file where a directory"):
        store.output_directory(tmp_path / "file" / "x")

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", denied)
    with pytest.raises(StoreError, match="Permission denied"):
        store.output_directory(tmp_path / "out")
    monkeypatch.setattr("builtins.open", denied)
    with pytest.raises(StoreError, match="Permission denied"):
        store.write_atomic(tmp_path / "y", b"")


# ---------------------------------------------------------------- JSON and directories


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    store.write_json(path, {"é": (1, 2.5), "rate": math.inf, "n": [math.nan, -math.inf], "x": np.float64(2)})
    assert store.read_json(path) == {"é": [1, 2.5], "rate": "inf", "n": ["nan", "-inf"], "x": 2.0}
    assert "é" in path.read_text("utf-8")
    for bad, place in [
        ({"a": {1: 2}}, "a"),
        ({"a": [torch.ones(1)]}, "a.0"),
        ({"a": 1 << 99_999}, str(path)),
    ]:
        with pytest.raises(StoreError) as caught:
            store.write_json(path, bad)
        assert caught.value.what == place
    assert store.read_json(path)["rate"] == "inf"
    for broken in (b"{", b"\xff", b"[" * 100_000, b""):
        path.write_bytes(broken)
        with pytest.raises(StoreError, match="no valid JSON"):
            store.read_json(path)


def test_output_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "runs" / "1"
    assert store.output_directory(str(out)) == out
    assert store.output_directory(out, overwrite=True) == out
    (out / "notes.txt").write_text("mine")
    for overwrite, words in [(False, "Use --overwrite or another --out"), (True, "did not write")]:
        with pytest.raises(StoreError, match=words):
            store.output_directory(out, overwrite)
    assert (out / "notes.txt").read_text() == "mine"

    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "kept").write_text("kept")
    (out / "run.json").write_text("{}")
    (out / "sub").mkdir()
    (out / "sub" / "x").write_text("x")
    (out / "link").symlink_to(tmp_path / "else")
    with pytest.raises(StoreError):
        store.output_directory(out)
    with monkeypatch.context() as patch:
        patch.chdir(out / "sub")
        with pytest.raises(StoreError, match="working directory"):
            store.output_directory(out, overwrite=True)
    assert store.output_directory(out, overwrite=True) == out
    assert list(out.iterdir()) == []
    assert (tmp_path / "else" / "kept").exists()


def test_an_error_survives_the_way_between_processes() -> None:
    error = StoreError("file", got=7, expected="eight", do="Count again.")
    again = copy.copy(error)  # by the same protocol
    assert type(again) is StoreError
    assert (str(again), again.what, again.got) == (str(error), "file", 7)
