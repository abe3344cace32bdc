"""`node-oc grow`: a finished run goes on deeper as a new run, resumable; wrong input leaves nothing behind."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from commands import call

from node_oc import pipeline
from node_oc.config import Config

CONFIG = {
    "data.turns": 1.0, "data.train": 200, "data.val": 400, "data.test": 100, "system.depth": 1, "system.width": 4,
    "system.hidden": 8, "training.epochs": 100, "training.learning_rate": 2e-2, "training.min_updates": 0,
    "training.checkpoint_seconds": 0.0, "search.plain": False, "export.onnx": False, "export.torch_export": False,
}  # fmt: skip
MODULE = sys.modules["node_oc.cli.grow"]


def hashes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.safetensors"))}


@pytest.fixture(scope="module", autouse=True)
def _no_pictures() -> Iterator[None]:
    """They are drawn elsewhere, and take longer than everything here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("node_oc.pipeline.running.draw_all", lambda *a: {})
        yield


@pytest.fixture(scope="module")
def shallow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with room for one layer, which it needs."""
    folder = tmp_path_factory.mktemp("runs") / "shallow"
    pipeline.run(Config.preset("spirals", CONFIG), folder)
    assert pipeline.read_network(folder, "cropped").depth == 1
    return folder


@pytest.fixture
def run(shallow: Path, tmp_path: Path) -> Path:
    """A copy of that run, to write beside."""
    return Path(shutil.copytree(shallow, tmp_path / "runs" / "mine"))


def test_a_run_goes_on_deeper_and_is_resumed_to_the_same_bits(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hashes(run)
    code, out, _ = call(capsys, monkeypatch, "grow", run, "--depth", 4)
    assert code == 0
    whole = run.with_name("mine-grown")
    record = json.loads((whole / "report.json").read_text())
    assert record["verdict"] in out
    assert record["name"] == "mine-grown"
    assert (record["config"]["system"]["depth"], record["config"]["search"]["way"]) == (4, "grow")
    growth = record["growth"]
    assert (growth["started"], growth["limit"]) == (1, 4)
    first = growth["windows"][0]
    assert (first["name"], first["role"], first["start"], first["steps"]) == ("grow-1-shallow", "shallow", 0, [1])
    x = torch.zeros(3, 2)
    assert torch.equal(pipeline.read_network(whole, "start")(x), pipeline.read_network(run, "cropped")(x))
    assert hashes(run) == before

    name = growth["windows"][1]["name"]

    def interrupt(training: str, done: int, updates: int, info: object) -> None:
        if training == name and done == updates // 2 + 1:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def interrupting() -> Iterator[object]:
        yield interrupt

    part = run.with_name("part")
    with monkeypatch.context() as patch:
        patch.setattr(MODULE, "bars", interrupting)
        code, _, err = call(capsys, monkeypatch, "grow", run, "--depth", 4, "--out", part)
    assert code == 130
    assert f"node-oc resume {part}" in err
    assert not (part / "report.json").exists()
    shutil.rmtree(run)  # what it started from is kept in the new run
    code, out, _ = call(capsys, monkeypatch, "resume", part)
    assert code == 0
    assert record["verdict"] in out
    assert hashes(part) == hashes(whole)
    assert {"start.safetensors", "cropped.safetensors", "full.safetensors"} <= {*hashes(part)}


def test_which_network_goes_on_and_for_how_long_can_be_said(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = run.with_name("full")
    code, _, _ = call(capsys, monkeypatch, "grow", run, "--which", "full", "--out", out,
                      "--set", "system.depth=2", "--set", "training.epochs=20")  # fmt: skip
    assert code == 0
    config = pipeline.read_config(out)
    assert (config.system.depth, config.training.epochs, config.search.way) == (2, 20, "grow")
    x = torch.zeros(3, 2)
    assert torch.equal(pipeline.read_network(out, "start")(x), pipeline.read_network(run, "full")(x))
    code, _, err = call(capsys, monkeypatch, "grow", run, "--depth", 2, "--out", out)
    assert code == 1
    assert "--overwrite" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["depth", "got 1", "more than 1", "system.depth"]),  # the run's own room is taken
        (["--depth", "1"], ["depth", "got 1", "more than 1"]),
        (["--depth", "0"], ["system.depth", "0"]),
        (["--depth", "4", "--which", "plain"], ["no network 'plain'"]),
        (["--depth", "4", "--set", "training.epochs=-1"], ["training.epochs", "-1"]),
        (["--depth", "4", "--set", "problem.price=0"], ["price"]),
        (["--depth", "4", "--set", "system.width=5"], ["system.width", "trained already"]),
        (["--depth", "4", "--set", "search.way=cut"], ["search.way"]),
    ],
)
def test_wrong_input_gets_one_message_and_writes_nothing(
    run: Path, arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    code, _, err = call(capsys, monkeypatch, "grow", run, *arguments)
    assert code == 1
    assert err.startswith("node-oc: ")
    assert all(word in err for word in words)
    assert [p.name for p in run.parent.iterdir()] == ["mine"]


def test_not_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = call(capsys, monkeypatch, "grow", tmp_path / "nowhere", "--depth", 4)
    assert code == 1
    assert "directory of a run" in err
    assert not list(tmp_path.iterdir())


def test_the_run_may_be_the_working_directory(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run)
    code, _, _ = call(capsys, monkeypatch, "grow", ".", "--depth", 2, "--set", "training.epochs=10")
    assert code == 0
    assert {p.name for p in run.parent.iterdir()} == {"mine", "mine-grown"}
