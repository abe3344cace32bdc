"""A profile's values against values by hand, and the name that a distance goes by."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from systems import Projecting, decay, randn, stir_, zero_
from torch import nn

from node_oc.data import Part
from node_oc.diagnosis import diagnose, profile
from node_oc.diagnosis.profile import _chunk
from node_oc.discretization import RK4, DepthGrid, Network
from node_oc.errors import DataError, DivergenceError
from node_oc.problem import CrossEntropy, Problem, SoftCrossEntropy, TorchLoss
from node_oc.system import DenseSystem
from node_oc.trajectory import rollout

X = 2 * randn(20, 2).float()
CLASSES = Part(X, (X[:, 0] < X[:, 1]).long())


def halving(depth: int = 3) -> Network:
    """x_k = x_0 / 2^k, and the readout is the state."""
    return Network(decay(depth, 2), DepthGrid.uniform(depth, 0.5))


def dense(width: int = 4, classes: int = 2) -> Network:
    system = DenseSystem(2, classes, depth=3, width=width, hidden=5)
    stir_(system)
    return Network(system)


def test_a_profile_by_hand() -> None:
    net = halving()
    zero_(net.system, 2)
    net.set_awake([0, 1])
    found = profile(net, Problem.classification(2), CLASSES, "classification")
    cost = SoftCrossEntropy(2)
    states = [X.double() / factor for factor in (1, 2, 4, 4)]
    for k, x in enumerate(states):
        assert found.stage[k] == pytest.approx(cost(x[None], CLASSES.y).mean().item(), rel=1e-6)
        assert found.metric[k] == (x.argmax(1) == CLASSES.y).double().mean().item()
        gap = (x.gather(1, CLASSES.y[:, None]) - x.gather(1, 1 - CLASSES.y[:, None]))[:, 0]
        assert found.distance[k] == pytest.approx(((gap - cost.gap).abs() / math.sqrt(2)).mean().item(), rel=1e-6)
    assert found.distance_name == "state distance"
    assert found.least == cost.least
    lengths = X.double().norm(dim=1).mean().item()
    assert found.increment == pytest.approx((lengths / 2, lengths / 4, 0.0), rel=1e-6)
    assert found.control == (1.0, 1.0, 0.0)


def test_a_regression_profile_by_hand() -> None:
    part = Part(X, randn(20, 2, seed=1).float())
    found = profile(halving(), Problem.regression(), part, "regression")
    for k in range(4):
        error = X.double() / 2**k - part.y
        assert found.stage[k] == pytest.approx(error.square().sum(1).mean().item(), rel=1e-6)
        assert found.distance[k] == pytest.approx(error.norm(dim=1).mean().item(), rel=1e-6)
    assert found.metric == found.stage
    assert (found.least, found.distance_name) == (0.0, "state distance")


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_chunks_do_not_show(chunk: int) -> None:
    one, two = (profile(dense(), Problem.classification(2), CLASSES, "classification", c) for c in (4096, chunk))
    for name in ("stage", "metric", "distance", "increment", "control"):
        assert getattr(one, name) == pytest.approx(getattr(two, name), rel=1e-5)


def test_a_profile_has_one_value_a_layer_with_every_table() -> None:
    net = Network(dense().system, table=RK4)
    found = profile(net, Problem.classification(2), CLASSES, "classification")
    assert [len(found.stage), len(found.metric), len(found.distance)] == [4] * 3
    assert [len(found.increment), len(found.control)] == [3] * 2


def test_a_readout_that_is_not_affine_gives_the_logit_distance() -> None:
    net = Network(Projecting((2, 3, 3), 2, torch.Generator().manual_seed(0)))
    found = profile(net, Problem.classification(2), CLASSES, "classification")
    assert found.distance_name == "logit distance"
    with torch.no_grad():
        last = SoftCrossEntropy(2).logit_distance(net(X)[None], CLASSES.y).mean().item()
    assert found.distance[-1] == pytest.approx(last, rel=1e-5)
    values = Part(X, randn(20, 2).float())
    assert profile(net, Problem.regression(), values, "regression").distance_name == ""


def test_a_readout_of_too_low_a_rank_gives_the_logit_distance() -> None:
    part = Part(X, torch.arange(20) % 4)
    found = profile(dense(width=2, classes=4), Problem.classification(4), part, "classification")
    assert found.distance_name == "logit distance"
    assert len(found.distance) == 4


@pytest.mark.parametrize("stage", [CrossEntropy(), TorchLoss(nn.CrossEntropyLoss())], ids=["plain", "torch"])
def test_a_cost_without_minimisers_has_no_distance(stage: CrossEntropy | TorchLoss) -> None:
    found = diagnose(dense(), Problem(stage, stage), CLASSES)
    assert (found.profile.distance, found.profile.distance_name, found.turnpike) == ((), "", None)
    assert found.sentence.startswith("No turnpike to look for")
    assert found.entry_accuracy is not None


def test_a_diagnosis_of_a_network_that_goes_to_the_minimisers_and_stays() -> None:
    """x' = (m - x) with m on the minimisers of class 0: the distance halves in every layer."""
    system = decay(8, 2)
    m = torch.tensor([SoftCrossEntropy(2).gap, 0.0], dtype=torch.float64)
    system.f = lambda x: m - x
    part = Part(X, torch.zeros(20, dtype=torch.long))
    found = diagnose(Network(system, DepthGrid.uniform(8, 0.5)), Problem.classification(2), part)
    assert found.turnpike is not None
    entry, distance = found.turnpike.entry, found.profile.distance
    assert entry is not None
    assert distance[entry] <= found.turnpike.level < distance[entry - 1]
    assert found.sentence.startswith(f"Turnpike: from layer {entry} of 8 on")
    assert [b / a for a, b in pairwise(distance)] == pytest.approx([0.5] * 8, rel=1e-5)
    assert found.entry_accuracy is not None
    assert found.entry_accuracy <= 2


