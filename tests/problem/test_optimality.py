"""The proximal map, and the test that a zero step had better stay zero."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from systems import randn, stir_, zero_
from torch import Tensor

from node_oc.discretization import DepthGrid, Network
from node_oc.errors import ConfigError, DataError
from node_oc.problem import Problem, group_gradients, optimality_ratios, shrink_
from node_oc.problem.optimality import all_awake
from node_oc.system import DenseSystem
from node_oc.trajectory import rollout

X, Y = randn(12, 2), torch.arange(12) % 3
BATCH = [(X, Y)]
H = (0.5, 1.0, 2.0)


def dense() -> Network:
    """Step 1 sleeps at zero, with live inner weights."""
    system = DenseSystem(2, 3, depth=3, width=4, hidden=5).double()
    stir_(system)
    zero_(system, 1)
    return Network(system, DepthGrid(H), awake=[0, 2])


def problem(price: float = 0.1) -> Problem:
    return Problem.classification(3, stage_weight=0.7).priced(price)


@pytest.mark.parametrize("thresholds", [(0.1, 1.0, 2.5), (9.0, 0.0, 0.5)])
@pytest.mark.parametrize("seed", range(3))
def test_shrinking_is_the_minimiser_of_price_and_distance(thresholds: tuple[float, ...], seed: int) -> None:
    stacks = [randn(3, 2, 2, seed=seed), randn(3, 3, seed=seed + 10)]
    before = torch.cat([p.flatten(1) for p in stacks], 1).numpy().copy()
    shrink_(stacks, torch.tensor(thresholds, dtype=torch.float64))
    found = torch.cat([p.flatten(1) for p in stacks], 1).numpy()
    for v, u, threshold in zip(before, found, thresholds, strict=True):

        def cost(w: np.ndarray, v: np.ndarray = v, threshold: float = threshold) -> float:
            return threshold * np.linalg.norm(w) + 0.5 * ((w - v) ** 2).sum()

        numerical = minimize(cost, 0.5 * v, tol=1e-12)
        assert cost(u) <= numerical.fun + 1e-12
        np.testing.assert_allclose(u, numerical.x, atol=1e-5)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.floats(0, 3), st.integers(0, 10**6))
def test_shrinking_takes_the_threshold_off_the_norm(threshold: float, seed: int) -> None:
    stacks = [randn(1, 2, 3, seed=seed), randn(1, 2, seed=seed + 1)]
    before = torch.cat([p.flatten() for p in stacks])
    zero = bool(shrink_(stacks, torch.tensor([threshold], dtype=torch.float64)))
    after = torch.cat([p.flatten() for p in stacks])
    assert zero == bool((after == 0).all()) == bool(before.norm() <= threshold)
    assert after.norm().item() == pytest.approx(max(0.0, before.norm().item() - threshold), abs=1e-12)
    torch.testing.assert_close(after * before.norm(), before * after.norm())


def test_a_group_on_the_threshold_is_exactly_zero_and_stays() -> None:
    stacks = [torch.tensor([[3.0], [3.0]]), torch.tensor([[4.0], [5.0]])]
    assert shrink_(stacks, torch.tensor([5.0, 5.0])).tolist() == [True, False]
    assert stacks[0][0].item() == stacks[1][0].item() == 0
    assert shrink_(stacks, torch.zeros(2)).tolist() == [True, False]


def test_ratios_are_gradient_norms_over_the_price() -> None:
    net = dense()
    groups = [net.system.group(k) for k in range(3)]
    with all_awake(net):
        smooth = problem().evaluate(rollout(net, X), Y).smooth
    for k, ratio in enumerate(optimality_ratios(net, problem(), BATCH).tolist()):
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(smooth, groups[k], retain_graph=True)])
        assert ratio == pytest.approx(gradient.norm().item() / (0.1 * H[k]), rel=1e-7)
        assert ratio > 0  # the sleeping step has one too


def test_ratios_from_scaled_j_are_the_same() -> None:
    net = dense()
    s = problem().scale(net)
    with all_awake(net):
        scaled = s * problem().evaluate(rollout(net, X), Y).smooth
    gradient = torch.autograd.grad(scaled, net.system.group(1))
    norm = torch.cat([g.flatten() for g in gradient]).norm().item()
    assert optimality_ratios(net, problem(), BATCH)[1].item() == pytest.approx(norm / (s * 0.1 * H[1]), rel=1e-7)


def test_ratios_fall_with_the_price_and_not_with_the_batches() -> None:
    net = dense()
    ratios = optimality_ratios(net, problem(), BATCH)
    torch.testing.assert_close(optimality_ratios(net, problem(0.2), BATCH), ratios / 2)
    parts = [(X[:7], Y[:7]), (X[7:], Y[7:])]  # unequal ones count with their samples
    torch.testing.assert_close(optimality_ratios(net, problem(), parts), ratios)


def test_asking_changes_nothing() -> None:
    net = dense()
    before = {name: p.clone() for name, p in net.state_dict().items()}
    with torch.no_grad():
        optimality_ratios(net, problem(), BATCH)
    assert net.awake == (0, 2)
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(p, before[name]) for name, p in net.state_dict().items())


def test_sleepers_sleep_again_after_an_error() -> None:
    net = dense()
    with pytest.raises(RuntimeError), all_awake(net):
        assert net.awake == (0, 1, 2)
        raise RuntimeError
    assert net.awake == (0, 2)


def test_without_a_price_there_is_no_ratio() -> None:
    with pytest.raises(ConfigError, match=r"problem.group_price: got 0.0"):
        optimality_ratios(dense(), problem(0.0), BATCH)


def change_of_j(net: Network, priced: Problem, way: list[Tensor], size: float) -> float:
    """J with the zero group of step 1 moved to size * way, less J at zero."""
    with torch.no_grad(), all_awake(net):
        zero_(net.system, 1)
        before = priced.evaluate(rollout(net, X), Y).total
        for p, direction in zip(net.system.group(1), way, strict=True):
            p.copy_(size * direction)
        after = priced.evaluate(rollout(net, X), Y).total
        zero_(net.system, 1)
    return (after - before).item()


def unit(way: list[Tensor]) -> list[Tensor]:
    norm = torch.cat([p.flatten() for p in way]).norm()
    return [p / norm for p in way]


@pytest.mark.parametrize("ratio", [0.9, 1.0, 1.1])
def test_a_ratio_above_one_is_where_leaving_zero_pays(ratio: float) -> None:
    net = dense()
    down = unit([-g for g in group_gradients(net, problem(), BATCH)[1]])
    priced = problem(0.1 * optimality_ratios(net, problem(0.1), BATCH)[1].item() / ratio)
    assert optimality_ratios(net, priced, BATCH)[1].item() == pytest.approx(ratio)
    size = 1e-4
    others = [unit([randn(4, 5, seed=seed), randn(4, seed=seed + 50)]) for seed in range(20)]
    assert all(change_of_j(net, priced, way, size) > 0 for way in others)
    slope = change_of_j(net, priced, down, size) / size
    assert slope == pytest.approx(priced.group_price * H[1] * (1 - ratio), abs=20 * size)
    if ratio != 1.0:
        assert (slope < 0) == (ratio > 1)


def test_no_samples_certify_nothing() -> None:
    with pytest.raises(DataError, match="no samples"):
        optimality_ratios(Network(DenseSystem(2, 2, depth=2)), Problem.classification(2).priced(0.1), [])
