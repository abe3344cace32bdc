"""A run leaves files that can be used, resumes to the bit, and loses nothing when something goes wrong."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import node_oc
from node_oc import pipeline, store
from node_oc.config import Config
from node_oc.errors import ConfigError, NodeOCError, StoreError

SMALL = {
    "system.depth": 4, "data.train": 200, "data.val": 400, "data.test": 300, "data.turns": 0.5,
    "training.epochs": 60, "training.min_updates": 0, "export.onnx": False, "export.torch_export": False,
}  # fmt: skip


def config(**changes: object) -> Config:
    return Config.preset("spirals", {**SMALL, **{k.replace("__", "."): v for k, v in changes.items()}})


def hashes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.safetensors"))}


@pytest.fixture(scope="module", params=["grow", "cut"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    pipeline.run(config(search__way=request.param), folder, name="whole")
    return folder


def test_a_run_leaves_report_pictures_and_a_model(whole: Path) -> None:
    names = {p.name for p in whole.iterdir()}
    assert {"report.json", "report.html", "cropped.safetensors", "cropped.json", "full.json", "config.toml"} <= names
    told = "growth" if pipeline.read_config(whole).search.way == "grow" else "price_curve"
    drawn = {"trajectories", "portrait", "profile", "comparison", told, "minimisers", "reliability"}
    assert {p.stem for p in whole.glob("*.png")} == drawn
    record = json.loads((whole / "report.json").read_text())
    depth = record["depth"]["depth"]
    assert record["models"][1]["layers"] == depth == pipeline.read_network(whole, "cropped").depth
    assert str(depth) in record["verdict"]
    assert json.loads((whole / "run.json").read_text())["finished"]
    assert not list(whole.rglob("*.pkl"))


def test_the_record_agrees_with_the_networks(whole: Path) -> None:
    record = json.loads((whole / "report.json").read_text())
    split = pipeline.load_split(config())
    for entry in record["models"]:
        network = pipeline.read_network(whole, entry["name"])
        right = (network(split.test.x).argmax(1) == split.test.y).double().mean()
        assert entry["metric"]["value"] == pytest.approx(float(right))
        assert entry["metric"]["low"] <= entry["metric"]["value"] <= entry["metric"]["high"]
    full, cropped = (pipeline.read_network(whole, n)(split.test.x).argmax(1) for n in ("full", "cropped"))
    assert record["disagreement"] == pytest.approx(float((full != cropped).double().mean()))


@pytest.mark.long
def test_interrupted_in_any_training_it_resumes_to_the_same_bits(whole: Path, tmp_path: Path) -> None:
    trainings, options = sorted(p.name for p in (whole / "trainings").iterdir()), pipeline.read_config(whole)
    cut = ("reference", "-refit", "heal")
    for kind in ("start", "deep", "refit") if options.search.way == "grow" else cut:
        name = next(n for n in trainings if kind in n)

        def interrupt(training: str, done: int, updates: int, info: object, name: str = name) -> None:
            if training == name and done == updates // 2 + 1:
                raise KeyboardInterrupt

        folder = tmp_path / name
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(options.replace({"training.checkpoint_seconds": 0.0}), folder, progress=interrupt)
        network = pipeline.read_network(folder)  # a usable run
        assert network(torch.zeros(1, 2)).shape == (1, 2)
        pipeline.resume(folder)
        assert hashes(folder) == hashes(whole)


@pytest.mark.long  # `make kill` has ten more of them
def test_killed_with_signal_9_it_resumes_to_the_same_bits(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    code = (
        "import sys; from node_oc import pipeline; from node_oc.config import Config;"
        "pipeline.run(Config.load(sys.argv[1]), sys.argv[2], name='whole')"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(whole / "config.toml"), str(folder)])
    while process.poll() is None and len(list(folder.glob("trainings/*/history.jsonl"))) < 3:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    pipeline.resume(folder)
    assert hashes(folder) == hashes(whole)


def test_a_finished_run_resumes_to_itself_without_training(whole: Path) -> None:
    before = hashes(whole)
    calls: list[int] = []
    pipeline.resume(whole, progress=lambda *a: calls.append(1))
    assert not calls
    assert hashes(whole) == before


def test_an_existing_directory_is_refused_unless_overwritten(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="--overwrite"):
        pipeline.run(pipeline.read_config(whole), whole)
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(StoreError, match="did not write"):
        pipeline.run(config(), tmp_path, overwrite=True)
    assert (tmp_path / "mine.txt").exists()


def test_a_configuration_that_does_not_fit_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(NodeOCError, match=r"system.width"):
        pipeline.run(config(system__width=1), tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_an_altered_configuration_is_noticed_at_resume(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    pipeline.run(config(), folder, only_fit=True)
    store.write_atomic(folder / "config.toml", config(training__learning_rate=0.1).to_toml().encode())
    with pytest.raises(StoreError, match="another training"):
        pipeline.resume(folder)


def test_a_full_disk_leaves_a_run_that_can_be_resumed(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, saves = tmp_path / "full", []
    real = os.replace

    def replace(source: object, target: object) -> None:
        saves.append(target)
        if len(saves) > 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(StoreError, match="full disk"):
        pipeline.run(pipeline.read_config(whole), folder, name="whole")
    monkeypatch.undo()
    pipeline.resume(folder)
    assert hashes(folder) == hashes(whole)


def test_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="directory of a run"):
        pipeline.resume(tmp_path)
    with pytest.raises(StoreError, match="no network"):
        pipeline.read_network(tmp_path)


def test_regression_runs_end_to_end(tmp_path: Path) -> None:
    x = torch.rand(150, 2, generator=torch.Generator().manual_seed(0))
    lines = ["a,b,y", *(f"{a:.4f},{b:.4f},{a * b + 0.5:.4f}" for a, b in x.tolist())]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    changes = {
        "data.source": "table", "data.path": str(tmp_path / "t.csv"), "data.target": "y", "data.task": "regression",
        "system.depth": 3, "system.width": 4, "system.hidden": 8, "training.epochs": 40, "training.min_updates": 0,
        "export.onnx": False, "export.torch_export": False,
    }  # fmt: skip
    record = pipeline.run(Config.load(None, changes), tmp_path / "r")
    assert record["models"][0]["metric"]["name"] == "loss"
    assert record["disagreement"] is None
    model = node_oc.load_model(tmp_path / "r" / "cropped")
    values, none = model.predict(x[:3])
    assert none.shape == (3, 0)
    assert 0.3 < values[0] < 1.7  # in the target's own units


def test_unknown_preset() -> None:
    with pytest.raises(ConfigError, match="spirals"):
        Config.load("spirls")
