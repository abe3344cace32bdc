"""Arrival times against closed forms: a linear contraction, fields that turn back, samples that never come."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchdiffeq import odeint_event

from node_oc.diagnosis import arrival
from node_oc.discretization import Network
from node_oc.errors import ConfigError, DataError
from node_oc.problem import CrossEntropy, SoftCrossEntropy, SquaredError
from node_oc.system.ode import Coordinates, DenseVectorField, NeuralODE, VectorField
from node_oc.trajectory import Solver, dense_output

TIGHT = Solver(rtol=1e-10, atol=1e-12)
Rate = Callable[[float | Tensor, Tensor], Tensor]


class Given(VectorField):
    """x' = gain * rate(t, x)."""

    def __init__(self, rate: Rate, gain: float = 1.0) -> None:
        super().__init__()
        self.rate, self.gain = rate, nn.Parameter(torch.tensor(gain, dtype=torch.float64))

    def forward(self, t: float | Tensor, x: Tensor) -> Tensor:
        return self.gain * self.rate(t, x)

    @property
    def group_names(self) -> tuple[str, ...]:
        return ("gain",)


def ode(rate: Rate, horizon: float = 4.0, steps: int = 1, head: nn.Module | None = None, **more: bool) -> NeuralODE:
    return NeuralODE(Given(rate), head=head or Coordinates(1, 2), horizon=horizon, steps=steps, **more)


def starts(*values: float) -> tuple[Tensor, Tensor]:
    """States (v, 0) whose distance to the target 0 is |v|: the other coordinate is free."""
    x = torch.zeros(len(values), 2, dtype=torch.float64)
    x[:, 0] = torch.tensor(values)
    return x, torch.zeros(len(values), 1, dtype=torch.float64)


@pytest.mark.parametrize("steps", [1, 5])
def test_a_linear_contraction_arrives_after_log_of_the_ratio(steps: int) -> None:
    values = (2.0, -1.0, 0.5, 0.1)
    found = arrival(ode(lambda t, x: -1.5 * x, steps=steps), SquaredError(), *starts(*values), 0.2, solver=TIGHT)
    expected = [max(0.0, math.log(abs(v) / 0.2) / 1.5) for v in values]
    np.testing.assert_allclose(found.times, expected, rtol=1e-5)
    np.testing.assert_array_equal(found.first, found.times)
    assert found.times[3] == 0  # it starts there
    assert found.mean == pytest.approx(math.log(np.mean(np.abs(values)) / 0.2) / 1.5, rel=1e-5)
    assert found.name == "state distance"
    assert (found.found, found.never, found.leavers) == (True, 0, 0)
    assert found.time == found.times[0]  # 95 % of four are four
    assert found.at(0.5) == found.times[2]


def test_a_trained_horizon_is_counted() -> None:
    system = ode(lambda t, x: -x, learn_horizon=True)
    with torch.no_grad():
        system.stretch.fill_(2.0)  # type: ignore[union-attr]
    found = arrival(system, SquaredError(), *starts(1.0), math.exp(-5.0), solver=TIGHT)
    assert found.horizon == pytest.approx(8.0)
    assert found.time == pytest.approx(5.0, rel=1e-5)


def test_the_minimisers_of_soft_cross_entropy_are_a_line() -> None:
    cost = SoftCrossEntropy(2, 0.1)
    gap = torch.tensor([cost.gap / 2, -cost.gap / 2], dtype=torch.float64)  # its nearest point to 0, class 0
    system = ode(lambda t, x: gap - x, head=Coordinates(2, 2))
    y = torch.tensor([0, 0])
    x = torch.stack([torch.zeros(2, dtype=torch.float64), gap + 7.0])  # the other one lies on the line
    found = arrival(system, cost, x, y, 0.25, solver=TIGHT)
    np.testing.assert_allclose(found.times, [math.log(float(gap.norm()) / 0.25), 0.0], rtol=1e-5)


def wave(t: float | Tensor, x: Tensor) -> Tensor:
    """x_1 - x_1(0) = cos t - 1: from 1 through the level, back, and through it again."""
    return torch.stack([-torch.sin(torch.as_tensor(t)) * torch.ones_like(x[:, 0]), torch.zeros_like(x[:, 1])], 1)


def test_the_last_entry_counts_where_a_sample_leaves_again() -> None:
    x, y = starts(1.0)  # |cos t|: within 0.5 on [pi/3, 2 pi/3], [4 pi/3, 5 pi/3], ..
    found = arrival(ode(wave, horizon=1.5 * math.pi), SquaredError(), x, y, 0.5, solver=TIGHT)
    assert found.first[0] == pytest.approx(math.pi / 3, rel=1e-5)
    assert found.times[0] == pytest.approx(4 * math.pi / 3, rel=1e-5)
    assert found.leavers == 1
    late = arrival(ode(wave, horizon=2 * math.pi), SquaredError(), x, y, 0.5, solver=TIGHT)
    assert math.isinf(late.times[0])  # it is outside at the end
    assert late.first[0] == pytest.approx(math.pi / 3, rel=1e-5)
    assert not late.found
    assert "No arrival" in late.sentence


