"""Noise on the command line: --driver and --keep, predict --samples, noise; wrong input leaves nothing behind."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
from commands import call

import node_oc as oc
from node_oc import cli, pipeline, plots

FAST = [
    "data.train=60", "data.val=80", "data.test=50", "data.turns=0.5", "system.depth=3", "system.width=4",
    "system.hidden=8", "training.epochs=60", "training.min_updates=0", "search.plain=false", "export.onnx=false",
    "export.torch_export=false",
]  # fmt: skip
SETS = [word for setting in FAST for word in ("--set", setting)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained with noise, cut, reported."""
    folder = tmp_path_factory.mktemp("runs") / "noisy"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "FIGURES", {"reliability": plots.FIGURES["reliability"]})  # the others take seconds
        options = ["--driver", "stochastic_depth", "--keep", "0.7", "--search", "cut", "--out", str(folder)]
        patch.setattr(sys, "argv", ["node-oc", "run", "spirals", *options, *SETS])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "new.csv"
    path.write_text("x1,x2\n" + "\n".join(f"{i / 20 - 1:.2f},{(i * 7 % 20) / 10 - 1:.2f}" for i in range(40)) + "\n")
    return path


def test_the_noise_of_a_run_is_in_its_configuration_report_and_models(run: Path) -> None:
    options = pipeline.read_config(run).training
    assert (options.driver, options.driver_keep) == ("stochastic_depth", 0.7)
    for name in ("full", "cropped"):
        noise = oc.load_model(run / name).noise
        assert noise is not None
        assert (noise.name, noise.laws[0].mean) == ("stochastic_depth", pytest.approx(1))
    record = json.loads((run / "report.json").read_text())
    found = [(each["network"], each["passes"]) for each in record["calibration"]]
    assert found[:2] == [("full", None), ("full", 32)]
    assert all(0 <= each["ece"] <= each["high"] for each in record["calibration"])
    assert (run / "reliability.png").exists()
    assert "mean of 32 noisy passes" in (run / "report.html").read_text()


