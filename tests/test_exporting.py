"""Files that someone else can use: the same numbers everywhere, and no code in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from systems import randn, stir_, zero_

from node_oc import exporting, store
from node_oc.data import Scale
from node_oc.discretization import TABLEAUS, DepthGrid, Network
from node_oc.errors import StoreError
from node_oc.exporting import Exported, export, export_onnx, load_model, save_model
from node_oc.inference import Model
from node_oc.system import DenseSystem

X = 5 * randn(40, 3).float()
BATCHES = [1, 7, 256]


def model(table: str = "euler", activation: str = "tanh", regression: bool = False, **system: object) -> Model:
    net = Network(
        DenseSystem(3, 1 if regression else 4, depth=3, width=6, hidden=8, activation=activation, **system),
        DepthGrid((0.5, 1.0, 0.3)), TABLEAUS[table],
    )  # fmt: skip
    stir_(net)
    zero_(net.system, 1)
    net.set_awake([0, 2])
    meta = {"task": "regression" if regression else "classification", "features": ["x", "y", "z"],
            "classes": [] if regression else ["a", "b", "c", "d"]}  # fmt: skip
    y_scale = Scale(torch.tensor([100.0]), torch.tensor([7.0])) if regression else None
    return Model(net, Scale(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([5.0, 5.0, 0.1])), y_scale, meta)


CASES = {
    "euler-tanh": lambda: model(),
    "rk4-gelu-values": lambda: model("rk4", "gelu", regression=True, lift="pad", head="coordinates"),
}


@pytest.fixture(scope="module", params=CASES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path, Exported]:
    stem = tmp_path_factory.mktemp("export") / "net.v2"
    made = CASES[request.param]()
    return made, stem, export(made, stem, X)


def rows(batch: int) -> torch.Tensor:
    return 5 * randn(batch, 3, seed=batch).float()


def test_every_form_is_written_and_nothing_else(exported: tuple[Model, Path, Exported]) -> None:
    _, stem, result = exported
    names = {f"{stem.name}.{ending}" for ending in ("safetensors", "json", "onnx", "pt2")}
    assert {path.name for path in result.files} == {path.name for path in stem.parent.iterdir()} == names
    assert all(result.files.values())


@pytest.mark.parametrize("batch", BATCHES)
def test_onnx_gives_the_same_numbers(exported: tuple[Model, Path, Exported], batch: int) -> None:
    made, stem, result = exported
    session = onnxruntime.InferenceSession(f"{stem}.onnx", providers=["CPUExecutionProvider"])
    theirs = session.run(["y"], {"x": rows(batch).numpy()})[0]
    ours = made(rows(batch)).detach().numpy()
    assert theirs.shape == ours.shape
    assert np.abs(theirs - ours).max() <= 1e-5 * np.abs(ours).max()
    assert result.parity[str(batch)] <= 1e-5


def test_the_onnx_file_is_valid_and_whole(exported: tuple[Model, Path, Exported]) -> None:
    graph = onnx.load(f"{exported[1]}.onnx", load_external_data=False)
    onnx.checker.check_model(graph, full_check=True)
    assert not any(tensor.external_data for tensor in graph.graph.initializer)


@pytest.mark.parametrize("batch", BATCHES)
def test_torch_alone_gives_the_same_numbers(exported: tuple[Model, Path, Exported], batch: int) -> None:
    made, stem, _ = exported
    again = torch.export.load(f"{stem}.pt2").module()
    torch.testing.assert_close(again(rows(batch)), made(rows(batch)), rtol=1e-6, atol=1e-6)


def test_the_program_holds_no_pickle(exported: tuple[Model, Path, Exported]) -> None:
    with ZipFile(f"{exported[1]}.pt2") as archive:
        assert not any(name.endswith((".pkl", ".py")) for name in archive.namelist())
        samples = [entry for entry in archive.infolist() if "sample_inputs" in entry.filename]
        assert [entry.file_size for entry in samples] == [0] * len(samples)
        for name in archive.namelist():  # a pickle of protocol 2 and up begins with 0x80 and its number
            assert not (name.endswith(".pt") and archive.read(name)[:1] == b"\x80")


def test_a_loaded_model_is_the_same_to_the_bit(exported: tuple[Model, Path, Exported]) -> None:
    made, stem, _ = exported
    again = load_model(stem)
    assert torch.equal(again(rows(7)), made(rows(7)))
    assert again.predict(rows(7))[0] == made.predict(rows(7))[0]
    assert (again.meta, again.network.awake, again.training) == (made.meta, (0, 2), False)


def test_forms_can_be_left_out(tmp_path: Path) -> None:
    result = export(model(), tmp_path / "net", X, onnx=False, torch_export=False)
    assert {path.suffix for path in result.files} == {".safetensors", ".json"}
    assert result.parity == {}


def test_an_onnx_file_that_disagrees_is_refused_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting.files, "PARITY", -1.0)
    with pytest.raises(StoreError, match="a relative difference of"):
        export_onnx(model(), X, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_an_onnx_file_of_a_network_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    broken = model()
    with torch.no_grad():
        broken.network.system.group(0)[1].fill_(torch.nan)
    with pytest.raises(StoreError, match="a relative difference of nan"):
        export_onnx(broken, X, tmp_path / "net.onnx")


def damage_bytes(stem: Path) -> None:
    data = bytearray(Path(f"{stem}.safetensors").read_bytes())
    data[-3] ^= 1
    Path(f"{stem}.safetensors").write_bytes(data)


def damage_json(stem: Path) -> None:
    record = json.loads(Path(f"{stem}.json").read_text())
    record["meta"]["classes"] = ["d", "c", "b", "a"]
    Path(f"{stem}.json").write_text(json.dumps(record))


def swap(stem: Path, ending: str) -> None:
    other = model(activation="gelu")
    save_model(other, stem.with_name("other"))
    stem.with_name(f"other.{ending}").rename(f"{stem}.{ending}")


DAMAGES = {
    "truncated weights": lambda stem: Path(f"{stem}.safetensors").write_bytes(
        Path(f"{stem}.safetensors").read_bytes()[:-8]
    ),
    "truncated description": lambda stem: Path(f"{stem}.json").write_text(Path(f"{stem}.json").read_text()[:-8]),
    "altered weights": damage_bytes,
    "altered description": damage_json,
    "missing weights": lambda stem: Path(f"{stem}.safetensors").unlink(),
    "missing description": lambda stem: Path(f"{stem}.json").unlink(),
    "swapped weights": lambda stem: swap(stem, "safetensors"),
    "swapped description": lambda stem: swap(stem, "json"),
    "empty weights": lambda stem: Path(f"{stem}.safetensors").write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_files_that_are_not_what_was_written_are_refused(damage: Callable[[Path], object], tmp_path: Path) -> None:
    stem = tmp_path / "net"
    save_model(model(), stem)
    load_model(stem)
    damage(stem)
    with pytest.raises(StoreError, match=str(tmp_path)):
        load_model(stem)


def other_width(meta: dict) -> None:
    meta["network"]["system"]["width"] = 7


@pytest.mark.parametrize(
    "change",
    [
        other_width,
        lambda meta: meta.pop("network"),
        lambda meta: meta.pop("task"),
        lambda meta: meta["network"].update(table="rk5"),
        lambda meta: meta["network"].update(h=[1.0]),
        lambda meta: meta["network"].update(awake=[9]),
        lambda meta: meta["network"]["system"].update(activation="sine"),
    ],
)
def test_whole_files_that_describe_no_model_are_refused(change: Callable[[dict], object], tmp_path: Path) -> None:
    """Such as a later version could write."""
    made = model()
    meta = {"network": made.network.spec(), **made.meta}
    change(meta)
    store.save_model(tmp_path / "net", made.state_dict(), meta)
    with pytest.raises(StoreError):
        load_model(tmp_path / "net")
