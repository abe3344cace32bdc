"""The loop: it lowers J, repeats itself to the bit, resumes to the bit, and says where it diverged."""

from __future__ import annotations

import copy
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from node_oc.config import TrainingSection
from node_oc.data import Part, spirals
from node_oc.discretization import Network
from node_oc.errors import DivergenceError, StoreError
from node_oc.problem import Problem, SoftCrossEntropy, TorchLoss
from node_oc.system import DenseSystem
from node_oc.training.batches import batch_indices, training_updates
from node_oc.training.checkpoint import read_weights
from node_oc.training.loop import Plan, fit
from node_oc.trajectory import rollout

OPTIONS = TrainingSection(epochs=2, batch=32, min_updates=0)
PART = spirals(train=256, val=4, test=4).train
PROBLEM = Problem.classification(2)


def network(depth: int = 4, seed: int = 0) -> Network:
    return Network(DenseSystem(2, 2, depth=depth, width=8, hidden=8, generator=torch.Generator().manual_seed(seed)))


def weights(net: Network) -> list[torch.Tensor]:
    return [p.detach().clone() for p in net.parameters()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_fit_lowers_the_objective_and_keeps_rows_admissible() -> None:
    net = network()
    before = PROBLEM.evaluate(rollout(net, PART.x), PART.y).total
    fit(net, PROBLEM, PART, OPTIONS, plan=Plan(updates=60))
    assert PROBLEM.evaluate(rollout(net, PART.x), PART.y).total < 0.9 * before
    torch.testing.assert_close(net.system.steps[0].inner.weight.norm(dim=1), torch.ones(8))


def test_same_seed_same_bits_other_seed_other_bits() -> None:
    runs = []
    for seed in (0, 0, 1):
        net = network()
        fit(net, PROBLEM, PART, OPTIONS.model_copy(update={"seed": seed}))
        runs.append(weights(net))
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


@pytest.mark.parametrize("price", [0.0, 0.3])
def test_interrupted_at_any_update_resumes_to_the_same_bits(tmp_path: Path, price: float) -> None:
    plan = Plan("p", updates=20, average=0.3)
    options = OPTIONS.model_copy(update={"checkpoint_seconds": 0.0})
    whole = network()
    average = fit(whole, PROBLEM.priced(price), PART, options, plan=plan, folder=tmp_path / "whole")
    for stop in (1, 7, 16, 19):

        def interrupt(name: str, done: int, updates: int, info: object, stop: int = stop) -> None:
            if done == stop:
                raise KeyboardInterrupt

        folder = tmp_path / f"stopped-{stop}"
        with pytest.raises(KeyboardInterrupt):
            fit(network(), PROBLEM.priced(price), PART, options, plan=plan, folder=folder, progress=interrupt)
        resumed = network()
        again = fit(resumed, PROBLEM.priced(price), PART, options, plan=plan, folder=folder)
        assert same(weights(resumed), weights(whole))
        assert all(torch.equal(again[name], average[name]) for name in average)
        assert (folder / "history.jsonl").read_bytes() == (tmp_path / "whole" / "history.jsonl").read_bytes()


def test_a_finished_training_is_read_not_repeated(tmp_path: Path) -> None:
    fit(first := network(), PROBLEM, PART, OPTIONS, folder=tmp_path)
    calls: list[int] = []
    fit(second := network(), PROBLEM, PART, OPTIONS, folder=tmp_path, progress=lambda *a: calls.append(1))
    assert same(weights(first), weights(second))
    assert not calls


@pytest.mark.parametrize("change", ["rate", "data", "problem", "weights"])
def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path, change: str) -> None:
    fit(network(), PROBLEM, PART, OPTIONS, folder=tmp_path)
    options = OPTIONS.model_copy(update={"learning_rate": 1e-4}) if change == "rate" else OPTIONS
    part = Part(PART.x + 1, PART.y) if change == "data" else PART
    problem = Problem.classification(2, eps=0.2) if change == "problem" else PROBLEM
    with pytest.raises(StoreError, match="another training"):
        fit(network(seed=1 if change == "weights" else 0), problem, part, options, folder=tmp_path)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    fit(network(), PROBLEM, PART, OPTIONS, folder=tmp_path)
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(StoreError):
        fit(network(), PROBLEM, PART, OPTIONS, folder=tmp_path)


