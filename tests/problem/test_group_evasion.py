"""A price on a group alone is evaded by large inner weights; energy or rows of fixed norm prevent that.

On a ReLU branch, inner weights times c and outer weights over c leave the function unchanged (theory: "Group").
"""

from __future__ import annotations

import copy

import pytest
import torch
from systems import randn

from node_oc.discretization import Network
from node_oc.problem import Problem, SoftCrossEntropy
from node_oc.system import DenseSystem
from node_oc.trajectory import rollout

X, Y = randn(8, 2), torch.arange(8) % 3
SIZES = torch.logspace(-3, 5, 81).tolist()


def start(row_norm: float = 0.0) -> Network:
    """Generic weights, but no outer bias: that one does not scale away."""
    system = DenseSystem(2, 3, depth=1, width=4, hidden=5, activation="relu", row_norm=row_norm).double()
    with torch.no_grad():
        system.group(0)[0].copy_(randn(4, 5))
    return Network(system)


def rescaled(c: float, row_norm: float = 0.0) -> Network:
    net = copy.deepcopy(start(row_norm))
    with torch.no_grad():
        weight, bias, outer, _ = net.system.control(0)
        weight.mul_(c)
        bias.mul_(c)
        outer.div_(c)
    return net


def j(c: float, energy: float, price: float) -> float:
    problem = Problem(SoftCrossEntropy(3), SoftCrossEntropy(3), energy=energy, group_price=price)
    return problem.evaluate(rollout(rescaled(c), X), Y).total.item()


@pytest.mark.parametrize("c", [0.01, 3.0, 1000.0])
def test_the_function_does_not_change(c: float) -> None:
    torch.testing.assert_close(rescaled(c)(X), start()(X), rtol=1e-12, atol=1e-12)


def test_the_price_alone_is_evaded() -> None:
    values = [j(c, 0.0, 0.3) for c in SIZES]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(j(1.0, 0.0, 0.0), abs=1e-4)


@pytest.mark.parametrize("price", [0.0, 0.3])
def test_with_energy_j_has_a_finite_minimiser_and_grows_without_bound_beyond(price: float) -> None:
    values = [j(c, 0.01, price) for c in SIZES]
    best = values.index(min(values))
    assert 0 < best < len(values) - 1
    assert values[: best + 1] == sorted(values[: best + 1], reverse=True)
    assert values[best:] == sorted(values[best:])
    assert values[-1] > 1e6 * values[best]
    assert j(1e6, 0.01, price) / j(1e5, 0.01, price) == pytest.approx(100, rel=1e-3)


def test_without_a_price_the_minimiser_balances_inner_and_outer_energy() -> None:
    """d/dc (A c^2 + B / c^2) = 0 at c = (B / A)^(1/4)."""
    weight, bias, outer, _ = start().system.control(0)
    c = ((outer.square().sum() / (weight.square().sum() + bias.square().sum())) ** 0.25).item()
    at = j(c, 0.01, 0.0)
    assert all(at < j(c * factor, 0.01, 0.0) for factor in (0.97, 1.03))


@pytest.mark.parametrize("c", [0.1, 50.0])
def test_rows_of_fixed_norm_undo_the_evasion(c: float) -> None:
    net = rescaled(c, row_norm=1.0)
    net.system.constrain_()
    torch.testing.assert_close(net.system.control(0)[0], start(1.0).system.control(0)[0])
    torch.testing.assert_close(net.system.control(0)[0].norm(dim=1), torch.ones(5, dtype=torch.float64))
