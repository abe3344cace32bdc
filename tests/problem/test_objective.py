"""J = phi(x_N) + gamma sum_k h_k l(x_k) + sum_k h_k r(u_k), and what follows from that form."""

from __future__ import annotations

import math

import pytest
import torch
from systems import decay, randn, stir_, zero_

from node_oc.discretization import TABLEAUS, DepthGrid, Network, Tableau
from node_oc.errors import ConfigError, ShapeError
from node_oc.problem import CrossEntropy, Problem, SoftCrossEntropy, SquaredError, group_norms
from node_oc.system import DenseSystem
from node_oc.trajectory import rollout

X, Y = randn(6, 2), torch.arange(6) % 3
H = (0.5, 1.0, 0.25, 2.0)
every_table = pytest.mark.parametrize("table", TABLEAUS.values(), ids=TABLEAUS)


def dense(depth: int = 4, table: str = "euler") -> Network:
    system = DenseSystem(2, 3, depth=depth, width=4, hidden=5).double()
    stir_(system)
    return Network(system, DepthGrid(H[:depth]), TABLEAUS[table])


def test_j_by_hand() -> None:
    net = dense()
    stage, terminal = SoftCrossEntropy(3, 0.2), CrossEntropy()
    objective = Problem(terminal, stage, 0.7, 0.01, 0.3).evaluate(rollout(net, X), Y)
    x, j, layers = net.system.lift(X), 0.0, []
    for k, h in enumerate(H):
        layers.append(stage(net.system.head(x)[None], Y).mean().item())
        weights = torch.cat([p.flatten() for p in net.system.control(k)])
        group = torch.cat([p.flatten() for p in net.system.group(k)])
        j += 0.7 * h * layers[-1] + 0.01 * h * (weights**2).sum().item() + 0.3 * h * group.norm().item()
        x = x + h * net.system.branch(k, x)
    last = terminal(net.system.head(x)[None], Y).mean().item()
    assert objective.terminal.item() == pytest.approx(last, rel=1e-12)
    assert objective.stage.tolist() == pytest.approx(layers, rel=1e-12)
    assert objective.total.item() == pytest.approx(j + last, rel=1e-12)
    assert objective.total.item() == pytest.approx(objective.smooth.item() + objective.price.item())


def test_j_of_a_known_trajectory() -> None:
    """x' = -x by Euler with h = 1/2: states 1, 1/2, 1/4; l = x^2."""
    net = Network(decay(2), DepthGrid.uniform(2, 0.5))
    objective = Problem.regression(2.0).evaluate(rollout(net, torch.ones(1, 1).double()), torch.zeros(1, 1))
    assert objective.stage.tolist() == [1.0, 0.25]
    assert objective.terminal.item() == 0.0625
    assert objective.total.item() == 0.0625 + 2.0 * 0.5 * 1.25


def test_without_weights_j_is_the_terminal_cost() -> None:
    objective = Problem.classification(3).terminal_only().evaluate(rollout(dense(), X), Y)
    assert objective.total == objective.terminal
    assert objective.price == 0


def test_a_batch_counts_with_its_mean() -> None:
    net, problem = dense(), Problem.classification(3)
    halves = [problem.evaluate(rollout(net, X[i : i + 3]), Y[i : i + 3]).total for i in (0, 3)]
    torch.testing.assert_close(problem.evaluate(rollout(net, X), Y).total, sum(halves) / 2)


@every_table
def test_appended_zero_steps_cost_gamma_times_their_length_times_the_loss(table: Tableau) -> None:
    """The construction of arXiv 2506.21453's theorem: J_N = J_M + gamma (T - t_M) l(final)."""
    deep = dense(4, table.name)
    zero_(deep.system, 2, 3)
    shallow = deep.keep([0, 1])
    problem = Problem(SoftCrossEntropy(3), SoftCrossEntropy(3), 0.7, energy=0.02, group_price=0.3)
    j_shallow = problem.evaluate(rollout(shallow, X), Y).total
    appended = 0.7 * (H[2] + H[3]) * SoftCrossEntropy(3)(shallow(X)[None], Y).mean()
    deep.set_awake([0, 1])
    j_deep = problem.evaluate(rollout(deep, X), Y)
    torch.testing.assert_close(j_deep.total, j_shallow + appended, rtol=1e-14, atol=0)
    deep.set_awake(range(4))  # awake, their inner weights cost energy and nothing else
    awake = problem.evaluate(rollout(deep, X), Y).total
    inner = sum(H[k] * p.square().sum() for k in (2, 3) for p in deep.system.control(k))
    torch.testing.assert_close(awake, j_deep.total + 0.02 * inner, rtol=1e-14, atol=0)


