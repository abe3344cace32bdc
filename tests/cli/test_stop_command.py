"""A run learns when to stop: what it writes, that the model does what the record says, what is refused."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import call

import node_oc as oc
from node_oc import cli, pipeline
from node_oc.exporting import load_model
from node_oc.policies import FAMILIES

SETS = [word for setting in ("system.depth=4", "system.width=6", "system.hidden=8", "training.epochs=1",
                             "training.min_updates=60") for word in ("--set", setting)]  # fmt: skip


def fitted(folder: Path, *arguments: str) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["node-oc", "fit", *arguments, "--out", str(folder), *SETS])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of 36 pixels with a bright half."""
    folder, rng = tmp_path_factory.mktemp("stopping"), np.random.default_rng(0)
    side = rng.integers(0, 2, 1200)
    x = rng.normal(size=(1200, 6, 6)) + 0.45 * np.where(side[:, None, None] == (np.arange(6) > 2), 1, -1)
    with (folder / "images.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*(f"p{i}" for i in range(36)), "side"])
        rows.writerows([*map("{:.4f}".format, image.ravel()), "left" if s else "right"] for image, s in zip(x, side))
    return fitted(folder / "run", "--data", str(folder / "images.csv"), "--target", "side",
                  "--set", "data.val_fraction=0.4")  # fmt: skip


def test_a_run_learns_when_to_stop(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = call(capsys, monkeypatch, "stop", run, "--loss", 0.02, "--no-timing")
    assert code == 0, err
    assert all(name in out for name in FAMILIES["classification"])
    record = json.loads((run / "stop.json").read_text())
    assert record["verdict"] in (run / "stop.html").read_text()
    assert sum(record["histogram"]) == record["samples"]["test"]
    test, held = record["chosen"]["test"], record["chosen"]["held"]
    assert test["depth"] == pytest.approx(np.dot(record["histogram"], range(5)) / sum(record["histogram"]))
    assert held["excess"] <= 0.02
    assert held["depth"] == min(one["held"]["depth"] for one in record["families"])
    oracle = {tuple(point) for point in record["oracle"]}
    assert min(loss for _, loss in oracle) <= min(loss for f in record["families"] for _, loss in f["curve"])
    shown = record["samples_shown"]
    assert len(shown["easiest"][0]["pixels"]) == 6
    assert max(one["depth"] for one in shown["easiest"]) <= min(one["depth"] for one in shown["hardest"])
    assert {path.name for path in run.glob("stop-*.png")} == {"stop-curve.png", "stop-depths.png", "stop-samples.png"}

    model = load_model(run / "stopping")
    split = pipeline.load_split(pipeline.read_config(run))
    exited = model.early_exit()(split.x_scale.undo(split.test.x))
    assert float(exited.depths.double().mean()) == pytest.approx(test["depth"], abs=0.02)  # of samples on the border
    wrong = (exited.outputs.argmax(1) != split.test.y).double().mean()
    assert float(wrong) == pytest.approx(test["loss"], abs=0.01)


def test_a_guarantee_is_what_is_taken(run: Path) -> None:
    record = pipeline.stop(run, loss=0.08, confidence=0.9, policy="margin", exits=[1, 2], timing=False)
    sure = record["chosen"]["guarantee"]
    assert record["exits"] == [1, 2, 4]
    assert record["chosen"]["by"] == "guarantee"
    assert sure["held"] == record["chosen"]["held"]
    assert (sure["loss"], sure["n"], sure["confidence"]) == (0.08, record["samples"]["choose"], pytest.approx(0.9))
    assert "With a confidence of 0.9 it loses at most 8.00 points" in record["verdict"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--loss", "0.001", "--confidence", "0.95"], "at least"),
        (["--depth", "1", "--exits", "2,3"], "the nearest"),
        (["--cost", "-0.1"], "cost of a layer"),
        (["--cost", "inf"], "cost of a layer"),
        (["--loss", "0.1", "--exits", "2,9"], "no exit at 9"),
        (["--loss", "0.1", "--exits", "two"], "--exits"),
        (["--depth", "2", "--confidence", "0.9"], "a loss to guarantee"),
        (["--loss", "0.1", "--policy", "oracle"], "policy"),
        (["--loss", "0.1", "--confidence", "2"], "confidence: got 2.0, expected"),
        ([], "one of cost, depth, loss"),
        (["--loss", "0.1", "--depth", "2"], "one of cost, depth, loss"),
    ],
)
def test_what_cannot_be_is_one_message(
    run: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = call(capsys, monkeypatch, "stop", run, "--no-timing", *options)
    assert code == 1
    assert said in err
    assert "Traceback" not in err


def test_a_regression_stops_by_its_changes(tmp_path: Path) -> None:
    x = torch.linspace(-2, 2, 500)[:, None]
    lines = "\n".join(f"{a:.4f},{np.sin(2 * a):.4f}" for a in x[:, 0].tolist())
    (tmp_path / "sine.csv").write_text(f"x,y\n{lines}\n")
    folder = fitted(tmp_path / "run", "--data", str(tmp_path / "sine.csv"), "--target", "y", "--task", "regression")
    record = pipeline.stop(folder, depth=3.0, timing=False)
    assert {f["name"] for f in record["families"]} == set(FAMILIES["regression"])
    assert record["chosen"]["held"]["depth"] <= 3
    assert record["samples_shown"] is None
    assert "no square image" in (folder / "stop.html").read_text()
    assert oc.policy_from(load_model(folder / "stopping").meta["stopping"]["policy"]).task == "regression"