def test_float_targets_are_regression() -> None:
    found = diagnose(halving(), Problem.regression(), Part(X, torch.zeros(20, 2)))
    assert found.entry_accuracy is None
    assert found.turnpike is not None
    assert not found.turnpike.found  # 1/8 of the start at the end


def test_the_stage_cost_is_looked_at_also_where_it_had_no_weight() -> None:
    problem = Problem.classification(2)
    bare, whole = (diagnose(dense(), p, CLASSES) for p in (problem.terminal_only(), problem))
    assert bare == replace(whole, counting=None)
    assert whole.counting is not None
    assert "needs steps, a stage weight" in bare.sentences["counting"]


@pytest.mark.parametrize(("lift", "head"), [("linear", "linear"), ("pad", "coordinates")])
def test_a_network_without_steps_can_be_diagnosed(lift: str, head: str) -> None:
    net = Network(DenseSystem(2, 2, depth=0, width=4, lift=lift, head=head))
    found = diagnose(net, Problem.classification(2), CLASSES)
    assert (len(found.profile.stage), found.profile.increment, found.profile.control) == (1, (), ())
    assert found.entry_accuracy == 0
    assert (found.counting, found.dissipation, found.profile.running) == (None, None, ())
    assert found.decay is not None
    assert not found.decay.resolved


def test_running_and_terminal_costs_are_those_of_j() -> None:
    net = Network(dense().system.double(), DepthGrid((0.3, 1.0, 0.5)), RK4)
    problem = Problem(CrossEntropy(), SoftCrossEntropy(2))
    part = Part(X.double(), CLASSES.y)
    found = profile(net, problem, part, "classification")
    with torch.no_grad():
        J = problem.evaluate(rollout(net, part.x), part.y)
    assert found.running == pytest.approx(J.stage.tolist(), rel=1e-12)
    assert found.terminal[-1] == pytest.approx(J.terminal.item(), rel=1e-12)
    assert found.excess == pytest.approx([e - problem.stage.least for e in found.stage])  # type: ignore[operator]
    assert profile(dense(), Problem(TorchLoss(nn.CrossEntropyLoss()), TorchLoss(nn.CrossEntropyLoss())), CLASSES,
                   "classification").excess is None  # fmt: skip


def towards(speed: Callable[[int], float], depth: int = 20) -> Network:
    """x_{k+1} - m = (1 - speed(k)) (x_k - m), with m on the minimisers of class 0."""
    system = decay(depth, 2)
    m = torch.tensor([SoftCrossEntropy(2).gap, 0.0], dtype=torch.float64)
    system.f = lambda x: m - x
    for k, u in enumerate(system.u):
        u.data.fill_(speed(k))
    return Network(system)


ONE_CLASS = Part(X, torch.zeros(20, dtype=torch.long))


def test_a_trajectory_with_a_turnpike() -> None:
    found = diagnose(towards(lambda k: 0.5), Problem.classification(2), ONE_CLASS)
    assert found.turnpike is not None
    assert found.decay is not None
    assert found.counting is not None
    assert found.dissipation is not None
    assert (found.turnpike.entry, found.turnpike.exit) == (3, None)
    assert found.decay.resolved
    assert found.decay.rate == pytest.approx(2 * math.log(2), rel=0.05)  # the excess is quadratic near its least value
    assert found.counting.verdict == "holds"
    assert found.dissipation.strict