def test_a_sleeping_control_costs_no_energy() -> None:
    net = dense()
    problem = Problem(SquaredError(), SquaredError(), 0.0, energy=1.0)
    spent = []
    for awake in ([0, 1, 2, 3], [1], []):
        net.set_awake(awake)
        objective = problem.evaluate(rollout(net, X), randn(6, 3))
        spent.append((objective.smooth - objective.terminal).item())
    one = H[1] * sum(p.square().sum().item() for p in net.system.control(1))
    assert spent[0] > spent[1] == pytest.approx(one)
    assert spent[2] == 0


@pytest.mark.parametrize("table", ["euler", "rk4"])
def test_without_steps_j_is_the_terminal_cost(table: str) -> None:
    problem = Problem(SoftCrossEntropy(3), SoftCrossEntropy(3), 1.0, energy=0.1, group_price=0.1)
    objective = problem.evaluate(rollout(dense(0, table), X), Y)
    assert objective.total == objective.terminal
    assert objective.stage.shape == (0,)


def test_scale_makes_learning_rates_independent_of_depth() -> None:
    problem = Problem.classification(3, stage_weight=0.5)
    assert problem.scale(dense()) == pytest.approx(1 / (1 + 0.5 * sum(H)))
    assert problem.terminal_only().scale(dense()) == 1.0


def test_scaled_j_of_a_standing_state_is_its_loss_at_every_depth() -> None:
    """With all branches zero and l = phi, J = (1 + gamma T) l: s J is l."""
    for depth in (0, 1, 4):
        net = dense(depth)
        zero_(net.system, *range(depth))
        problem = Problem.classification(3, stage_weight=0.5)
        loss = SoftCrossEntropy(3)(net(X)[None], Y).mean()
        torch.testing.assert_close(problem.scale(net) * problem.evaluate(rollout(net, X), Y).total, loss)


def test_group_norms_are_joint_and_exactly_zero_for_zero_branches() -> None:
    net = dense()
    with torch.no_grad():
        for p, value in zip(net.system.group(0), (3.0, 4.0), strict=True):
            p.zero_()
            p.view(-1)[0] = value
    zero_(net.system, 2)
    norms = group_norms(net)
    assert norms[0].item() == 5.0
    assert [k for k, norm in enumerate(norms.tolist()) if norm == 0] == [2]
    assert group_norms(dense(0)).shape == (0,)


def test_the_price_has_a_finite_gradient_at_a_zero_group() -> None:
    net = dense()
    zero_(net.system, 1)
    Problem(SquaredError(), SquaredError(), group_price=1.0).evaluate(rollout(net, X), randn(6, 3)).total.backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_a_price_changes_only_the_price() -> None:
    problem = Problem.classification(3, stage_weight=0.5)
    assert problem.priced(0.2).group_price == 0.2
    assert problem.priced(0.2).priced(0.0) == problem
    assert problem.priced(0.2).terminal_only() == problem.terminal_only()


@pytest.mark.parametrize("name", ["stage_weight", "energy", "group_price"])
@pytest.mark.parametrize("value", [-1e-9, math.inf, math.nan])
def test_a_weight_that_is_negative_or_not_finite_raises(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"problem.{name}: got {value}"):
        Problem(SquaredError(), SquaredError(), **{name: value})


def test_regression_targets_of_another_shape_are_no_silent_broadcast() -> None:
    readout = randn(3, 6, 1)
    assert SquaredError()(readout, randn(6, 1)).shape == (3, 6)
    for wrong in (randn(6), randn(6, 2)):
        with pytest.raises(ShapeError, match="one number for each output"):
            SquaredError()(readout, wrong)