def test_predict_by_noisy_passes(
    run: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows(*more: object) -> list[dict[str, str]]:
        code, out, err = call(capsys, monkeypatch, "predict", run, table, "--which", "full", *more)
        assert code == 0, err
        return list(csv.DictReader(out.splitlines()))

    first, again = (rows("--samples", 8, "--seed", 1) for _ in range(2))
    assert first == again
    assert list(first[0]) == ["prediction", "p_0", "p_1", "entropy", "mutual_information"]
    assert first != rows("--samples", 8, "--seed", 2)
    assert any(float(row["mutual_information"]) > 0 for row in first)
    assert all(0 <= float(row["mutual_information"]) <= float(row["entropy"]) + 1e-6 <= 0.7 for row in first)
    other = rows("--samples", 8, "--seed", 1, "--driver", "gaussian", "--keep", 0.9, "--antithetic")
    assert other != first
    assert rows() != first  # in the mean
    top = table.read_text().splitlines(keepends=True)[:6]  # what stands beside a row changes nothing
    (tmp_path / "top.csv").write_text("".join(top))
    _, out, _ = call(capsys, monkeypatch, "predict", run / "full.json", tmp_path / "top.csv", "--samples", 8,
                     "--seed", 1)  # fmt: skip
    for a, b in zip(csv.DictReader(out.splitlines()), first, strict=False):
        assert float(a["p_0"]) == pytest.approx(float(b["p_0"]), abs=1e-5)


def test_a_model_without_noise_says_what_to_do(
    run: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = oc.load_model(run / "full")
    del old.meta["noise"]  # as files of earlier versions are
    oc.save_model(old, tmp_path / "old")
    assert oc.load_model(tmp_path / "old").noise is None
    code, _, err = call(capsys, monkeypatch, "predict", tmp_path / "old", table, "--samples", 4)
    assert code == 1
    assert "trained without" in err
    assert "--driver" in err
    assert (
        call(capsys, monkeypatch, "predict", tmp_path / "old", table, "--samples", 4, "--driver", "two_point")[0] == 0
    )


def test_a_description_of_a_noise_that_is_none(run: Path, tmp_path: Path) -> None:
    model = oc.load_model(run / "full")
    model.meta["noise"] = {"name": "odd"}
    oc.save_model(model, tmp_path / "odd")
    with pytest.raises(oc.StoreError, match="description of a noise"):
        _ = oc.load_model(tmp_path / "odd").noise


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "spirals", "--driver", "stochastic-dept"], ["--driver", "Did you mean stochastic_depth?"]),
        (["run", "spirals", "--driver", "nonsense"], ["Name one of these", "shake_shake"]),
        (["run", "spirals", "--driver", "gaussian", "--keep", "0"], ["--keep", "(0, 1]"]),
        (["fit", "spirals", "--keep", "1.5", "--driver", "gaussian"], ["--keep", "(0, 1]"]),
        (["fit", "spirals", "--keep", "0.9"], ["training.driver_keep", "Set training.driver"]),
        (["run", "spirals", "--driver", "shake_shake"], ["system.branches=2"]),
        (["fit", "spirals", "--driver", "gaussian", "--set", "training.solver=dopri5"], ["adaptive solver"]),
        (
            ["adopt", "torchvision:resnet18", "--input", "3,8,8", "--driver", "dropout"],
            ["Did you mean branch_dropout?"],
        ),
        (["predict", "nowhere", "x.csv", "--seed", "1"], ["--samples"]),
        (["predict", "nowhere", "x.csv", "--samples", "2", "--driver", "time"], ["time, which has no noise"]),
        (["predict", "nowhere", "x.csv", "--samples", "2", "--keep", "0.5"], ["--keep", "without a driver"]),
    ],
)
def test_wrong_input_gets_one_message(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    code, _, err = call(capsys, monkeypatch, *arguments)
    assert code == 1
    assert err.startswith("node-oc: ")
    assert all(word in err for word in words), err
    assert not list(tmp_path.iterdir())


def test_a_study_of_all_noises_that_fit(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = call(capsys, monkeypatch, "noise", run, "--which", "full", "--samples", 4, "--rows", 30)
    assert code == 0, err
    record = json.loads((run / "noise.json").read_text())
    (network,) = record["networks"]
    names = ["stochastic depth", "branch dropout", "two point", "gaussian"]
    assert [one["noise"] for one in network["noises"]] == [f"{name}, keep 0.7" for name in names]
    assert record["trained"] == "stochastic depth, keep 0.7"
    assert list(record["left_out"]) == ["shake shake"]
    assert "two" in record["left_out"]["shake shake"]
    page = (run / "noise.html").read_text()
    for one in network["noises"]:
        assert one["sentence"] in out
        assert len(one["metric"]) == len(one["noisy_metric"]) == network["layers"] + 1
        assert one["noise"] in page
    assert {p.name for p in run.glob("noise-*.png")} == {"noise-depth.png", "noise-reliability.png"}
    stem = tmp_path / "mine"
    code, _, err = call(capsys, monkeypatch, "noise", run, "--which", "full", "--samples", 4, "--rows", 20,
                        "--driver", "gaussian", "--keep", 0.9, "--seed", 3, "--out", stem)  # fmt: skip
    assert code == 0, err
    assert [one["noise"] for one in json.loads(Path(f"{stem}.json").read_text())["networks"][0]["noises"]] == [
        "gaussian, keep 0.9"
    ]
    code, _, err = call(capsys, monkeypatch, "noise", run, "--out", stem)
    assert code == 1
    assert "--overwrite" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["directory of a run"]),
        (["RUN", "--driver", "gausian"], ["Did you mean gaussian?"]),
        (["RUN", "--driver", "time"], ["has no noise"]),
        (["RUN", "--driver", "shake_shake", "--which", "full"], ["one branch", "system.branches=2"]),
        (["RUN", "--keep", "0"], ["--keep", "(0, 1]"]),
        (["RUN", "--samples", "5", "--which", "full"], ["passes", "even number"]),
        (["RUN", "--which", "plain"], ["no network 'plain'"]),
        (["RUN", "--part", "all"], ["train, val or test"]),
    ],
)
def test_a_study_with_wrong_input(
    run: Path, arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    before = {p.name: p.stat().st_mtime_ns for p in run.iterdir()}
    given = [run if word == "RUN" else word for word in arguments] or [tmp_path]
    code, _, err = call(capsys, monkeypatch, "noise", *given)
    assert code == 1
    assert err.startswith("node-oc: ")
    assert all(word in err for word in words), err
    assert before == {p.name: p.stat().st_mtime_ns for p in run.iterdir()}


@pytest.mark.long
def test_regression_has_a_standard_deviation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{i / 50:.3f},{i * i / 2500 + 3:.4f}" for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["a,y", *rows]))
    code, _, err = call(capsys, monkeypatch, "fit", "--data", tmp_path / "t.csv", "--target", "y", "--task",
                        "regression", "--driver", "gaussian", "--out", tmp_path / "r", "--set", "system.depth=2",
                        "--set", "system.width=3", "--set", "training.epochs=3", "--set",
                        "training.min_updates=0")  # fmt: skip
    assert code == 0, err
    code, out, _ = call(capsys, monkeypatch, "predict", tmp_path / "r", tmp_path / "t.csv", "--which", "full",
                        "--samples", 4)  # fmt: skip
    assert code == 0
    assert out.splitlines()[0] == "prediction,std"
    assert all(float(line.split(",")[1]) >= 0 for line in out.splitlines()[1:])
    code, out, err = call(capsys, monkeypatch, "noise", tmp_path / "r", "--samples", 4, "--driver", "two_point")
    assert code == 0, err
    assert "loses" in out
    assert not (tmp_path / "r" / "noise-reliability.png").exists()
