"""`node-oc adopt`: a model of the user's own is listed, trained, cut and used again; no file has its code run."""

from __future__ import annotations

import contextlib
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from node_oc import cli, pipeline
from node_oc.system.adopt import source as sources

CODE = '''
import torch
from torch import nn
LOADED = True

class Net(nn.Module):
    """Images (B, 1, 2, 3), three branches; where asked, one block for all of them."""

    def __init__(self, classes=3, depth=3, shared=False):
        super().__init__()
        self.lift = nn.Linear(6, 8)
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(1 if shared else depth))
        self.depth, self.head = depth, nn.Linear(8, classes)

    def forward(self, x):
        x = self.lift(x.flatten(1))
        for k in range(self.depth):
            x = x + self.blocks[k % len(self.blocks)](torch.tanh(x))
        return self.head(x)

class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.lift, self.block, self.head = nn.Embedding(7, 5), nn.Linear(5, 5), nn.Linear(5, 7)

    def forward(self, ids):
        x = self.lift(ids)
        return self.head(x + self.block(x))
'''
MODEL = "own_nets:Net"
FAST = [f"--set={setting}" for setting in (
    "training.epochs=12", "training.batch=0", "training.min_updates=0", "training.threads=1",
    "training.learning_rate=0.03", "training.checkpoint_seconds=0",
    "export.onnx=false", "export.torch_export=false", "data.seed=1",
)]  # fmt: skip
SHAPE = ["--input", "1,2,3"]


