"""The command line: helpful from --help alone, one message for wrong input, files that are what they say."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import call

import node_oc as oc
from node_oc import cli

FAST = [
    "system.depth=3", "system.width=8", "system.hidden=8", "training.epochs=150", "training.batch=0",
    "training.min_updates=0",
    "export.onnx=false", "export.torch_export=false", "training.threads=1",
]  # fmt: skip


def sets() -> list[str]:
    return [word for setting in FAST for word in ("--set", setting)]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "mine.csv"
    rows = [["height", "weight", "kind"]]
    for i in range(120):
        kind = "cat" if i % 2 else "dog"
        rows.append([f"{(i * 7 % 13) / 3 + (i % 2) * 5:.3f}", f"{(i * 5 % 11) / 4:.3f}", kind])
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "mine"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys, "argv", ["node-oc", "run", "--data", str(table), "--target", "kind", "--out", str(folder), *sets()]
        )
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code
    return folder


def test_a_table_of_ones_own(run: Path) -> None:
    record = json.loads((run / "report.json").read_text())
    assert record["data"]["classes"] == ["cat", "dog"]
    assert (run / "report.html").exists()


def test_predict_writes_labels_and_probabilities(
    run: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "p.csv"
    assert call(capsys, monkeypatch, "predict", run, table, "--out", out)[0] == 0
    rows = list(csv.DictReader(out.open()))
    assert len(rows) == 120
    assert set(rows[0]) == {"prediction", "p_cat", "p_dog"}
    assert float(rows[0]["p_cat"]) + float(rows[0]["p_dog"]) == pytest.approx(1, abs=1e-4)
    right = sum(r["prediction"] == ("cat" if i % 2 else "dog") for i, r in enumerate(rows))
    assert right > 100
    code, _, err = call(capsys, monkeypatch, "predict", run, table, "--out", out)
    assert code == 1
    assert "--overwrite" in err


def test_predict_with_early_exit_adds_the_depth(
    run: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = call(capsys, monkeypatch, "predict", run, table, "--early-exit")
    assert code == 1
    assert f"node-oc stop {run}" in err
    code, _, err = call(capsys, monkeypatch, "predict", run / "full.json", table, "--early-exit")
    assert code == 1
    assert "never learnt when to stop" in err
    model = oc.load_model(run / "full")
    model.meta["stopping"] = {"policy": oc.Threshold("confidence", 0.9, (0, 1, 2, 3)).spec()}
    shutil.copytree(run, tmp_path / "run")
    oc.save_model(model, tmp_path / "run" / "stopping")
    out = tmp_path / "p.csv"
    code, said, _ = call(capsys, monkeypatch, "predict", tmp_path / "run", table, "--early-exit", "--out", out)
    assert code == 0
    rows = list(csv.DictReader(out.open()))
    assert list(rows[0]) == ["prediction", "p_cat", "p_dog", "depth"]
    raw = torch.from_numpy(oc.data.read_features(table, model.meta["features"]))
    labels, probabilities, depths = model.predict_early(raw)
    assert [row["prediction"] for row in rows] == labels
    assert [int(row["depth"]) for row in rows] == depths
    assert [float(row["p_cat"]) for row in rows] == pytest.approx(probabilities[:, 0].tolist(), abs=1e-5)
    assert f"{sum(depths) / 120:.2f} of 3 layers in the mean" in said
    code, _, err = call(capsys, monkeypatch, "predict", run, table, "--early-exit", "--samples", 5)
    assert code == 1
    assert "--samples beside it" in err


def test_predict_with_a_missing_column_names_it(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new.csv").write_text("height\n1.0\n")
    code, _, err = call(capsys, monkeypatch, "predict", run, tmp_path / "new.csv")
    assert code == 1
    assert "weight" in err


def test_diagnose_prints_a_row_a_layer_and_a_verdict(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = call(capsys, monkeypatch, "diagnose", run)
    assert code == 0
    assert "urnpike" in out
    assert "Entry by accuracy" in out
    code, told, _ = call(capsys, monkeypatch, "diagnose", run, "--json")
    assert code == 0
    answer = json.loads(told)
    assert list(answer["sentences"]) == ["turnpike", "decay", "counting", "dissipation"]
    assert all(sentence in out for sentence in answer["sentences"].values())
    assert answer["dissipation"]["strict"]
    cropped = json.loads((run / "report.json").read_text())["depth"]["depth"]
    others = [name for name, _ in answer["counting"]["others"]]
    assert len(others) == 3 + (cropped < 3)  # its own cuts, and the cropped network where it is another one
    assert (f"the other network of {cropped} layer{'s' * (cropped != 1)} and zero steps" in others) == (cropped < 3)
    code, out, _ = call(capsys, monkeypatch, "diagnose", run, "--json", "--part", "val", "--which", "plain")
    assert code == 0
    answer = json.loads(out)
    assert len(answer["profile"]["stage"]) == len(answer["profile"]["increment"]) + 1


def test_a_report_has_the_answers_of_the_diagnosis(run: Path) -> None:
    record = json.loads((run / "report.json").read_text())
    page = (run / "report.html").read_text()
    for name, question in (("turnpike", "Turnpike"), ("decay", "Decay"), ("counting", "Counting bound"),
                           ("dissipation", "Dissipativity")):  # fmt: skip
        assert record[name]["sentence"].startswith("On training data: ")
        assert f"<dt>{question}</dt>" in page
    assert {"found", "entry", "exit", "level"} <= set(record["turnpike"])
    assert record["counting"]["verdict"] in ("holds", "not owed")


def test_crop_heals_and_export_writes_files_that_agree(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = call(capsys, monkeypatch, "crop", run, "--depth", 2, "--out", tmp_path / "two")
    assert code == 0
    assert "2 layers" in out
    code, out, _ = call(capsys, monkeypatch, "export", tmp_path / "two.json")
    assert code == 0
    assert "ONNX against torch" in out
    assert (tmp_path / "two.onnx").stat().st_size > 0
    assert (tmp_path / "two.pt2").stat().st_size > 0
    code, _, err = call(capsys, monkeypatch, "crop", run, "--depth", 99)
    assert code == 1
    assert "0..3" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], ["--data", "spirals"]),
        (["run", "spirls"], ["spirals, digits, mnist"]),
        (["run", "mnist"], ["data.path"]),
        (["run", "spirals", "--set", "trainin.epochs=3"], ["training.epochs"]),
        (["run", "spirals", "--set", "training.epochs=-3"], ["training.epochs", "-3"]),
        (["run", "spirals", "--budget", "2"], ["search.budget"]),
        (["run", "digits", "--data", "x.csv", "--target", "y"], ["built-in run digits"]),
        (["run", "--data", "missing.csv", "--target", "y"], ["missing.csv"]),
        (["resume", "nowhere"], ["nowhere"]),
        (["diagnose", "nowhere"], ["nowhere"]),
        (["predict", "nowhere", "x.csv"], ["nowhere"]),
        (["export", "nowhere"], ["nowhere"]),
    ],
)
def test_wrong_input_gets_one_message_and_no_traceback(
    arguments: list[str],
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = call(capsys, monkeypatch, *arguments)
    assert code == 1
    assert err.startswith("node-oc: ")
    assert all(word in err for word in words)
    assert not list(tmp_path.iterdir())


def test_config_prints_toml_that_run_accepts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, out, _ = call(capsys, monkeypatch, "config", "digits", "--set", "system.depth=5")
    assert code == 0
    (tmp_path / "mine.toml").write_text(out)
    code, again, _ = call(capsys, monkeypatch, "config", tmp_path / "mine.toml")
    assert again == out
    assert "depth = 5  # " in out


def test_help_lists_every_command() -> None:
    out = subprocess.run(
        [sys.executable, "-m", "node_oc.cli", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for command in ("run", "fit", "resume", "diagnose", "crop", "export", "predict", "config"):
        assert f"\n  {command} " in out
    assert "torch" not in subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "node_oc.cli", "--help"], capture_output=True, text=True, check=True
    ).stderr.replace("torchgen", "")