def test_samples_that_never_come_are_counted() -> None:
    x, y = starts(*[1.0] * 19, 1000.0)
    found = arrival(ode(lambda t, x: -x), SquaredError(), x, y, 0.5, solver=TIGHT)
    assert found.never == 1
    assert found.time == pytest.approx(math.log(2), rel=1e-5)  # 95 % of twenty are nineteen
    assert math.isinf(found.at(1.0))
    assert math.isinf(found.mean)
    assert found.sentence == ("95 % of the samples are within 0.5 of their minimisers from t = 0.693 of 4 on, half of "
                              "them from t = 0.693 on; 1 of 20 are outside at the end.")  # fmt: skip
    none = arrival(ode(lambda t, x: 0 * x), SquaredError(), *starts(1.0), 0.5)
    assert none.never == 1
    assert np.isinf(none.first).all()


def test_near_is_a_fifth_of_the_first_mean_distance_unless_said_otherwise() -> None:
    found = arrival(ode(lambda t, x: -x), SquaredError(), *starts(1.0, 3.0), solver=TIGHT)
    assert found.distance == pytest.approx(0.4)


def test_the_mean_agrees_with_the_events_of_torchdiffeq() -> None:
    field = DenseVectorField(2, 8, generator=torch.Generator().manual_seed(1)).double()
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 2
    y = torch.full((20, 1), -3.0, dtype=torch.float64)
    with torch.no_grad():
        field.outer.bias.copy_(torch.tensor([-1.0, 0.3]))

    def event(t: Tensor, state: Tensor) -> Tensor:
        return (state[:, 0] + 3).abs().mean() - 1.5

    with torch.no_grad():
        t, _ = odeint_event(field, x, torch.tensor(0.0, dtype=torch.float64), event_fn=event, rtol=1e-10, atol=1e-10)
    system = NeuralODE(field, head=Coordinates(1, 2), horizon=float(t) + 0.2, steps=3)
    found = arrival(system, SquaredError(), x, y, 1.5, solver=TIGHT)
    assert found.mean == pytest.approx(float(t), rel=1e-6)


class Twice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def test_without_an_affine_readout_logits_count() -> None:
    cost = SoftCrossEntropy(2, 0.1)
    half = torch.tensor([cost.gap / 4, -cost.gap / 4], dtype=torch.float64)  # its logits are minimising
    found = arrival(ode(lambda t, x: half - x, head=Twice()), cost, torch.zeros(1, 2, dtype=torch.float64),
                    torch.tensor([0]), 0.25, solver=TIGHT)  # fmt: skip
    assert found.name == "logit distance"
    assert found.time == pytest.approx(math.log(2 * float(half.norm()) / 0.25), rel=1e-5)
    assert "in logits" in found.sentence
    with pytest.raises(ConfigError, match="not affine"):
        arrival(ode(lambda t, x: -x, head=Twice()), SquaredError(), *starts(1.0), 0.25)


def test_what_cannot_be_asked_is_refused() -> None:
    system, (x, y) = ode(lambda t, x: -x), starts(1.0)
    with pytest.raises(ConfigError, match="known minimisers"):
        arrival(system, CrossEntropy(), x, y, 1.0)
    with pytest.raises(ConfigError, match="distance"):
        arrival(system, SquaredError(), x, y, 0.0)
    with pytest.raises(ConfigError, match="share"):
        arrival(system, SquaredError(), x, y, 1.0, share=0.0)
    with pytest.raises(DataError, match="samples"):
        arrival(system, SquaredError(), x[:0], y[:0], 1.0)


def test_dense_output_is_the_solution_at_any_time() -> None:
    x, _ = starts(1.0, 2.0, -3.0)
    network = Network(ode(lambda t, x: -x, steps=3))
    path = dense_output(network, x, TIGHT)
    t = torch.tensor([0.0, 1.234, 4.0], dtype=torch.float64)
    torch.testing.assert_close(path(t), x * torch.exp(-t)[:, None], rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(path(t[1]), x * torch.exp(-t[1]), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(path.states, torch.exp(-path.places)[:, None, None] * x, rtol=1e-7, atol=1e-9)
    assert float(path.places[0]) == 0
    assert float(path.places[-1]) == pytest.approx(4.0)
    assert bool((path.places.diff() > 0).all())
    network.set_awake([0, 2])  # nothing moves between 4/3 and 8/3
    still = dense_output(network, x, TIGHT)
    torch.testing.assert_close(still(torch.tensor(2.0)), x * math.exp(-4 / 3), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(still(torch.tensor(4.0)), x * math.exp(-8 / 3), rtol=1e-7, atol=1e-9)