def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one call; each starts with nothing trusted."""
    monkeypatch.setattr(sys, "argv", ["node-oc", *map(str, arguments)])
    sources.TRUSTED.clear()
    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's directory: a module, and a table of three classes that a line in six features separates."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "own_nets.py").write_text(CODE)
    noise = torch.randn(240, 6, generator=torch.Generator().manual_seed(3))
    with (folder / "mine.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*"abcdef", "kind"])
        writer.writerows([[*(f"{2 * (j == i % 3) + 0.3 * v:.3f}" for j, v in enumerate(row.tolist())), "xyz"[i % 3]]
                          for i, row in enumerate(noise)])  # fmt: skip
    return folder


@pytest.fixture(scope="module", autouse=True)
def _here(place: Path) -> Iterator[None]:
    """In the user's directory, without pictures, and as few timed calls as there can be: that is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(sys, "path", [*sys.path])
        patch.setattr("node_oc.pipeline.running.draw_all", lambda *a: {})
        patch.setattr("node_oc.pipeline.comparing.draw_rivals", lambda *a: None)
        patch.setattr("node_oc.record.record.SECONDS", 0.0)
        yield
    sources.TRUSTED.clear()
    sys.modules.pop("own_nets", None)


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    """A finished run with a budget of FLOPs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["node-oc", "adopt", MODEL, *SHAPE, "--data", "mine.csv", "--target", "kind",
                                    "--flops", "0.75", "--budget", "0.5", "--out", "runs/mine", *FAST])  # fmt: skip
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code
    return place / "runs" / "mine"


def test_a_dry_run_lists_what_was_found_and_writes_nothing(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(p.name for p in place.iterdir() if p.name != "__pycache__")
    code, out, err = call(capsys, monkeypatch, "adopt", MODEL, *SHAPE, "--arg", "depth=2", "--dry-run", "--flops", 0.5)
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert [row for row in rows if row[:1] in (["0"], ["1"])] == [
        [str(k), f"blocks.{k}", "identity", "72", "128", "own,", "72"] for k in range(2)]  # fmt: skip
    assert ["all", "branches", "144", "256"] in rows
    assert ["the", "model", f"{6 * 8 + 8 + 144 + 27}", f"{2 * 48 + 256 + 2 * 24}"] in rows
    assert "50 % of its FLOPs" in out
    assert "60 epochs" in out
    assert sorted(p.name for p in place.iterdir() if p.name != "__pycache__") == before


def test_a_model_of_tokens_is_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = call(capsys, monkeypatch, "adopt", "own_nets:Tokens", "--input", "4,int64", "--dry-run")
    assert (code, err) == (0, "")
    assert ["0", "block", "identity", "30", str(4 * 50), "own,", "30"] in [line.split() for line in out.splitlines()]
    assert "trained from Python" in out


def test_shared_parameters_are_listed_and_refused(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = call(capsys, monkeypatch, "adopt", MODEL, *SHAPE, "--arg", "shared=true", "--dry-run")
    assert code == 0
    assert "shared" in out
    assert "none of them can be left out alone" in out
    code, _, err = call(capsys, monkeypatch, "adopt", MODEL, *SHAPE, "--arg", "shared=true", "--data", "mine.csv",
                        "--target", "kind", "--out", "runs/shared")  # fmt: skip
    assert code == 1
    assert "branches that share parameters" in err
    assert not (place / "runs" / "shared").exists()


def test_a_run_says_what_was_kept_and_both_budgets(run: Path) -> None:
    record = json.loads((run / "report.json").read_text())
    cost, n = record["afforded"], record["depth"]["N"]
    assert n == 3
    full, cropped = record["models"][:2]
    assert cost["share"] == pytest.approx(record_flops(len(cost["steps"])) / record_flops(3))
    assert cropped["flops"] / full["flops"] == pytest.approx(cost["share"])
    assert cost["share"] <= 0.75
    assert "75 % are allowed" in record["verdict"]
    assert "Both budgets hold" in record["verdict"]
    assert [b["module"] for b in record["branches"]] == ["blocks.0", "blocks.1", "blocks.2"]
    assert [k for k, b in enumerate(record["branches"]) if b["kept"]] == cost["steps"]
    assert [*full["memory"]] == [*full["latency_ms"]] == ["1", "256"]
    assert full["memory"]["256"] > full["memory"]["1"] > 0
    config = pipeline.read_config(run)
    assert (config.system.kind, config.system.model, config.search.way) == ("adopted", MODEL, "cut")
    assert "peak memory, batch 256" in (run / "report.html").read_text()


def record_flops(depth: int) -> int:
    return 2 * (6 * 8 + depth * 64 + 8 * 3)


def test_a_run_is_used_again_with_the_model_named_and_refuses_without(
    run: Path, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ["--model", MODEL]
    for command in (["resume", run], ["diagnose", run], ["crop", run, "--depth", 1], ["predict", run, "mine.csv"],
                    ["export", run], ["compare", run], ["noise", run]):  # fmt: skip
        sys.modules.pop("own_nets", None)
        code, _, err = call(capsys, monkeypatch, *command)
        assert code == 1
        assert f"--model {MODEL}" in err
        assert "own_nets" not in sys.modules, "a file had its code run"
    verdict = json.loads((run / "report.json").read_text())["verdict"].split(":")[0]
    code, out, _ = call(capsys, monkeypatch, "resume", run, *own)
    assert code == 0
    assert verdict in out
    assert call(capsys, monkeypatch, "diagnose", run, *own)[0] == 0
    assert call(capsys, monkeypatch, "noise", run, "--samples", 4, "--rows", 20, "--driver", "gaussian", *own)[0] == 0
    code, out, _ = call(capsys, monkeypatch, "crop", run, "--depth", 1, "--out", "one", *own)
    assert code == 0
    assert "1 layer" in out
    code, out, _ = call(capsys, monkeypatch, "predict", "one.json", "mine.csv", *own)
    assert code == 0
    lines = list(csv.DictReader(out.splitlines()))
    assert len(lines) == 240
    assert sum(row["prediction"] == "xyz"[i % 3] for i, row in enumerate(lines)) > 220
    assert call(capsys, monkeypatch, "export", "one.json", "--no-onnx", "--out", "two", *own)[0] == 0
    assert torch.export.load(place / "two.pt2").module()(torch.zeros(4, 6)).shape == (4, 3)


def test_fresh_models_depend_on_the_seed_alone_and_have_their_branches_where_a_cut_has_them(run: Path) -> None:
    sources.trust_model(MODEL)
    config, state = pipeline.read_config(run), torch.get_rng_state()
    split = pipeline.load_split(config)

    def weights(*arguments: object, seed: int = 0) -> dict[str, torch.Tensor]:
        changed = config.replace([f"training.seed={seed}"])
        return pipeline.make_network(changed, split, *arguments).system.state_dict()  # type: ignore[arg-type]

    full, again, two = weights(), weights(), weights(2, "plain")
    assert all(torch.equal(full[name], again[name]) for name in full)
    assert torch.equal(torch.get_rng_state(), state)
    assert {name for name in two if "blocks" in name} == {f"blocks.{k}.{p}" for k in (0, 1) for p in ("weight", "bias")}
    for other in (weights(seed=1), weights(None, "plain"), two):
        assert not torch.equal(other["lift.weight"], full["lift.weight"])


def test_a_run_beside_what_else_could_have_been_done(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = call(capsys, monkeypatch, "compare", run, "--depths", "1", "--model", MODEL)
    assert code == 0, err
    record = json.loads((run / "compare.json").read_text())
    rows = {row["name"]: row for row in record["rows"]}
    depth = rows["ours"]["layers"]
    assert {rows[way]["layers"] for way in ("drop last", "block influence")} == {depth}  # a cost was asked for
    assert rows["drop last"]["steps"] == [*range(depth)]
    for row in (*record["rows"], record["reference"]):
        assert row["flops"] == record_flops(row["layers"])
        assert row["memory"]["256"] > 0
        assert row["latency_ms"]["1"]["p50"] > 0
        assert f"{row['parameters']:,}" in out


def test_weights_are_what_training_starts_from_and_what_rivals_cut(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    from own_nets import Net  # the user's directory is on the path

    model: nn.Module = Net()
    save_file(model.state_dict(), place / "trained.safetensors")
    arguments = ["adopt", MODEL, *SHAPE, "--data", "mine.csv", "--target", "kind", "--weights", "trained.safetensors",
                 "--out", "runs/tuned", "--set", "search.plain=false", *FAST]  # fmt: skip

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    @contextlib.contextmanager
    def interrupting() -> Iterator[object]:
        yield interrupt

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["node_oc.cli.adopt"], "bars", interrupting)
        code, _, err = call(capsys, patch, *arguments)
    assert code == 130
    assert f"node-oc resume runs/tuned --model {MODEL}" in err
    sources.trust_model(MODEL)
    start = pipeline.read_network(place / "runs" / "tuned", "start")
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in start.system.state_dict().items())
    (place / "trained.safetensors").unlink()  # the run has its own copy
    assert call(capsys, monkeypatch, "resume", "runs/tuned", "--model", MODEL)[0] == 0
    full = pipeline.read_network(place / "runs" / "tuned")
    moved = sum(float((p - model.state_dict()[name]).detach().norm()) for name, p in full.system.state_dict().items())
    assert 0 < moved < 12 * 7 * 0.03 * 14  # at most epochs x tensors x rate x root of the largest tensor's size
    assert full.depth == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--input", "got nothing", "3,32,32"]),
        (["--input", "3x32"], ["--input", "'3x32'"]),
        (["--input", "6,int64", "--set", "data.source=digits"], ["--input", "int64", "--dry-run"]),
        ([*SHAPE, "--arg", "classes"], ["--arg", "KEY=VALUE"]),
        ([*SHAPE, "--arg", "width=3", "--dry-run"], ["width", "arguments that it takes"]),
        (["--input", "5", "--dry-run"], ["input [2, 5]", "shapes cannot be multiplied", "--input"]),
        ([*SHAPE], ["no --data", "--dry-run"]),
        ([*SHAPE, "--data", "mine.csv", "--target", "kind", "--arg", "classes=4"],
         ["outputs of own_nets:Net", "shape [4]", "expected 3", "--arg num_classes=3"]),
        (["--input", "7", "--data", "mine.csv", "--target", "kind"], ["system.image", "7 numbers", "6 a sample"]),
        ([*SHAPE, "--data", "mine.csv", "--target", "kind", "--flops", "0.1"],
         ["search.flops", "got 0.1", "at least 0.273", "no set of layers"]),
        ([*SHAPE, "--data", "mine.csv", "--target", "kind", "--flops", "1.5"], ["search.flops", "1.5"]),
        ([*SHAPE, "--data", "mine.csv", "--target", "kind", "--flops", "0.5", "--latency", "0.5"], ["one of the two"]),
        ([*SHAPE, "--data", "mine.csv", "--target", "kind", "--set", "search.way=grow"], ["search.way", "cut"]),
        ([*SHAPE, "--data", "mine.csv", "--target", "kind", "--set", "system.width=5"], ["system.width"]),
        ([*SHAPE, "--data", "mine.csv", "--target", "kind", "--weights", "mine.csv"], ["mine.csv", "safetensors"]),
        ([*SHAPE, "--data", "mine.csv", "--target", "kind", "--weights", "other.safetensors"],
         ["other.safetensors", "lift.weight", "--arg"]),
    ],
)  # fmt: skip
def test_wrong_input_gets_one_message_and_writes_nothing(
    place: Path, arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    save_file({"head.weight": torch.zeros(3, 8)}, place / "other.safetensors")
    code, _, err = call(capsys, monkeypatch, "adopt", MODEL, "--out", "runs/wrong", *arguments)
    assert code == 1
    assert err.startswith("node-oc: ")
    assert all(word in err for word in words), err
    assert not (place / "runs" / "wrong").exists()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nothing", ["'nothing'", "torchvision:NAME"]),
        ("no_such_package:make", ["no_such_package", "Install it"]),
        ("own_nets:missing", ["missing", "Correct the name"]),
        ("own_nets:LOADED", ["LOADED", "Correct the name"]),
    ],
)
def test_a_source_that_is_none(
    source: str, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = call(capsys, monkeypatch, "adopt", source, *SHAPE, "--dry-run")
    assert code == 1
    assert all(word in err for word in words), err


def test_a_package_that_is_not_installed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    code, _, err = call(capsys, monkeypatch, "adopt", "timm:resnet18", "--input", "3,32,32", "--dry-run")
    assert code == 1
    assert "an importable timm" in err
    assert "Install it" in err
