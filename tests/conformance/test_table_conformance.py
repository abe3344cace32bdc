"""What every table promises: a running cost that converges as fast as the states do."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from cases import TABLES
from systems import decay
from torch import Tensor

from node_oc.discretization import DepthGrid, Network, Tableau
from node_oc.problem import Problem, SquaredError
from node_oc.trajectory import rollout

every_table = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
X0 = torch.tensor([[1.0, -0.5]], dtype=torch.float64)
ZERO = torch.zeros(1, 2, dtype=torch.float64)
RUNNING = Problem(SquaredError(), SquaredError())


def errors(table: Tableau, depth: int, horizon: float = 0.5) -> Tensor:
    """Of the final state and of the running cost of x' = -x, l = |x|^2 (over a long horizon Heun's cancel)."""
    trajectory = rollout(Network(decay(depth, 2), DepthGrid.uniform(depth, horizon / depth), table), X0)
    objective = RUNNING.evaluate(trajectory, ZERO)
    state = (trajectory.states[-1] - math.exp(-horizon) * X0).norm()
    cost = objective.smooth - objective.terminal - 1.25 * (1 - math.exp(-2 * horizon)) / 2
    return torch.stack([state, cost.abs()])


@every_table
def test_states_and_running_cost_converge_with_the_order_of_the_table(table: Tableau) -> None:
    slopes = torch.log2(errors(table, 8) / errors(table, 16))
    assert slopes.tolist() == pytest.approx([table.order] * 2, abs=0.2)


@every_table
def test_weights_of_the_quadrature_sum_to_the_horizon(table: Tableau) -> None:
    net = Network(decay(3), DepthGrid((0.1, 0.7, 0.3)), table, awake=[0, 2])
    _, weights = rollout(net, X0[:, :1]).quadrature
    torch.testing.assert_close(weights.sum(1), torch.tensor([0.1, 0.7, 0.3], dtype=torch.float64), rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    ("table", "by_hand"),
    [
        ("euler", lambda h: 1.0),
        ("midpoint", lambda h: (1 - h / 2) ** 2),
        ("heun", lambda h: (1 + (1 - h) ** 2) / 2),
        ("rk4", lambda h: (1 + 2 * (1 - h / 2) ** 2 + 2 * (1 - h / 2 + h**2 / 4) ** 2
                           + (1 - h + h**2 / 2 - h**3 / 4) ** 2) / 6),
    ],
)  # fmt: skip
def test_one_step_of_running_cost_by_hand(table: str, by_hand: Callable[[float], float]) -> None:
    h = 0.3
    trajectory = rollout(Network(decay(1, 2), DepthGrid((h,)), TABLES[table]), X0)
    objective = RUNNING.evaluate(trajectory, ZERO)
    assert objective.stage.item() == pytest.approx(1.25 * by_hand(h), rel=1e-12)
    assert (objective.smooth - objective.terminal).item() == pytest.approx(1.25 * h * by_hand(h), rel=1e-12)


@every_table
def test_an_equilibrium_of_the_field_is_one_of_the_step(table: Tableau) -> None:
    net = Network(decay(4, 2), DepthGrid.uniform(4, 0.9), table)
    assert torch.equal(rollout(net, ZERO).states[-1], ZERO)
