"""IDX files: round trips of every type, any bytes at all, and each way a file can be wrong."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from node_oc.data import idx, read_idx
from node_oc.errors import DataError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def encoded(array: np.ndarray) -> bytes:
    """The format written from its description, apart from the reader."""
    code = CODES[array.dtype.kind + str(array.dtype.itemsize)]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("idx") / "some-idx"


arrays = st.sampled_from(sorted(CODES)).flatmap(lambda kind: hnp.arrays(kind, hnp.array_shapes(max_dims=4, max_side=4)))


@given(arrays, st.booleans())
def test_written_arrays_come_back(file: Path, array: np.ndarray, zipped: bool) -> None:
    file.write_bytes(gzip.compress(encoded(array), 1, mtime=0) if zipped else encoded(array))
    back = read_idx(file)
    assert back.dtype == array.dtype
    assert back.dtype.isnative
    np.testing.assert_array_equal(back, array)
    back[...] = 0  # writable, and not a view of the file


headers = st.builds(
    lambda code, sizes, body: bytes([0, 0, code, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes) + body,
    st.sampled_from([*CODES.values(), 0x0A]),
    st.lists(st.integers(0, 2**32 - 1), max_size=70),
    st.binary(),
)


@given(st.one_of(st.binary(), headers, headers.map(gzip.compress), st.binary().map(lambda b: b"\x1f\x8b" + b)))
def test_any_bytes_are_an_array_or_a_data_error(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    try:
        array = read_idx(file)
    except DataError as error:
        assert str(file) in str(error)  # noqa: PT017  # either outcome is right
    else:
        assert array.size > 0


@given(arrays, st.data())
def test_damaged_files_are_refused(file: Path, array: np.ndarray, data: st.DataObject) -> None:
    content = encoded(array)
    zipped = gzip.compress(content, 1, mtime=0)
    damage = data.draw(st.sampled_from(["cut", "cut zip", "longer"]))
    if damage == "longer":
        file.write_bytes(content + data.draw(st.binary(min_size=1)))
    elif damage == "cut":
        file.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    else:
        file.write_bytes(zipped[: data.draw(st.integers(0, len(zipped) - 1))])
    with pytest.raises(DataError):
        read_idx(file)


WHOLE = encoded(np.arange(6, dtype="u1").reshape(2, 3))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a", b"", "an empty file"),
        ("a.gz", b"", "an empty file"),
        ("a", gzip.compress(b"", mtime=0), "an empty file"),
        ("a", b"<html></html>", "starts with 3c 68 74 6d"),
        ("a", b"\0\0", "starts with 00 00"),
        ("a", b"\0\1\x08\x01\0\0\0\1\0", "starts with 00 01"),
        ("a", b"\0\0\x07\x01\0\0\0\1\0", "type code 0x07.*0x08, 0x09, 0x0b"),
        ("a", b"\0\0\x08\0\0", "0 dimensions"),
        ("a", b"\0\0\x08\x41" + b"\0\0\0\1" * 65 + b"\0", "65 dimensions"),
        ("a", WHOLE[:9], "header of 9 bytes, expected 12"),
        ("a", WHOLE[:-1], "17 bytes .truncated., expected 18"),
        ("a", WHOLE + b"\0", "19 bytes .bytes left over"),
        ("a", b"\0\0\x08\x01\0\0\0\0", r"shape \(0,\)"),
        ("a.gz", WHOLE, "not gzip.*remove .gz"),
        ("a.gz", gzip.compress(WHOLE, mtime=0)[:-9], "does not unzip"),
        ("a.gz", gzip.compress(WHOLE, mtime=0)[:10] + b"\xff" * 9, "does not unzip"),
        ("a.gz", gzip.compress(WHOLE, mtime=0)[:-8] + bytes(8), "does not unzip"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        read_idx(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_missing_files_and_directories_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing.*no such file"):
        read_idx(tmp_path / "nothing")
    with pytest.raises(DataError, match="a directory"):
        read_idx(tmp_path)
    for odd in ("a\0b", "a" * 5000):
        with pytest.raises(DataError):
            read_idx(odd)


PARTS = {
    "train-images-idx3-ubyte": np.arange(24 * 6, dtype="u1").reshape(24, 2, 3),
    "train-labels-idx1-ubyte": np.arange(24, dtype="u1") % 2,
    "t10k-images-idx3-ubyte": np.arange(5 * 6, dtype="u1").reshape(5, 2, 3),
    "t10k-labels-idx1-ubyte": np.arange(5, dtype="u1") % 2,
}


def write(folder: Path, rename: Callable[[str], str] = str, **changed: np.ndarray) -> Path:
    for name, array in PARTS.items():
        content = encoded(changed.get(name.split("-idx")[0].replace("-", "_"), array))
        file = folder / rename(name)
        file.write_bytes(gzip.compress(content, mtime=0) if file.suffix == ".gz" else content)
    return folder


@pytest.mark.parametrize(
    "rename",
    [str, "{}.gz".format, lambda n: n.replace("-idx", ".idx"), lambda n: n.replace("-idx", ".idx") + ".gz"],
)
def test_a_directory_is_split_in_order(tmp_path: Path, rename: Callable[[str], str]) -> None:
    split = idx(write(tmp_path, rename))
    assert [len(split.train), len(split.val), len(split.test)] == [20, 4, 5]
    assert (split.inputs, split.features[-1], split.classes) == (6, "pixel_5", ("0", "1"))
    raw = np.arange(20 * 6)
    assert split.x_scale.mean.item() == raw.mean()
    torch.testing.assert_close(split.x_scale.std.item(), raw.std())
    back = split.x_scale.undo(torch.cat([split.train.x, split.val.x]).double())
    torch.testing.assert_close(back, torch.arange(144.0).double().reshape(24, 6), rtol=0, atol=1e-4)
    assert torch.cat([split.train.y, split.val.y]).tolist() == [0, 1] * 12


def test_labels_with_gaps_keep_their_names(tmp_path: Path) -> None:
    split = idx(
        write(
            tmp_path,
            train_labels=np.tile(np.array([3, 200], "u1"), 12),
            t10k_labels=np.array([200, 3, 3, 3, 3], "u1"),
        )
    )
    assert split.classes == ("3", "200")
    assert split.test.y.tolist() == [1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"train_labels": np.zeros(23, "u1")}, r"train-images.*\(24, 2, 3\) and \(23,\)"),
        ({"train_images": np.zeros(24, "u1")}, r"\(24,\) and \(24,\)"),
        ({"t10k_images": np.zeros((5, 3, 3), "u1")}, "of 6 and test images of 9 pixels"),
        ({"train_images": np.zeros((5, 2, 3), "u1"), "train_labels": np.zeros(5, "u1")}, "5 training images"),
        ({"t10k_labels": np.zeros(5, "u1")}, "test part: got no sample of class '1'"),
        ({"train_labels": -np.arange(24, dtype="i1") % 2 - 1}, "negative"),
        ({"train_labels": np.repeat(np.array([0, 1], "u1"), 12)}, "val part: got no sample of class '0'"),
        ({"train_images": np.full((24, 2, 3), np.nan, "f4")}, "train, column 'pixel_0', row 0"),
    ],
)
def test_directories_that_do_not_fit_are_named(tmp_path: Path, changed: dict, says: str) -> None:
    with pytest.raises(DataError, match=says):
        idx(write(tmp_path, **changed))


def test_missing_members_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no directory"):
        idx(tmp_path / "nowhere")
    write(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"a file 't10k-labels-idx1-ubyte' or 't10k-labels-idx1-ubyte.gz'"):
        idx(tmp_path)
