"""A run of a chain of discrete layers from beginning to end, resumed to the bit, and the commands that read it."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from commands import call

from node_oc import pipeline
from node_oc.config import Config
from node_oc.diagnosis import sample_losses
from node_oc.errors import ConfigError
from node_oc.exporting import load_model
from node_oc.pipeline.epochs import EPOCHS
from node_oc.store import read_json

SHORT = ["training.epochs=3", "training.min_updates=0", "export.torch_export=false"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "digits-ternary"
    pipeline.run(Config.preset("digits-ternary", SHORT), folder, name="digits-ternary")
    return folder


@pytest.fixture(scope="module")
def record(run: Path) -> dict[str, Any]:
    return read_json(run / "report.json")


def test_the_record_says_what_the_files_are(run: Path, record: dict[str, Any]) -> None:
    assert read_json(run / "run.json")["finished"]
    for name, about in record["files"].items():
        assert (run / name).stat().st_size == about["bytes"]
    assert set(record["files"]) == {"full.safetensors", "full.json", "full.onnx", "packed.safetensors", "packed.json"}
    assert record["on_disk"] == sum((run / f"packed.{end}").stat().st_size for end in ("safetensors", "json"))
    assert record["smaller"] == record["packed"]["total"]["float32"] / record["on_disk"]
    assert max(record["parity"]["onnx"].values()) < 1e-5
    full, packed = load_model(run / "full").state_dict(), load_model(run / "packed").state_dict()
    assert all(torch.equal(full[key], packed[key]) for key in full)


def test_every_epoch_is_in_the_record(run: Path, record: dict[str, Any]) -> None:
    rows, config = record["epochs"], pipeline.read_config(run)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    split, network = pipeline.load_split(config), load_model(run / "full").network
    assert rows[-1]["metric"] == pytest.approx(1 - sample_losses(network, split.val, split.task).mean())
    assert record["test"]["value"] == pytest.approx(1 - sample_losses(network, split.test, split.task).mean())
    weights = [network.system.discrete(k)[0].weight for k in range(network.depth)]
    shares = [float((weight != 0).float().mean()) for weight in weights]
    assert [layer["nonzero"] for layer in rows[-1]["layers"]] == pytest.approx(shares)
    assert rows[-1]["nonzero"] == pytest.approx(sum(int((w != 0).sum()) for w in weights) / 84480)
    assert rows[-1]["nonzero"] == pytest.approx(record["packed"]["discrete"]["nonzero"])
    start = [pipeline.make_network(config, split).system.discrete(k)[0].weight for k in range(3)]
    assert all(0 < layer["changed"] <= 1 for row in rows for layer in row["layers"])
    one = pipeline.make_network(config, split)
    pipeline.discrete.fit(
        one, pipeline.make_problem(config, split), split.train, config.training.model_copy(update={"epochs": 1}),
        plan=pipeline.discrete.Plan(pipeline.discrete.NAME, cosine=False),
    )  # fmt: skip
    changed = [float((one.system.discrete(k)[0].weight != start[k]).float().mean()) for k in range(3)]
    assert [layer["changed"] for layer in rows[0]["layers"]] == pytest.approx(changed)


def test_the_page_has_every_number(run: Path, record: dict[str, Any]) -> None:
    page = (run / "report.html").read_text()
    assert record["verdict"].partition(". ")[0] in page
    assert page.count("<img") == 1
    assert (run / "epochs.png").exists()
    for row in record["packed"]["layers"]:
        assert f"<td>{row['packed']:,}</td>" in page
    assert {speed["batch"] for speed in record["packed"]["speeds"]} == {1, 256}
    assert not re.search(r"\b(nan|None|inf)\b", page.replace("not set", "").partition("<h2>Data")[0])


def test_onnx_holds_int8_weights(run: Path) -> None:
    held = {each.name: each for each in onnx.load(run / "full.onnx").graph.initializer}
    weight = held["network.system.steps.1.layer.weight"]
    assert weight.data_type == onnx.TensorProto.INT8
    assert list(weight.dims) == [256, 256]
    assert np.isin(onnx.numpy_helper.to_array(weight), [-1, 0, 1]).all()


@pytest.mark.parametrize("at", [7, 32])
def test_resumed_to_the_bit(at: int, run: Path, tmp_path: Path, record: dict[str, Any]) -> None:
    config = Config.preset("digits-ternary", [*SHORT, "export.onnx=false", "training.checkpoint_seconds=0"])

    class Stop(Exception):
        pass

    def stop(name: str, done: int, updates: int, info: Any) -> None:
        if done == at:
            raise Stop

    folder = tmp_path / "run"
    with pytest.raises(Stop):
        pipeline.run(config, folder, only_fit=True, progress=stop)
    pipeline.resume(folder)
    full, other = load_model(run / "full").state_dict(), load_model(folder / "full").state_dict()
    assert all(torch.equal(full[key], other[key]) for key in full)
    one, two = (path / "trainings" / "reference" / EPOCHS for path in (run, folder))
    assert one.read_bytes() == two.read_bytes()


def test_what_asks_for_skips_says_so_in_one_sentence(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in ("diagnose", "crop", "compare", "grow", "noise"):
        code, _, err = call(capsys, monkeypatch, command, run)
        assert code == 1, command
        assert err.strip().startswith(f"node-oc: node-oc {command}: got a run of a chain without skips")
        assert len(err.strip().splitlines()) == 1
    for key, value in {"way": "cut", "flops": 0.5, "budget": 0.1, "certify": True, "plain": False}.items():
        with pytest.raises(ConfigError, match=rf"search\.{key}: got a value with system.kind=discrete"):
            Config.preset("digits-ternary", {f"search.{key}": value})
    with pytest.raises(ConfigError, match=r"training\.driver"):
        Config.preset("digits-ternary", ["training.driver=stochastic_depth"])


def test_predict_reads_both_models(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(run / "full")
    rows = np.arange(2 * 64).reshape(2, 64) % 17
    with (tmp_path / "new.csv").open("w", newline="") as file:
        csv.writer(file).writerows([model.meta["features"], *rows.tolist()])
    said = [call(capsys, monkeypatch, "predict", one, tmp_path / "new.csv") for one in (run, run / "packed.json")]
    assert said[0] == said[1]
    assert said[0][0] == 0
    labels = [row["prediction"] for row in csv.DictReader(said[0][1].splitlines())]
    assert labels == model.predict(torch.tensor(rows))[0]


def test_pack_and_summary(
    run: Path, tmp_path: Path, record: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    before = (run / "packed.safetensors").read_bytes()
    code, out, _ = call(capsys, monkeypatch, "pack", run)  # made again from what is there
    assert code == 0
    assert (run / "packed.safetensors").read_bytes() == before
    assert "steps.1.layer" in out
    assert call(capsys, monkeypatch, "pack", run / "full.json", "--out", tmp_path / "p")[0] == 0
    assert (tmp_path / "p.safetensors").read_bytes() == before
    code, _, err = call(capsys, monkeypatch, "pack", run, "--out", tmp_path / "p")
    assert code == 1
    assert "--overwrite" in err
    assert call(capsys, monkeypatch, "pack", run, "--out", tmp_path / "p", "--overwrite")[0] == 0
    code, out, _ = call(capsys, monkeypatch, "summary", tmp_path / "p.json", "--json", "--batch", 2, "--batch", 3)
    found = json.loads(out)
    assert found["layers"] == record["packed"]["layers"]
    assert [speed["batch"] for speed in found["speeds"]] == [2] * 4 + [3] * 4
    assert found["files"]["p.safetensors"] == len(before)
    code, out, _ = call(capsys, monkeypatch, "summary", run, "--batch", 2, "--threads", 1)
    assert code == 0
    assert "At a batch of 2" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("summary", "RUN", "--threads", 1), "--threads: got no --batch"),
        (("summary", "RUN", "--batch", 0), "batch and turns: got (0, 21)"),
        (("summary", "RUN", "--which", "cropped"), "got no model 'cropped'; there is full, packed"),
        (("pack", "RUN", "--which", "plain"), "got no model 'plain'"),
        (("pack", "nowhere"), "got no model 'cropped'; there is none"),
        (("summary", "nowhere.json"), "No such file"),
    ],
)
def test_wrong_input_of_the_commands(
    arguments: tuple[object, ...], said: str, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    code, _, err = call(capsys, monkeypatch, *(run if each == "RUN" else each for each in arguments))
    assert code == 1
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_a_damaged_packed_file_is_refused(run: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    for end in ("json", "safetensors"):
        (tmp_path / f"p.{end}").write_bytes((run / f"packed.{end}").read_bytes())
    data = bytearray((tmp_path / "p.safetensors").read_bytes())
    data[-20] ^= 4
    (tmp_path / "p.safetensors").write_bytes(data)
    code, _, err = call(capsys, monkeypatch, "summary", tmp_path / "p.json")
    assert code == 1
    assert "does not match p.json" in err