def test_history_is_json_lines_about_every_update(tmp_path: Path) -> None:
    fit(network(), PROBLEM, PART, OPTIONS, folder=tmp_path, plan=Plan("named", updates=10))
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == list(range(1, 11))
    assert {"training", "objective", "terminal", "gradient_norm", "learning_rate", "awake_steps"} <= set(lines[0])
    assert lines[0]["learning_rate"] == OPTIONS.learning_rate


def test_divergence_names_the_layer_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    net = network()
    bad = Part(PART.x.clone(), PART.y)
    bad.x[-1] = torch.inf
    with pytest.raises(DivergenceError, match=r"layer 0 .*learning_rate"):
        fit(net, PROBLEM, bad, OPTIONS.model_copy(update={"batch": 0}), folder=tmp_path)
    assert all(p.isfinite().all() for p in net.parameters())
    options = OPTIONS.model_copy(update={"checkpoint_seconds": 0.0, "batch": 0})
    net = network()
    with torch.no_grad():
        net.system.steps[2].outer.bias.fill_(1e38)
        net.system.steps[3].outer.bias.fill_(3.4e38)
    with pytest.raises(DivergenceError, match="layer 4 is not finite"):
        fit(net, PROBLEM, PART, options)


def test_an_explosion_is_noticed_while_the_numbers_are_finite(tmp_path: Path) -> None:
    options = OPTIONS.model_copy(update={"learning_rate": 1e8, "checkpoint_seconds": 0.0})
    with pytest.raises(DivergenceError, match=r"the largest is .* in layer \d"):
        fit(network(), PROBLEM, PART, options, folder=tmp_path)
    spec, good, update = read_weights(tmp_path)  # the checkpoint that was kept can be used
    net = Network.from_spec(spec)
    net.load_state_dict(good)
    assert PROBLEM.evaluate(rollout(net, PART.x), PART.y).total < 1e6
    assert update >= 0


def test_ctrl_c_saves_the_update_that_was_under_way(tmp_path: Path) -> None:
    def press(name: str, done: int, updates: int, info: object) -> None:
        if done == 5:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    options = OPTIONS.model_copy(update={"checkpoint_seconds": 3600.0})
    with pytest.raises(KeyboardInterrupt):
        fit(network(), PROBLEM, PART, options, folder=tmp_path / "a", progress=press)
    assert read_weights(tmp_path / "a")[2] == 5
    assert signal.getsignal(signal.SIGINT) is before
    fit(resumed := network(), PROBLEM, PART, options, folder=tmp_path / "a")
    fit(whole := network(), PROBLEM, PART, options, folder=tmp_path / "b")
    assert same(weights(resumed), weights(whole))


def test_a_permuted_training_set_is_another_one(tmp_path: Path) -> None:
    fit(network(), PROBLEM, PART, OPTIONS, folder=tmp_path)
    with pytest.raises(StoreError, match="another training"):
        fit(network(), PROBLEM, Part(PART.x.flip(0), PART.y.flip(0)), OPTIONS, folder=tmp_path)


def test_sleeping_steps_are_not_touched() -> None:
    net = network()
    net.set_awake([0, 2])
    before = copy.deepcopy(net.system.steps[1].state_dict())
    fit(net, PROBLEM, PART, OPTIONS)
    assert all(torch.equal(v, net.system.steps[1].state_dict()[k]) for k, v in before.items())
    assert all(p.requires_grad for p in net.parameters())


def test_an_interrupted_network_is_an_ordinary_module_again() -> None:
    net = network()
    net.set_awake([0, 2])

    def stop(name: str, update: int, updates: int, info: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(net, PROBLEM.priced(0.1), PART, OPTIONS, progress=stop)
    assert all(p.requires_grad for p in net.parameters())
    assert len({p.untyped_storage().data_ptr() for p in net.parameters()}) == len(list(net.parameters()))


def test_a_training_in_segments_resumes_to_the_same_bits(tmp_path: Path) -> None:
    options = OPTIONS.model_copy(update={"gradient_checkpointing": True, "checkpoint_seconds": 0.0})
    whole = network(6)
    fit(whole, PROBLEM, PART, options, plan=Plan("a"), folder=tmp_path / "whole")

    def stop(name: str, update: int, updates: int, info: object) -> None:
        if update == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(network(6), PROBLEM, PART, options, plan=Plan("a"), folder=tmp_path / "parts", progress=stop)
    parts = network(6)
    fit(parts, PROBLEM, PART, options, plan=Plan("a"), folder=tmp_path / "parts")
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), parts.parameters(), strict=True))