def test_a_trajectory_that_leaves_again() -> None:
    """In by three layers, still for thirteen, out in the last four."""
    net = towards(lambda k: 0.5 if k < 3 else 0.0 if k < 16 else -4.0)
    found = diagnose(net, Problem.classification(2), ONE_CLASS)
    assert found.turnpike is not None
    assert (found.turnpike.entry, found.turnpike.exit) == (3, 16)
    assert found.sentence.startswith("Turnpike with a leaving arc: from layer 3 to layer 16 of 20")


def test_a_trajectory_without_a_turnpike() -> None:
    """It hardly moves, and four faster steps would have had a lower J."""
    slow, fast = towards(lambda k: 0.02 * (k % 2)), towards(lambda k: 0.9, depth=4)
    found = diagnose(slow, Problem.classification(2), ONE_CLASS, other=fast)
    assert found.turnpike is not None
    assert found.counting is not None
    assert not found.turnpike.found
    assert found.counting.verdict == "not owed"
    assert found.counting.other == "the other network of 4 layers and zero steps"
    assert found.counting.gap > 10
    still = diagnose(towards(lambda k: 0.0), Problem.classification(2), ONE_CLASS)
    assert still.turnpike is not None
    assert still.decay is not None
    assert not still.turnpike.found
    assert not still.decay.resolved


def test_rate_and_stay_are_measured_in_time() -> None:
    system = towards(lambda k: 1.0 if k < 9 else -40.0, depth=10).system
    half = diagnose(Network(system, DepthGrid.uniform(10, 0.5)), Problem.classification(2), ONE_CLASS)
    assert half.decay is not None
    assert half.decay.rate == pytest.approx(2 * math.log(2) / 0.5, rel=0.1)
    assert half.turnpike is not None
    assert half.turnpike.found
    uneven = diagnose(Network(system, DepthGrid((*[0.5] * 9, 9.0))), Problem.classification(2), ONE_CLASS)
    assert uneven.turnpike is not None
    assert not uneven.turnpike.found  # near from layer 3 to 9 of 10, but for less than a quarter of the time


def test_every_answer_has_a_sentence_and_goes_into_json() -> None:
    for problem in (Problem.classification(2), Problem(TorchLoss(nn.CrossEntropyLoss()), CrossEntropy())):
        found = diagnose(dense(), problem, CLASSES)
        told = json.loads(json.dumps(found.record(), allow_nan=False))
        assert list(told) == ["turnpike", "decay", "counting", "dissipation"]
        assert {name: answer["sentence"] for name, answer in told.items()} == found.sentences
        assert all(sentence.endswith(".") and sentence.isascii() for sentence in found.sentences.values())
    assert told["decay"]["law"] in ("exponential", "algebraic", "not resolved")


def test_a_state_that_is_not_finite_is_named_by_its_layer() -> None:
    net = dense()
    with torch.no_grad():
        net.system.group(1)[0][0, 0] = math.nan
    with pytest.raises(DivergenceError, match="state of layer 2: got NaN"):
        diagnose(net, Problem.classification(2), CLASSES)
    net.set_awake([0, 2])  # a sleeping step is not computed
    diagnose(net, Problem.classification(2), CLASSES)


def test_inputs_that_are_not_finite_are_no_fault_of_the_network() -> None:
    x = X.clone()
    x[3, 0] = math.nan
    x[4, 1] = math.inf
    with pytest.raises(DataError, match="2 samples that are not finite"):
        diagnose(dense(), Problem.classification(2), Part(x, CLASSES.y))


def test_no_samples_raise() -> None:
    with pytest.raises(DataError, match="no samples"):
        diagnose(dense(), Problem.classification(2), Part(X[:0], CLASSES.y[:0]))


def test_large_states_go_through_in_small_batches() -> None:
    """A state of 2^20 numbers: 16 of them are 2^24, and four layers of those the limit."""
    assert _chunk(Network(decay(3, 2**20)), X[:1]) == 16
    assert _chunk(dense(), X[:1]) == 4096


def test_asking_changes_nothing() -> None:
    net = dense()
    net.set_awake([0, 2])
    before = {name: p.clone() for name, p in net.state_dict().items()}
    diagnose(net, Problem.classification(2), CLASSES)
    assert net.awake == (0, 2)
    assert all(torch.equal(p, before[name]) for name, p in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
