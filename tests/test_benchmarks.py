"""The benchmark of one training step: one task, J and gradient for all, fair turns, honest bars. No peer, no timing."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import environments, training_step
from benchmarks.bars import BARS, judged
from benchmarks.measure import measure, relative_error
from benchmarks.peers import KEYS, OURS, VARIANTS, Variant, chosen
from benchmarks.picture import picture
from benchmarks.process import Worker, WorkerError
from benchmarks.table import markdown
from benchmarks.task import BODY, CONV, DENSE, WEIGHTS, Task, asleep, load, make, save, with_zero_branches
from benchmarks.turns import Spread, burst, paired, play
from benchmarks.workers import Setup, node_oc, torch_model
from node_oc.errors import ConfigError

ROOT = Path(__file__).parents[1]
SMALL = Task("dense", 12, 6, 5, depth=9, classes=4)
IMAGES = Task("conv", 6, 3, 3, depth=4, classes=3, side=5, colours=2)


def setup(task: Task) -> Setup:
    return Setup(task, make(task), "cpu")


# -- the task ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [SMALL, IMAGES, *DENSE, CONV], ids=lambda task: task.name)
def test_a_task_is_the_same_every_time_and_in_its_file(task: Task, tmp_path: Path) -> None:
    again, read = make(task), load(save(task, tmp_path / "task.npz"))
    assert read[0] == task
    for name, array in make(task).items():
        assert np.array_equal(array, again[name])
        assert np.array_equal(array, read[1][name])
        assert array.dtype == (np.int64 if name == "y" else np.float32)
    assert not np.array_equal(make(task, seed=1)["x"], again["x"])


def test_a_task_is_the_one_of_other_machines() -> None:
    arrays = make(DENSE[1])
    assert float(arrays["x"][0, 0]) == pytest.approx(0.12573022, abs=1e-7)
    assert arrays["outer.weight"].std() == pytest.approx(0.1 / 8, rel=0.01)
    assert np.linalg.norm(arrays["inner.weight"], axis=-1) == pytest.approx(1, abs=1e-6)


def test_the_floor_counts_three_products_for_each_affine_map() -> None:
    n, b, d, h, k = 20, 256, 64, 32, 10
    assert Task("dense", b, d, h).flops == 3 * 2 * b * (2 * n * d * h + (n + 1) * d * k)


def test_sleeping_layers_are_spread_and_their_branches_are_zero() -> None:
    layers = asleep(DENSE[0])
    awake = sorted(set(range(20)) - set(layers))
    assert (len(layers), awake) == (14, [1, 4, 8, 11, 14, 18])
    arrays = with_zero_branches(make(SMALL), (0, 3))
    assert not arrays["outer.weight"][[0, 3]].any()
    assert not arrays["outer.bias"][[0, 3]].any()
    assert arrays["outer.weight"][1].any()
    assert make(SMALL)["outer.weight"][0].any()


# -- J and its gradient --------------------------------------------------------------------------------------


def by_hand(task: Task) -> float:
    """J in numpy, float64."""
    a = {name: array.astype(np.float64) for name, array in make(task).items()}
    y, off = make(task)["y"], task.eps / (task.classes - 1)
    x, total = a["x"], 0.0
    for k in range(task.depth + 1):
        z = x @ a["head.weight"].T + a["head.bias"]
        log = z - np.log(np.exp(z).sum(1, keepdims=True))
        q = np.full_like(log, off)
        q[np.arange(len(y)), y] = 1 - task.eps
        total -= (q * log).sum() / len(y)
        if k < task.depth:
            inside = np.tanh(x @ a["inner.weight"][k].T + a["inner.bias"][k])
            x = x + inside @ a["outer.weight"][k].T + a["outer.bias"][k]
    return float(total)


def test_the_reference_is_j_by_hand_and_its_gradient_is_a_slope() -> None:
    loss, gradient = node_oc.reference(setup(SMALL))
    assert loss == pytest.approx(by_hand(SMALL), rel=1e-12)
    start, along = make(SMALL), np.random.default_rng(3)
    way = {name: along.standard_normal(gradient[name].shape) for name in gradient}

    def at(step: float) -> float:
        arrays = {name: array + step * way[name] if name in way else array for name, array in start.items()}
        return node_oc.reference(Setup(SMALL, arrays, "cpu"))[0]

    slope = sum(float((gradient[name] * way[name]).sum()) for name in way)
    assert (at(1e-5) - at(-1e-5)) / 2e-5 == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("task", [SMALL, IMAGES], ids=lambda task: task.kind)
@pytest.mark.parametrize("name", ["fast", "separate", "general"])
def test_node_oc_computes_the_reference(task: Task, name: str) -> None:
    built, wanted = node_oc.VARIANTS[name](setup(task)), node_oc.reference(setup(task))
    loss, gradient = built.loss_and_gradient()
    assert loss == pytest.approx(wanted[0], rel=1e-5)
    assert relative_error(gradient, wanted[1], range(task.depth)) < 1e-5
    built.step()
    assert built.loss_and_gradient()[0] < loss


def test_the_whole_update_minimises_the_same_and_descends() -> None:
    built, wanted = node_oc.update(setup(SMALL)), node_oc.reference(setup(SMALL))
    loss, gradient = built.loss_and_gradient()
    assert loss == pytest.approx(wanted[0], rel=1e-5)
    assert relative_error(gradient, wanted[1], range(SMALL.depth)) < 1e-5
    built.step()
    assert built.loss_and_gradient()[0] < loss


def test_a_sleeping_network_has_the_gradient_of_its_zero_branches_where_it_is_trained() -> None:
    layers = asleep(SMALL)
    awake = sorted(set(range(SMALL.depth)) - set(layers))
    loss, gradient = node_oc.sleeping(setup(SMALL)).loss_and_gradient()
    wanted = node_oc.reference(setup(SMALL), layers)
    assert loss == pytest.approx(wanted[0], rel=1e-5)
    assert relative_error(gradient, wanted[1], awake) < 1e-5
    assert relative_error(gradient, wanted[1], range(SMALL.depth)) > 0.01  # others are not trained: zero here
    assert all(not gradient[name][list(layers)].any() for name in BODY)


@pytest.mark.parametrize("task", [SMALL, IMAGES], ids=lambda task: task.kind)
@pytest.mark.parametrize(
    ("listed", "batched", "last"), [(False, False, False), (True, True, True), (True, True, False)]
)
@pytest.mark.parametrize("field", [torch_model.Whole, torch_model.Piecewise, torch_model.Seen])
def test_what_the_torch_peers_share_computes_the_reference(
    task: Task, listed: bool, batched: bool, last: bool, field: type[torch_model.Whole]
) -> None:
    model = torch_model.Model(setup(task), listed=listed, channels_last=last)
    f = field(model)

    def objective() -> torch.Tensor:
        if isinstance(f, torch_model.Seen):
            f.begin()
        states = [model.lift()]
        for k in range(task.depth):
            states.append(states[-1] + f(torch.tensor(float(k)), states[-1]))
        if isinstance(f, torch_model.Seen):
            assert all(a is b for a, b in zip(f.states, states[:-1], strict=True))
        return model.cost(states if last else torch.stack(states), batched=batched)

    built, wanted = torch_model.train(model, objective, fused=batched), node_oc.reference(setup(task))
    loss, gradient = built.loss_and_gradient()
    assert tuple(gradient) == tuple(name for name in WEIGHTS if name in wanted[1])
    assert loss == pytest.approx(wanted[0], rel=1e-5)
    assert relative_error(gradient, wanted[1], range(task.depth)) < 1e-5
    built.step()
    assert built.loss_and_gradient()[0] < loss


def test_layers_are_looked_up_from_whole_times() -> None:
    model = torch_model.Model(setup(SMALL), listed=True)
    x = model.lift()
    whole, piecewise = torch_model.Whole(model), torch_model.Piecewise(model)
    assert torch.equal(whole(torch.tensor(2.9999998), x), model.field(3, x))  # int() would take layer 2
    assert torch.equal(whole(torch.full((12,), 3.0), x), model.field(3, x))
    assert torch.equal(piecewise(torch.tensor(2.7), x), model.field(2, x))
    assert torch.equal(whole(torch.tensor(9.0), x), model.field(8, x))  # where a solver that runs backwards starts


def test_a_relative_error_is_that_of_the_layers_that_count() -> None:
    wanted = {"inner.weight": np.array([[3.0], [4.0]]), "head.bias": np.array([12.0])}
    found = {"inner.weight": np.array([[3.0], [9.0]]), "head.bias": np.array([12.0])}
    assert relative_error(found, wanted, [0, 1]) == pytest.approx(5 / 13)
    assert relative_error(found, wanted, [0]) == 0


# -- turns ---------------------------------------------------------------------------------------------------


def test_everyone_plays_once_a_round_and_the_order_turns_round() -> None:
    heard: list[tuple[str, int, int]] = []

    def player(name: str) -> Any:
        def run(steps: int, warm: int) -> list[float]:
            heard.append((name, steps, warm))
            return [float(len(heard)), 100.0, 0.0]

        return run

    done: list[int] = []
    times = play({"a": player("a"), "b": player("b")}, {"a": (3, 1), "b": (5, 2)}, 3, done.append)
    assert heard == [("a", 3, 1), ("b", 5, 2), ("b", 5, 2), ("a", 3, 1), ("a", 3, 1), ("b", 5, 2)]
    assert times == {"a": [1.0, 4.0, 5.0], "b": [2.0, 3.0, 6.0]}  # the median of a turn
    assert done == [1, 2, 3]


def test_ratios_are_taken_within_a_round() -> None:
    ours, theirs = [1.0, 2.0, 30.0, 4.0, 5.0], [2.0, 4.0, 60.0, 16.0, 5.0]
    assert paired(ours, theirs) == Spread(0.5, 0.5, 0.5, 5)  # a slow round changes nothing
    assert paired([1.0, 2.0, 6.0], [4.0]) == Spread(0.5, 0.5, 0.5, 1)  # outside of the rounds: medians


def test_a_spread_is_median_and_quartiles() -> None:
    assert Spread.of([5.0, 1.0, 4.0, 2.0, 3.0]) == Spread(3.0, 2.0, 4.0, 5)
    assert Spread.of([1.0, 9.0]) == Spread(5.0, 1.0, 9.0, 2)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0, 1)


def test_a_turn_is_short_and_has_three_steps_at_least() -> None:
    assert burst(1.0) == (150, 3)
    assert burst(50.0) == (3, 1)
    assert burst(1000.0) == (3, 1)
    assert burst(0.01) == (200, 3)


# -- bars, table, picture ------------------------------------------------------------------------------------


def row(key: str, *ms: float, **more: Any) -> dict[str, Any]:
    """A row of a record that ran."""
    variant = next(variant for variant in VARIANTS if variant.key == key)
    ours = more.pop("ours", ms)
    known = {} if variant.peer == "floor" else {"loss_error": 1e-8, "gradient_error": 3e-7, "exact": True}
    return {"key": key, "label": variant.label, "note": variant.note, "ms": list(ms), "once": variant.slow,
            "step": Spread.of(ms).record(), "ratio": paired(ours, ms).record(), "start_s": 0.5, "facts": {},
            **known, **more}  # fmt: skip


def made() -> dict[str, Any]:
    """A record with a bar that is met, ones that are missed, a failure, a slow row and a wrong gradient."""
    fast = (4.0, 6.0, 8.0, 10.0)
    rows = [
        row("floor/products", 2.0, 3.0, 4.0, 5.0, ours=fast), row(OURS, *fast),
        row("node_oc/general", 8.0, 12.0, 16.0, 20.0, ours=fast),
        {"key": "node_oc/compiled", "label": "node_oc, general path, torch.compile", "note": "whole",
         "error": "Unsupported: a lock\nand a page of it"},
        row("node_oc/asleep", 1.0, 1.5, 2.0, 2.5, ours=fast), row("torchdiffeq/best", 8.0, 12.0, 16.0, 20.0, ours=fast),
        row("torchdiffeq/seen", 5.0, 7.5, 10.0, 12.5, ours=fast),
        row("torchdiffeq/adjoint", 40.0, 60.0, 80.0, 100.0, ours=fast, gradient_error=0.33, exact=False),
        row("torchdiffeq/dopri5", 34000.0, ours=fast, gradient_error=0.04, exact=False),
    ]  # fmt: skip
    images = [row(OURS, 60.0, 60.0), row("torchdiffeq/plain", 100.0, 100.0), row("torchdiffeq/best", 90.0, 90.0),
              row("torchdiffeq/best NCHW", 75.0, 75.0)]  # fmt: skip
    tasks = [{"name": DENSE[2].name, "flops": DENSE[2].flops, "rounds": 4, "rows": rows},
             {"name": CONV.name, "flops": CONV.flops, "rounds": 2, "rows": images}]  # fmt: skip
    machine = {"processor": "a processor", "threads": 2, "device": "CPU", "load": "0.1 before"}
    return {"quick": False, "machine": machine, "versions": {"torch": "2.13.0"}, "order": list(KEYS), "seconds": 61.0,
            "tasks": tasks, "bars": judged(tasks)}  # fmt: skip


def test_bars_are_met_or_missed_by_the_median_ratio() -> None:
    found = {(bar["show"], bar["what"].split(" / ")[1], bar["task"]): bar for bar in made()["bars"]}
    assert {key: (bar["ratio"] and bar["ratio"]["median"], bar["met"]) for key, bar in found.items()} == {
        (1, "torchdiffeq, best", "(256, 128, 128)"): (0.5, True),
        (1, "torchdiffeq, around its solution", "(256, 128, 128)"): (0.8, False),
        (1, "the bare products", "(256, 128, 128)"): (2.0, True),
        (2, "node_oc, general path", "(256, 128, 128)"): (None, False),
        (3, "node_oc", "(256, 128, 128)"): (0.25, True),
        (4, "torchdiffeq, plain", CONV.name): (0.6, True),
        (4, "torchdiffeq, best, NCHW", CONV.name): (0.8, True),  # the faster of its two layouts
    }
    assert [bar["show"] for bar in made()["bars"] if bar["harder"]] == [1]


@pytest.mark.parametrize("wrong", [{"exact": False}, {"facts": {"graph_breaks": 1}}])
def test_a_wrong_gradient_or_a_graph_break_meets_nothing(wrong: dict[str, Any]) -> None:
    rows = [row(OURS, 1.0) | wrong, row("torchdiffeq/best", 10.0)]
    (bar,) = judged([{"name": DENSE[0].name, "rows": rows}])
    assert (bar["ratio"]["median"], bar["met"]) == (0.1, False)


def test_bars_stand_for_every_size_of_the_issue_and_for_known_variants() -> None:
    assert {key for bar in BARS for key in (bar.ours, *bar.theirs)} <= set(KEYS)
    assert {name for bar in BARS for name in bar.limits} == {task.name for task in (*DENSE, CONV)}
    assert {bar.show for bar in BARS} == {1, 2, 3, 4}


def test_the_table_says_what_the_record_says() -> None:
    text = markdown(json.loads(json.dumps(made())))
    lines = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert "| node_oc (2) | 7.00 (1.00) | 60.0 (1.00) |" in text
    assert "| torchdiffeq, adjoint, dopri5 1e-5 (7) | 34,000 (0.00021), one step |  |" in text
    assert "| node_oc, general path, torch.compile (3) | failed |  |" in text
    assert "3e-07" in lines["torchdiffeq, best"]
    assert "3e-01; 0.5 s **differs**" in lines["torchdiffeq, adjoint, euler"]
    assert "0.800 (0.800 to 0.800) | 0.60 | **missed** |" in text
    assert "not timed. Unsupported: a lock\n" in text
    assert "and a page of it" not in text
    assert f"{DENSE[2].flops / 3.5 / 1e6:,.0f} (the bare products, (256, 128, 128))" in text
    assert "quick" not in text
    assert "quick run" in markdown(made() | {"quick": True})


def test_the_picture_shows_every_time_and_what_is_wrong() -> None:
    fig = picture(made())
    assert [ax.get_title(loc="left") for ax in fig.axes] == [DENSE[2].name, CONV.name]
    drawn = {line.get_gid(): line for line in fig.axes[0].lines if line.get_gid()}
    assert set(drawn) == {row["key"] for row in made()["tasks"][0]["rows"] if "step" in row}
    assert drawn[OURS].get_xdata()[0] == 7.0
    assert drawn["torchdiffeq/adjoint"].get_markerfacecolor() == "white"
    assert drawn["torchdiffeq/dopri5"].get_marker() == ">"
    assert fig.axes[0].get_xlim()[1] < 1000
    assert "34.0 s" in [text.get_text() for text in fig.axes[0].texts]


# -- who takes part ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peer", sorted({variant.peer for variant in VARIANTS}))
def test_a_worker_has_the_variants_that_the_table_names(peer: str) -> None:
    tree = ast.parse((ROOT / "benchmarks" / "workers" / f"{peer}.py").read_text())
    names = [node.value for node in tree.body if isinstance(node, ast.Assign)
             and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "VARIANTS"]  # fmt: skip
    (value,) = names
    assert isinstance(value, ast.Dict)
    assert {key.value for key in value.keys if isinstance(key, ast.Constant)} == {
        variant.name for variant in VARIANTS if variant.peer == peer
    }


def test_variants_are_chosen_by_task_device_and_name() -> None:
    keys = [variant.key for variant in chosen(DENSE[0], "cpu", quick=False)]
    assert "node_oc/compiled" in keys
    assert "node_oc/graphs" not in keys
    assert "torchdiffeq/best NCHW" not in keys
    assert "node_oc/graphs" in [variant.key for variant in chosen(DENSE[0], "cuda", quick=False)]
    assert not any(v.slow or v.peer == "jax" for v in chosen(DENSE[0], "cuda", quick=False))
    assert "torchdiffeq/dopri5" not in [variant.key for variant in chosen(DENSE[0], "cpu", quick=True)]
    assert [v.key for v in chosen(CONV, "cpu", quick=True, only=["torchode", OURS])] == [OURS]


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'torchdifeq'.*'torchdiffeq'.*--list"):
        chosen(DENSE[0], "cpu", quick=False, only=["torchdifeq"])


def test_a_missing_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"--device: got cuda.*CUDA build of torch"):
        training_step.main(["--device", "cuda", "--batch", "1024", "--width", "512"])


def test_a_device_without_a_variant_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    with pytest.raises(ConfigError, match=r"--only: got \['jax'\]"):
        training_step.main(["--device", "cuda", "--only", "jax"])


def test_a_given_size_is_the_only_one() -> None:
    read = training_step._parser().parse_args
    (task,) = training_step.sizes(read(["--device", "cuda"]))
    assert (task.batch, task.width, task.hidden) == (1024, 512, 512)
    (task,) = training_step.sizes(read(["--batch", "32", "--width", "16", "--hidden", "8"]))
    assert (task.name, task.kind) == ("(32, 16, 8)", "dense")
    assert training_step.sizes(read([])) == [*DENSE, CONV]


@pytest.mark.parametrize("peer", environments.IMPORTS)
def test_requirements_are_exact(peer: str) -> None:
    lines = [line for file in environments.files_of(peer) for line in file.read_text().splitlines()]
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert all(line.count("==") == 1 for line in wanted)
    assert ("torch==2.13.0" in wanted) == (peer != "jax")


def test_an_environment_that_cannot_be_made_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "FOLDER", environments.HERE / ".envs" / tmp_path.name)
    monkeypatch.setattr(environments.venv, "create", lambda folder, with_pip: None)
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: no matching distribution")
    monkeypatch.setattr(environments.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(OSError, match=r"torch.txt for torchode: ERROR: no matching distribution"):
        environments.interpreter("torchode", say=lambda _: None)
    assert environments.interpreter("node_oc") == Path(sys.executable)


# -- all of it, small ----------------------------------------------------------------------------------------


def test_a_task_is_measured_from_its_own_processes(tmp_path: Path) -> None:
    known = {variant.key: variant for variant in VARIANTS}
    unknown = Variant("node_oc/nonsense", "a variant that its worker does not have")
    record = measure(SMALL, [known["floor/products"], known[OURS], known["node_oc/asleep"], unknown], tmp_path,
                     device="cpu", threads=1, rounds=2, here=False, say=lambda _: None)  # fmt: skip
    rows = {row["key"]: row for row in record["rows"]}
    assert rows["node_oc/nonsense"]["error"] == "KeyError: 'nonsense'"
    for key in (OURS, "node_oc/asleep"):
        assert rows[key]["exact"]
        assert len(rows[key]["ms"]) == 2
    assert rows[OURS]["ratio"]["median"] == 1
    assert record["versions"]["torch"] == torch.__version__
    assert markdown({"tasks": [record], "machine": made()["machine"], "versions": {}, "quick": True, "seconds": 1.0,
                     "order": [*KEYS, "node_oc/nonsense"], "bars": judged([record])})  # fmt: skip


@pytest.mark.skipif(find_spec("torchdyn") is not None, reason="a peer is installed here, so it is not missing")
def test_a_peer_that_cannot_be_had_is_missing_from_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interpreter(peer: str, here: bool, say: Any) -> Path:
        if peer == "torchode":
            raise OSError("pip could not install it\nand a page of why")
        return Path(sys.executable)  # in which the peers themselves are missing

    monkeypatch.setattr("benchmarks.measure.interpreter", interpreter)
    found = {key: next(v for v in VARIANTS if v.key == key) for key in (OURS, "torchode/best", "torchdyn/best")}
    record = measure(SMALL, list(found.values()), tmp_path, device="cpu", threads=1, rounds=1, here=False,
                     say=lambda _: None)  # fmt: skip
    rows = {row["key"]: row for row in record["rows"]}
    assert rows["torchode/best"]["error"].startswith("pip could not install it")
    assert rows["torchdyn/best"]["error"] == "ModuleNotFoundError: No module named 'torchdyn'"
    assert rows[OURS]["step"]["count"] == 1


def test_a_worker_that_ends_says_where_to_look(tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho no such interpreter >&2\n")
    script.chmod(0o755)
    with Worker(script, "torchode", tmp_path / "task.npz", "cpu", 1, tmp_path / "torchode.log") as worker:
        worker.process.wait(10)
        with pytest.raises(WorkerError, match=r"torchode ended.*no such interpreter"):
            worker.ask("facts")
