"""Every system, table and cost: the layer-by-layer sweep is autograd's gradient of the whole J."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from cases import COSTS, DEPTH, inputs, network, pairs, target
from torch import Tensor

from node_oc.discretization import Network
from node_oc.problem import Problem, costate_sweep, step_hamiltonian
from node_oc.problem.stopping import DepthCost, DiminishingReturns
from node_oc.trajectory import Trajectory, rollout
from node_oc.trajectory.layout import Layout

AWAKE = (0, 2, 3)
# Beside them, costs of the whole path: L_depth with features of a classification or a regression, and the penalty.
PATHS = {"soft-cross-entropy": (DiminishingReturns(0.3, 0.1),), "squared-error": ()}


def watched(net: Network, x: Tensor) -> tuple[Trajectory, list[Tensor]]:
    """A rollout, and a zero added to each of its states: J's gradients in them are those in the states."""
    zeros = [torch.zeros_like(state, requires_grad=True) for state in rollout(net, x).states]
    states, stages = [net.system.lift(x) + zeros[0]], []
    for k in range(net.depth):
        after, inside = net.advance(k, states[-1])
        states.append(after + zeros[k + 1])
        stages.append(inside)
    return trajectory_of(net, states, stages), zeros


def trajectory_of(net: Network, states: list[Tensor], stages: list[tuple[Tensor, ...]]) -> Trajectory:
    """A trajectory of given states, each a node of its own, also where a sleeping step hands its state on."""
    number: dict[int, int] = {}
    nodes: list[Tensor] = []
    runs = [(0, 0)]
    for k, state in enumerate(states):
        if k and not net.system.is_identity(k - 1):
            runs.append((len(nodes), k))
        for x in (state, *(stages[k] if k < net.depth else ())):
            if id(x) not in number:
                number[id(x)] = len(nodes)
                nodes.append(x)
    weights = [[0.0] * len(nodes) for _ in stages]
    for row, h, step in zip(weights, net.grid.h, stages, strict=True):
        for b, x in zip(net.table.b, step, strict=True):
            row[number[id(x)]] += h * b
    layout = Layout(
        tuple(number[id(x)] for x in states), tuple(tuple(number[id(x)] for x in step) for step in stages), tuple(runs),
        tuple(map(tuple, weights)),
    )  # fmt: skip
    ends = [first for first, _ in runs[1:]] + [len(nodes)]
    return Trajectory(net, layout, tuple(nodes[a:b] for (a, _), b in zip(runs, ends, strict=True)), states[-1])


@pytest.mark.parametrize(("name", "table"), pairs())
@pytest.mark.parametrize("cost", COSTS)
def test_costates_and_gradients_in_the_controls_equal_autograd(name: str, table: str, cost: str) -> None:
    net, x, y = network(name, table), inputs(), target(cost)
    net.set_awake(AWAKE)
    problem = Problem(COSTS[cost](), COSTS[cost](), stage_weight=0.7, energy=0.02, group_price=0.1)
    if cost in PATHS:
        law = DepthCost(problem.terminal, 0.05, temperature=0.5)
        problem = replace(problem, path_costs=(law, *PATHS[cost]))
    trajectory, zeros = watched(net, x)
    smooth = problem.evaluate(trajectory, y).smooth
    sweep = costate_sweep(trajectory, problem, y)
    for p, g in zip(sweep.p, torch.autograd.grad(smooth, zeros, retain_graph=True), strict=True):
        assert p.shape == g.shape
        assert (p - g).norm() <= 1e-12 * g.norm()
        assert g.norm() > 0
    hams = [step_hamiltonian(net, problem, k, trajectory.states[k].detach(), sweep.p[k + 1], y) for k in AWAKE]
    for k in AWAKE:
        control = net.system.control(k)
        ham = sum(hams) if net.system.tied else hams[AWAKE.index(k)]
        ham = ham + energy(net, problem, AWAKE if net.system.tied else (k,))  # not in the step Hamiltonian
        whole = torch.autograd.grad(smooth, control, retain_graph=True)
        for g, j in zip(torch.autograd.grad(ham, control, retain_graph=True), whole, strict=True):
            assert (g - j).norm() <= 1e-12 * j.norm()


def energy(net: Network, problem: Problem, steps: Sequence[int]) -> torch.Tensor:
    """energy * sum h_k ||u||^2 by the table's quadrature, of some steps."""
    parts = [
        net.grid.h[k] * b * sum(p.square().sum() for p in net.system.control_at(k, c))
        for k in steps for b, c in zip(net.table.b, net.table.c, strict=True) if b
    ]  # fmt: skip
    return problem.energy * net.system.pace * sum(parts)


@pytest.mark.parametrize(("name", "table"), pairs())
def test_step_hamiltonians_add_up_to_j(name: str, table: str) -> None:
    """sum_k (Ham_k - p_{k+1} . x_{k+1}) + phi = J: the Hamiltonians hold each stage cost once."""
    net, x, y = network(name, table), inputs(), target("soft-cross-entropy")
    net.set_awake(AWAKE)
    problem = Problem(COSTS["soft-cross-entropy"](), COSTS["soft-cross-entropy"](), stage_weight=0.7)
    trajectory = rollout(net, x)
    sweep, value = costate_sweep(trajectory, problem, y), problem.evaluate(trajectory, y)
    total = value.terminal
    for k in range(DEPTH):
        ham = step_hamiltonian(net, problem, k, trajectory.states[k], sweep.p[k + 1], y)
        total = total + ham - (sweep.p[k + 1] * trajectory.states[k + 1]).sum()
    torch.testing.assert_close(total, value.total, rtol=1e-12, atol=0)