def test_any_torch_loss_trains() -> None:
    net = network()
    problem = Problem(SoftCrossEntropy(2), TorchLoss(torch.nn.CrossEntropyLoss()))
    before = problem.evaluate(rollout(net, PART.x), PART.y).total
    fit(net, problem, PART, OPTIONS, plan=Plan(updates=40))
    assert problem.evaluate(rollout(net, PART.x), PART.y).total < before


def test_batches_depend_on_nothing_but_seed_name_and_update() -> None:
    epoch = [batch_indices(u, 100, 30, 0, "a") for u in range(3)]
    assert len(torch.cat(epoch).unique()) == 90
    assert torch.equal(batch_indices(4, 100, 30, 0, "a"), batch_indices(4, 100, 30, 0, "a"))
    assert not torch.equal(batch_indices(0, 100, 30, 0, "a"), batch_indices(0, 100, 30, 0, "b"))
    assert not torch.equal(batch_indices(0, 100, 30, 0, "a"), batch_indices(3, 100, 30, 0, "a"))
    assert batch_indices(0, 100, 0, 0, "a") is None


def test_small_sets_get_at_least_min_updates() -> None:
    assert training_updates(TrainingSection(epochs=5, batch=10), 100) == 1000
    assert training_updates(TrainingSection(epochs=500, batch=10), 100) == 5000


def test_mixed_and_double_precision_train() -> None:
    for precision in ("bf16-mixed", "64-true"):
        net = network()
        fit(net, PROBLEM, PART, OPTIONS.model_copy(update={"precision": precision}))
        assert next(net.parameters()).dtype == (torch.float64 if precision == "64-true" else torch.float32)


def test_a_training_that_is_stopped_is_a_shorter_one(tmp_path: Path) -> None:
    asked: list[tuple[str, int]] = []

    def stop(name: str, update: int) -> bool:
        asked.append((name, update))
        return update == 7

    short, stopped = network(), network()
    fit(short, PROBLEM, PART, OPTIONS, plan=Plan("p", updates=7, cosine=False))
    fit(stopped, PROBLEM, PART, OPTIONS, plan=Plan("p", updates=20, cosine=False), folder=tmp_path, stop=stop)
    assert same(weights(short), weights(stopped))
    assert asked == [("p", update) for update in range(1, 8)]
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 7
    again = network()  # it is finished for whoever resumes, with a word to say or without
    fit(again, PROBLEM, PART, OPTIONS, plan=Plan("p", updates=20, cosine=False), folder=tmp_path)
    assert same(weights(again), weights(stopped))
    assert read_weights(tmp_path)[2] == 7


@pytest.mark.parametrize("last", [5, 18])
def test_the_average_of_a_stopped_training(tmp_path: Path, last: int) -> None:
    """Before the updates that are averaged it is the weights; among them the average of those that there are."""
    seen = []

    def progress(name: str, update: int, updates: int, info: object) -> None:
        seen.append({name: p.detach().clone() for name, p in net.named_parameters()})

    net, plan = network(), Plan("p", updates=20, average=0.3)
    arguments: dict[str, Any] = {"plan": plan, "folder": tmp_path, "progress": progress}
    average = fit(net, PROBLEM, PART, OPTIONS, stop=lambda name, update: update == last, **arguments)
    assert len(seen) == last
    wanted = seen[14:] or seen[-1:]
    for name, value in average.items():
        torch.testing.assert_close(value, torch.stack([each[name] for each in wanted]).mean(0))
    again = fit(network(), PROBLEM, PART, OPTIONS, **arguments)
    assert all(torch.equal(again[name], value) for name, value in average.items())
    assert len(seen) == last


def test_who_stops_may_put_other_weights_back_and_an_interrupt_is_not_forgotten(tmp_path: Path) -> None:
    best = network(seed=3)
    net = network()

    def stop(name: str, update: int) -> bool:
        if update < 4:
            return False
        net.load_state_dict(best.state_dict())
        os.kill(os.getpid(), signal.SIGINT)
        return True

    with pytest.raises(KeyboardInterrupt):
        fit(net, PROBLEM, PART, OPTIONS, plan=Plan(updates=9), folder=tmp_path, stop=stop)
    again = network()
    fit(again, PROBLEM, PART, OPTIONS, plan=Plan(updates=9), folder=tmp_path)
    assert same(weights(again), weights(best))
