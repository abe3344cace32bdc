"""A profile's values against values by hand, and the name that a distance goes by."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from systems import Projecting, decay, randn, stir_, zero_
from torch import nn

from node_oc.data import Part
from node_oc.diagnosis import diagnose, profile
from node_oc.discretization import RK4, DepthGrid, Network
from node_oc.problem import CrossEntropy, Problem, SoftCrossEntropy, TorchLoss
from node_oc.system import DenseSystem

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
    assert diagnose(dense(), problem.terminal_only(), CLASSES) == diagnose(dense(), problem, CLASSES)


@pytest.mark.parametrize(("lift", "head"), [("linear", "linear"), ("pad", "coordinates")])
def test_a_network_without_steps_can_be_diagnosed(lift: str, head: str) -> None:
    net = Network(DenseSystem(2, 2, depth=0, width=4, lift=lift, head=head))
    found = diagnose(net, Problem.classification(2), CLASSES)
    assert (len(found.profile.stage), found.profile.increment, found.profile.control) == (1, (), ())
    assert found.entry_accuracy == 0


def test_asking_changes_nothing() -> None:
    net = dense()
    net.set_awake([0, 2])
    before = {name: p.clone() for name, p in net.state_dict().items()}
    diagnose(net, Problem.classification(2), CLASSES)
    assert net.awake == (0, 2)
    assert all(torch.equal(p, before[name]) for name, p in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
