"""Both sweeps of one batch, and what every layer would do along them with other controls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from node_oc.discretization.network import Network, evaluating
from node_oc.errors import ConfigError
from node_oc.problem.costate import costate_sweep, taken_hamiltonian
from node_oc.problem.ocp import Problem, group_norms
from node_oc.trajectory.rollout import rollout

LIFT = -1  # the lift as a layer: x_0 = lift(x); the head is layer N


@dataclass(frozen=True)
class Local:
    """One layer at some controls, along states and costates of others. Scalars.

    Attributes:
        hamiltonian: of a step Ham_k less its group price; of the lift p_0 . lift(x); of the head phi. A batch mean.
        state: ||f(x_k, u) - x_{k+1}||^2, mean over samples; 0 for the head, behind which there is no state.
        costate: ||grad_x Ham_k(x_k, p_{k+1}, u) - p_k||^2 of one sample alone, mean over samples; 0 for the lift.
    """

    hamiltonian: Tensor
    state: Tensor
    costate: Tensor

    def augmented(self, rho: float) -> Tensor:
        """Ham_k + (rho/2) ||x_{k+1} - f||^2 + (rho/2) ||p_k - grad_x Ham_k||^2 (arXiv 1710.09513, our sign)."""
        return self.hamiltonian + 0.5 * rho * (self.state + self.costate) if rho else self.hamiltonian


class Sweeps:
    """Forward and costate sweep of one batch at the controls of now; what the layers do later is held against them.

    p is the gradient of a batch mean, so a sample's own costate is B times its row: squared changes are taken per
    sample, and do not depend on B. Running statistics are as before when a method returns: nothing here counts a batch.
    Whatever the network does later, it is asked in the same mode: evaluation, where it is noisy (each evaluation would
    draw anew) or its batch norms would see other batches in the readouts than in the steps; otherwise as it is.

    Args:
        network: its controls of now are the old ones.
        problem: whose J.
        x: inputs of the batch, (B, ...).
        target: class indices (B,) or regression targets (B, K).

    Attributes:
        trajectory: the old states.
        p: the old costates p_0..p_N.
        objective: J at the old controls, without a gradient.

    Raises:
        DivergenceError: a state or costate that is not finite; its layer is named.
        ConfigError: a terminal cost without a gradient in the output; path costs, which belong to no layer.
    """

    def __init__(self, network: Network, problem: Problem, x: Any, target: Tensor) -> None:
        self.network, self.problem, self.x, self.target = network, problem, x, target
        system = network.system
        if problem.path_costs:
            raise ConfigError("problem.path_costs", got=f"{len(problem.path_costs)} of them",
                              expected="none: they are in no layer's Hamiltonian", do="Leave them out.")  # fmt: skip
        self._evaluate = system.noisy or bool(problem.stage_weight and system.own_statistics)
        with self._uncounted(), torch.no_grad():
            self.trajectory = rollout(network, x)
            self.objective = problem.evaluate(self.trajectory, target)
        with self._uncounted():
            self.p = costate_sweep(self.trajectory, problem, target).p

    def local(self, k: int) -> Local:
        """Layer k, -1 (lift), 0..N-1 or N (head), at the controls that the network has now; values without a graph.

        Args:
            k: layer index.
        """
        with self._uncounted():
            found = self._local(k)
        return Local(found.hamiltonian.detach(), found.state.detach(), found.costate.detach())

    def slopes(self, k: int, parameters: Sequence[Tensor], rho: float = 0.0) -> tuple[Tensor, list[Tensor | None]]:
        """The augmented Hamiltonian of layer k at the controls of now, and its gradients; None where it has none.

        Args:
            k: layer index, as of :meth:`local`.
            parameters: what is differentiated in; those that are frozen have no gradient.
            rho: of the penalties; 0 for the Hamiltonian alone.
        """
        wanted = [p for p in parameters if p.requires_grad]
        with self._uncounted():  # the gradients too: what restores a running statistic would void the graph
            value = self._local(k).augmented(rho)
            known = value.requires_grad and wanted
            found = iter(torch.autograd.grad(value, wanted, allow_unused=True) if known else [None] * len(wanted))
        return value.detach(), [next(found) if p.requires_grad else None for p in parameters]

    @torch.no_grad()
    def price(self, k: int) -> float:
        """h_k lambda ||u_k|| of the controls of now, the group price of step k; 0 for the ends."""
        network, price = self.network, self.problem.group_price
        return price * network.h[k] * float(group_norms(network)[k]) if price and 0 <= k < network.depth else 0.0

    @torch.no_grad()
    def now(self) -> float:
        """J of the batch at the controls that the network has now."""
        with self._uncounted():
            return float(self.problem.evaluate(rollout(self.network, self.x), self.target).total)

    @sdpa_kernel(SDPBackend.MATH)  # the one kind of attention that has second derivatives
    @torch.enable_grad()
    def _local(self, k: int) -> Local:
        network, states, p = self.trajectory.network, self.trajectory.states, self.p
        batch, zero = len(p[0]), p[0].new_zeros(())
        if k == LIFT:
            after = network.system.lift(self.x)
            return Local((p[0] * after).sum(), (after - states[0]).square().sum() / batch, zero)
        x = states[k].detach().requires_grad_()
        if k == network.depth:
            value, state = self.problem.terminal(network.system.head(x)[None], self.target).mean(), zero
        else:
            after, stages = network.advance(k, x)
            value = taken_hamiltonian(network, self.problem, k, after, stages, p[k + 1], self.target)
            if self.problem.energy:
                value = value + self.problem.energy * network.control_energy((k,))
            state = (after - states[k + 1]).square().sum() / batch
        (slope,) = torch.autograd.grad(value, x, create_graph=True)
        return Local(value, state, batch * (slope - p[k]).square().sum())

    @contextmanager
    def _uncounted(self) -> Iterator[None]:
        """Within the block the network is asked in its mode; its buffers are then what they were."""
        before = {}
        if self.network.system.coupled:  # discrete weights are buffers too, and nothing that is counted
            before = {name: b.clone() for name, b in self.network.named_buffers() if b.dtype != torch.int8}
        try:
            with evaluating(self.network) if self._evaluate else _as_it_is():
                yield
        finally:
            _restore_(self.network, before)


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


@torch.no_grad()
def _restore_(module: nn.Module, buffers: dict[str, Tensor]) -> None:
    for name, buffer in module.named_buffers():
        if name in buffers:
            buffer.copy_(buffers[name])
