"""A trajectory: computed once, read by everyone, each distinct state read once."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from systems import Field, Projecting, decay, randn, stir_, zero_
from torch import Tensor

from node_oc.discretization import HEUN, MIDPOINT, RK4, TABLEAUS, DepthGrid, Network, Tableau
from node_oc.problem import SoftCrossEntropy
from node_oc.system import DenseSystem
from node_oc.trajectory import rollout

X = randn(5, 2)
every_table = pytest.mark.parametrize("table", TABLEAUS.values(), ids=TABLEAUS)


class Counting(Field):
    """Counts how many states its head is asked for, and how often."""

    rows, calls = 0, 0

    def head(self, x: Tensor) -> Tensor:
        self.rows, self.calls = self.rows + len(x), self.calls + 1
        return x


def projecting(depth_of_change: int) -> Network:
    widths = [2] * (depth_of_change + 1) + [3] * (4 - depth_of_change)
    return Network(Projecting(widths, 2, torch.Generator().manual_seed(0)).double(), DepthGrid((0.5, 1.0, 2.0, 1.0)))


def test_states_by_hand() -> None:
    net = Network(decay(3, 2), DepthGrid((0.5, 0.25, 0.1)), awake=[0, 2])
    trajectory = rollout(net, X)
    for state, factor in zip(trajectory.states, (1, 0.5, 0.5, 0.45), strict=True):
        torch.testing.assert_close(state, factor * X)
    for k, (increment, factor) in enumerate(zip(trajectory.increments, (-0.5, 0.0, -0.05), strict=True)):
        torch.testing.assert_close(increment, factor * X, msg=f"step {k}")


def test_stage_states_by_hand() -> None:
    h = 0.5
    expected = {
        "euler": [1],
        "midpoint": [1, 1 - h / 2],
        "heun": [1, 1 - h],
        "rk4": [1, 1 - h / 2, 1 - h / 2 + h**2 / 4, 1 - h + h**2 / 2 - h**3 / 4],
    }
    for name, factors in expected.items():
        (stages,) = rollout(Network(decay(1, 2), DepthGrid((h,)), TABLEAUS[name]), X).stages
        for stage, factor in zip(stages, factors, strict=True):
            torch.testing.assert_close(stage, factor * X)


@every_table
def test_the_first_stage_is_the_state_itself(table: Tableau) -> None:
    trajectory = rollout(Network(decay(3, 2), table=table), X)
    assert all(stages[0] is x for stages, x in zip(trajectory.stages, trajectory.states[:-1], strict=True))


@pytest.mark.parametrize("change", [0, 2, 3])
def test_readouts_go_through_the_remaining_skips_alone(change: int) -> None:
    net = projecting(change)
    trajectory = rollout(net, X)
    change_of_width = net.system.projections[str(change)]
    for k, x in enumerate(trajectory.states):
        by_hand = (x if k > change else torch.tanh(x @ change_of_width)) @ net.system.reading
        torch.testing.assert_close(trajectory.readouts[k], by_hand)


@every_table
def test_all_readouts_are_one_batched_head_call(table: Tableau) -> None:
    system = Counting(torch.sin, 4).double()
    trajectory = rollout(Network(system, table=table), X[:, :1])
    assert trajectory.quadrature
    assert trajectory.final.shape == (5, 1)
    assert (system.calls, system.rows) == (1, 5 * (4 * table.stages + 1))


@every_table
def test_a_state_that_is_handed_on_is_read_once(table: Tableau) -> None:
    system = Counting(torch.sin, 9).double()
    trajectory = rollout(Network(system, table=table, awake=[2, 6]), X[:, :1])
    readouts, weights = trajectory.quadrature
    stages = 2 * table.stages + 1  # those of the two awake steps, and the end
    assert system.rows == 5 * stages
    assert readouts.shape[0] == weights.shape[1] == stages


@pytest.mark.parametrize("table", [MIDPOINT, HEUN, RK4], ids=lambda table: table.name)
def test_quadrature_is_the_tables_own(table: Tableau) -> None:
    system = DenseSystem(2, 3, depth=4, width=4, hidden=5).double()
    stir_(system)
    h = (0.3, 1.0, 0.7, 0.2)
    net = Network(system, DepthGrid(h), table, awake=[0, 1, 3])
    trajectory, cost, y = rollout(net, X), SoftCrossEntropy(3), torch.arange(5) % 3
    readouts, weights = trajectory.quadrature
    running = (weights * cost(readouts, y).mean(1)).sum(1)
    for k, stages in enumerate(trajectory.stages):
        each = [cost(system.head(x)[None], y).mean() for x in stages]
        by_hand = h[k] * sum(b * c for b, c in zip(table.b, each, strict=True))
        torch.testing.assert_close(running[k], by_hand, rtol=1e-13, atol=0)


def test_quadrature_with_a_projecting_sleeper_reads_the_state_before_it() -> None:
    net = projecting(2)
    net.set_awake([0, 3])
    trajectory = rollout(net, X)
    readouts, weights = trajectory.quadrature
    torch.testing.assert_close((weights[:, :, None, None] * readouts).sum(1)[2], 2.0 * trajectory.readouts[2])


def test_a_network_without_steps_is_its_ends() -> None:
    net = Network(DenseSystem(2, 3, depth=0, width=4).double())
    trajectory = rollout(net, X)
    assert len(trajectory.states) == 1
    assert trajectory.increments == ()
    torch.testing.assert_close(trajectory.readouts[0], net(X))
    assert trajectory.quadrature[1].shape == (0, 1)


def test_a_trajectory_is_frozen() -> None:
    trajectory = rollout(Network(decay(1, 2)), X)
    with pytest.raises(dataclasses.FrozenInstanceError):
        trajectory.states = ()


def test_gradients_flow_back_through_sleeping_steps() -> None:
    system = decay(3, 2)
    zero_(system, 1)
    x = X.clone().requires_grad_()
    rollout(Network(system, DepthGrid.uniform(3, 0.5), awake=[0, 2]), x).final.sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 0.25))


def test_quadrature_weights_are_not_rounded_under_mixed_precision() -> None:
    net = Network(DenseSystem(2, 2, depth=6), DepthGrid.uniform(6, 0.3), RK4)
    with torch.autocast("cpu", torch.bfloat16):
        weights = rollout(net, torch.randn(3, 2)).quadrature[1]
    assert float(weights.sum()) == pytest.approx(1.8, abs=1e-6)
