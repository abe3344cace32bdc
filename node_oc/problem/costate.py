"""The costates p_k = dJ/dx_k of a trajectory, by a backward sweep over its layers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from node_oc.discretization.driver import TIME, Driver
from node_oc.discretization.network import Network
from node_oc.errors import ConfigError, DivergenceError
from node_oc.problem.ocp import Problem
from node_oc.trajectory.layout import states_alone
from node_oc.trajectory.rollout import Trajectory


@dataclass(frozen=True)
class Costates:
    """Gradients of J of one batch in its states.

    Attributes:
        trajectory: whose states they belong to.
        p: p_0..p_N, each shaped as its x_k. J is a mean over the batch, so a row is 1/B times the costate of its
            sample alone, and a sum over the rows of p is a mean over samples.
    """

    trajectory: Trajectory
    p: tuple[Tensor, ...]

    @property
    def norms(self) -> Tensor:
        """||p_k|| of one sample alone, its mean over the batch, (N+1,)."""
        return torch.stack([p.flatten(1).norm(dim=1).sum() for p in self.p])


def step_hamiltonian(
    network: Network, problem: Problem, k: int, x: Tensor, p: Tensor, target: Tensor, driver: Driver = TIME
) -> Tensor:
    """gamma h_k l(x_k) + p_{k+1} . x_{k+1}(x_k, u_k): Ham_k less its control cost h_k r(u_k). Scalar.

    Its gradient in x_k is p_k, that in u_k, with the control cost's, is dJ/du_k (the discrete maximum principle
    in the sign p = dJ/dx; arXiv 1803.01299 has the other one). A table of several stages reads l at its stage
    states, with its own weights, as J does: they depend on u_k too (our derivation). Path costs are in it through the
    costate alone; then its gradient in x_k is p_k less that of the path costs.

    Args:
        network: whose step is taken; a sleeping one hands its state on.
        problem: for its stage cost and gamma.
        k: layer index 0..N-1.
        x: state x_k, (B, ...).
        p: costate p_{k+1}, shaped as x_{k+1}.
        target: class indices (B,) or regression targets (B, K).
        driver: of the trajectory that the state is from.
    """
    after, stages = network.advance(k, x, driver)
    return taken_hamiltonian(network, problem, k, after, stages, p, target)


def taken_hamiltonian(
    network: Network, problem: Problem, k: int, after: Tensor, stages: tuple[Tensor, ...], p: Tensor, target: Tensor
) -> Tensor:
    """The same, of a step that has been taken: its state x_{k+1} and its stage states, of :meth:`Network.advance`."""
    value = (p * after).sum()
    if problem.stage_weight:
        weight = problem.stage_weight * network.grid.h[k] * network.system.pace
        for b, node in zip(network.table.b, stages, strict=True):
            if b:
                value = value + weight * b * problem.stage(network.system.readout(node, k)[None], target).mean()
    return value


def costate_sweep(trajectory: Trajectory, problem: Problem, target: Tensor) -> Costates:
    """Backward sweep p_N = dphi/dx_N, p_k = gamma h_k l_x + (dx_{k+1}/dx_k)^T p_{k+1}, one layer at a time.

    Every layer takes its own step again from its state and one vector-Jacobian product of it, so that nothing
    but states and costates is kept. They equal autograd's gradients of the whole J. A path cost Psi(x_0, .., x_N) adds
    its gradient in x_k, the other states held, to p_k (our derivation).

    Args:
        trajectory: the rollout of a batch, computed with gradients or without.
        problem: whose J is differentiated. Its control costs do not depend on the states.
        target: class indices (B,) or regression targets (B, K).

    Raises:
        DivergenceError: a state or costate that is not finite; its layer is named.
        ConfigError: a terminal cost without a gradient in the output.
    """
    network, driver = trajectory.network, trajectory.driver
    for k, state in enumerate(trajectory.states):
        _check_finite("state x", k, state)
    with torch.enable_grad():
        x = trajectory.states[-1].detach().requires_grad_()
        cost = problem.terminal(network.system.head(x)[None], target).mean()
        if not cost.requires_grad:
            raise ConfigError("terminal cost", got=f"{problem.terminal}, without a gradient in the output",
                              expected="one that has it", do="Build the cost from torch operations.")  # fmt: skip
        along = _path_slopes(trajectory, problem, target)
        p = [torch.autograd.grad(cost, x)[0] + along[-1]]
        _check_finite("costate p", network.depth, p[-1])
        for k in reversed(range(network.depth)):
            x = trajectory.states[k].detach().requires_grad_()
            slope = torch.autograd.grad(step_hamiltonian(network, problem, k, x, p[-1], target, driver), x)[0]
            p.append(slope + along[k])
            _check_finite("costate p", k, p[-1])
    return Costates(trajectory, tuple(reversed(p)))


def _path_slopes(trajectory: Trajectory, problem: Problem, target: Tensor) -> list[Tensor | float]:
    """Gradient of the path costs in each of x_0..x_N, as if they were free of each other."""
    if not problem.path_costs:
        return [0.0] * len(trajectory.states)
    network, layout = trajectory.network, states_alone(trajectory.network)
    states = [x.detach().requires_grad_() for x in trajectory.states]
    bounds = [first for first, _ in layout.runs] + [len(states)]
    runs = tuple(states[a:b] for a, b in pairwise(bounds))
    free = Trajectory(network, layout, runs, states[-1], trajectory.driver)
    value = torch.stack([cost(free, target) for cost in problem.path_costs]).sum()
    if not value.requires_grad:
        return [0.0] * len(states)
    return list(torch.autograd.grad(value, states, materialize_grads=True, allow_unused=True))


def _check_finite(what: str, k: int, value: Tensor) -> None:
    if not bool(torch.isfinite(value).all()):
        raise DivergenceError(
            f"{what}_{k}", got=f"a number that is not finite in layer {k}", expected="finite numbers",
            do="Check the inputs and the weights; a diverged training has an earlier checkpoint.",
        )  # fmt: skip
