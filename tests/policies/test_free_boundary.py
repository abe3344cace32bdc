"""The free boundary in continuous depth: closed forms, the first of several crossings, and the estimate of the loss."""

from __future__ import annotations

import math

import pytest
import torch
from systems import Field, decay, randn
from torch import Tensor

from node_oc.discretization import DepthGrid, Network
from node_oc.errors import ConfigError, DataError, DivergenceError, ShapeError
from node_oc.policies.free_boundary import falling, fit_expected_loss, free_boundary
from node_oc.problem.stopping import readout_features
from node_oc.trajectory.dense import DenseOutput, dense_output
from node_oc.trajectory.solver import Solver

STARTS = torch.tensor([[-2.0], [-1.5], [0.1], [0.5]], dtype=torch.float64)


@pytest.fixture(scope="module")
def uniform() -> DenseOutput:
    """x' = 1 on [0, 2]: x(t) = x(0) + t, which any solver has exactly."""
    return dense_output(Network(Field(torch.ones_like, 2).double()), STARTS)


def squared(t: Tensor, x: Tensor) -> Tensor:
    return x.square()[:, 0]


def test_exponential_decay_stops_where_the_formula_says() -> None:
    """x' = -x, e = x^2: -(d/dt) e = 2 x0^2 exp(-2t), so t = log(2 x0^2 / c) / 2, within [0, T]."""
    x = torch.tensor([[2.0], [1.0], [0.5], [0.1], [0.0], [-1.5]], dtype=torch.float64)
    net = Network(decay(2), DepthGrid((0.5, 0.5)))
    path, cost = dense_output(net, x, Solver("dopri5", 1e-10, 1e-10)), 0.3
    found = free_boundary(path, squared, cost)
    wanted = (0.5 * (2 * x[:, 0] ** 2 / cost).log()).clamp(0, 1)
    assert (found.times - wanted).abs().max() <= 1e-8
    assert found.reached.tolist() == [False, True, True, True, True, False]
    assert (found.states - x * (-wanted[:, None]).exp()).abs().max() <= 1e-8
    assert found.sentence.endswith("2 of 6 never come to their boundary.")


def test_time_falls_with_the_cost_from_the_stationary_point_to_zero(uniform: DenseOutput) -> None:
    """x' = 1, e = x^2: -(d/dt) e = -2 (x0 + t), so t = -x0 - c/2; at c = 0 the first stationary point of e, or T."""
    for cost in (0.0, 1.0, 100.0):
        found = free_boundary(uniform, squared, cost)
        torch.testing.assert_close(found.times, (-STARTS[:, 0] - cost / 2).clamp(0, 2), rtol=0, atol=1e-12)
    assert not found.times.any()
    never = free_boundary(uniform, lambda t, x: -x[:, 0], 0.5)  # it pays for ever
    assert not never.reached.any()
    assert never.times.tolist() == [2.0] * 4


def test_it_is_the_first_of_several_crossings() -> None:
    """x = t, e = -sin 3t: -(d/dt) e = 3 cos(3 t) is at most c from arccos(c/3)/3 on, and above it again at 1.9."""
    path = DenseOutput(torch.tensor([0.0, 2.0], dtype=torch.float64), torch.linspace(0, 2, 5).double().view(1, 5, 1, 1))

    def wave(t: Tensor, x: Tensor) -> Tensor:
        return -torch.sin(3 * x)[:, 0]

    found = free_boundary(path, wave, 1.2)
    assert float(found.times) == pytest.approx(math.acos(0.4) / 3, abs=1e-12)
    assert float(free_boundary(path, wave, 1.2, start=1.0).times) == 1.0  # it does not pay there
    late = free_boundary(path, lambda t, x: -wave(t, x), 1.2, start=1.0)  # -3 cos 3t pays there
    assert float(late.times) == pytest.approx((2 * math.pi - math.acos(-0.4)) / 3, abs=1e-12)
    for t, pays in ((0.2, True), (1.0, False), (1.95, True)):
        slope = float(falling(path, wave, torch.tensor([t])))
        assert slope == pytest.approx(3 * math.cos(3 * t))
        assert (slope > 1.2) == pays


def test_a_boundary_at_the_very_end_counts(uniform: DenseOutput) -> None:
    """The grid of the last step does not hold T itself."""
    found = free_boundary(uniform, squared, -2 * (float(STARTS[0]) + 1.99), places=1)
    assert found.reached[0]
    assert float(found.times[0]) == pytest.approx(1.99, abs=1e-12)


def test_the_interpolant_and_its_rate_are_those_of_its_values() -> None:
    path = DenseOutput(torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64), randn(2, 5, 3, 2))
    t, x, rate = path.within(1, 4)
    assert t.tolist() == [0.5, 0.875, 1.25, 1.625]
    for at, state, slope in zip(t, x, rate, strict=True):
        torch.testing.assert_close(path(at), state, rtol=1e-12, atol=1e-12)
        difference = (path(at + 1e-6) - state) / 1e-6
        torch.testing.assert_close(difference, slope, rtol=1e-4, atol=1e-4)


def test_time_in_the_estimate_counts() -> None:
    """x = t, e = (1 - t) exp(-x): -(d/dt) e = (2 - t) exp(-t), at most c = 0.5 from the root of it on."""
    path = DenseOutput(torch.tensor([0.0, 2.0], dtype=torch.float64), torch.linspace(0, 2, 5).double().view(1, 5, 1, 1))
    found = float(free_boundary(path, lambda t, x: (1 - t) * (-x[:, 0]).exp(), 0.5).times)
    assert (2 - found) * math.exp(-found) == pytest.approx(0.5, abs=1e-12)


def test_a_loss_that_is_affine_in_the_features_is_found() -> None:
    times, readouts = torch.tensor([0.0, 0.5, 1.5, 2.0]), 3 * randn(4, 50, 3)
    columns = torch.cat([torch.ones(4, 50, 1), readout_features(readouts)[..., :3]], -1)
    wanted = torch.tensor([[0.7, 0.3, -0.1, 0.2], [-0.5, 0.0, 0.4, 0.1]], dtype=torch.float64)
    losses = ((wanted[0] + (times / 2)[:, None, None] * wanted[1]) * columns).sum(-1)
    found = fit_expected_loss(times, readouts, losses, degree=1)
    torch.testing.assert_close(torch.tensor(found.coefficients, dtype=torch.float64), wanted, rtol=0, atol=1e-9)
    torch.testing.assert_close(found(times[:, None].expand(4, 50), readouts), losses)
    assert found.error < 1e-9
    assert fit_expected_loss(times, readouts, losses, degree=0).error > 1e-2
    assert fit_expected_loss(times, readouts[..., :2], losses).error > 1e-3  # of two classes nothing else is seen


def test_what_makes_no_sense_is_refused(uniform: DenseOutput) -> None:
    for cost in (-1.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match="cost per unit of time"):
            free_boundary(uniform, squared, cost)
    with pytest.raises(ConfigError, match="start"):
        free_boundary(uniform, squared, 1.0, start=2.0)
    with pytest.raises(ConfigError, match="places"):
        free_boundary(uniform, squared, 1.0, places=0)
    with pytest.raises(DivergenceError, match="derivative"):
        free_boundary(uniform, lambda t, x: (x[:, 0] + 2).sqrt(), 1.0)
    with pytest.raises(ShapeError, match="losses"):
        fit_expected_loss(torch.arange(2.0), randn(2, 5, 3), randn(2, 4))
    with pytest.raises(DataError, match="at least 16"):
        fit_expected_loss(torch.arange(2.0), randn(2, 5, 3), randn(2, 5))
