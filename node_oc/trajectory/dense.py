"""Dense output: the solution of an ODE at any time, of each sample at a time of its own."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from node_oc.discretization.network import Network
from node_oc.system.base import as_number
from node_oc.trajectory.interval import Interval
from node_oc.trajectory.solution import Solution
from node_oc.trajectory.solver import Solver

NODES = 5  # of the solver's own interpolant, a polynomial of degree 4 in each step


@dataclass(frozen=True)
class DenseOutput:
    """x(t) on [0, T]: in every step that the solver accepted, the polynomial of degree 4 through five states.

    Attributes:
        t: t_0 = 0 .. t_S = T, between which the steps lie, in units of time, float64 (S+1,).
        nodes: states at five equally spaced places of every step, both ends among them, (S, 5, B, ...).
    """

    t: Tensor
    nodes: Tensor

    @property
    def places(self) -> Tensor:
        """Times of all nodes, ascending, each end of a step once: float64 (4 S + 1,)."""
        inner = torch.arange(NODES - 1, dtype=self.t.dtype, device=self.t.device) / (NODES - 1)
        return torch.cat([(self.t[:-1, None] + self.t.diff()[:, None] * inner).flatten(), self.t[-1:]])

    @property
    def states(self) -> Tensor:
        """States at :attr:`places`, (4 S + 1, B, ...)."""
        return torch.cat([self.nodes[:, :-1].flatten(0, 1), self.nodes[-1, -1:]])

    def __call__(self, t: Tensor) -> Tensor:
        """The states (B, ...) at time t.

        Args:
            t: one time for all samples (), or one for each, (B,); in [0, T], in units of time.
        """
        size = self.nodes.shape[2]
        t = t.to(self.t).expand(size).contiguous()
        step = (torch.searchsorted(self.t, t, right=True) - 1).clamp(0, len(self.nodes) - 1)
        r = (NODES - 1) * (t - self.t[step]) / (self.t[step + 1] - self.t[step])
        x = self.nodes.transpose(1, 2)[step, torch.arange(size, device=step.device)]  # (B, 5, ...)
        weight = _lagrange(r).to(x)
        return (weight.reshape(*weight.shape, *(1,) * (x.dim() - 2)) * x).sum(1)

    def within(self, step: int, places: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of one step: times (m,), states (m, B, ...) and their rates dx/dt, all of the same polynomial.

        Args:
            step: 0..S-1.
            places: m, equally spaced, the beginning of the step among them and its end not.
        """
        r = (NODES - 1) * torch.arange(places, dtype=self.t.dtype, device=self.t.device) / places
        length = self.t[step + 1] - self.t[step]
        found = torch.func.jvp(_lagrange, (r,), (torch.full_like(r, NODES - 1),))
        weight, rate = found[0], found[1]
        x = self.nodes[step]
        states, rates = (torch.tensordot(w.to(x), x, 1) for w in (weight, rate / length))
        return self.t[step] + length * r / (NODES - 1), states, rates


def _lagrange(r: Tensor) -> Tensor:
    """Weights (B, 5) of the five nodes at the places r (B,) in [0, 4] of a step."""
    weights = []
    for j in range(NODES):
        others = [m for m in range(NODES) if m != j]
        weights.append(torch.stack([(r - m) / (j - m) for m in others]).prod(0))
    return torch.stack(weights, 1)


@torch.no_grad()
def dense_output(network: Network, x: Tensor, solver: Solver | None = None) -> DenseOutput:
    """Solve the ODE of a network, and keep what its solver knows between its steps.

    Between two accepted steps a solver of torchdiffeq has a polynomial of degree 4, for dopri5 of a local error of
    order 5 as the step's own, for methods of higher order not so exact. Every step is taken twice: once to learn where
    the steps end, once to be asked inside of them.

    Args:
        network: see :class:`node_oc.Solution`.
        x: inputs (B, features); all states of all steps are kept at once.
        solver: method and tolerances; dopri5 at 1e-6 by default.
    """
    solution = _Dense(network, x, solver)
    states, pace = solution.states, as_number(network.system.pace)
    times, nodes, begin = [], [], 0.0
    for k, h in enumerate(network.grid.h):
        taken = solution.taken.get(k)
        if taken is None:  # asleep: nothing moves
            taken = (torch.tensor([0.0, h]), torch.stack([states[k]] * (NODES - 1) + [states[k + 1]])[None])
        times.append(begin + taken[0][:-1].to(states[0].device, torch.float64))
        nodes.append(taken[1])
        begin += h
    times.append(times[0].new_tensor([begin]))
    return DenseOutput(pace * torch.cat(times), torch.cat(nodes))


class _Dense(Solution):
    """A solution that remembers, of each interval, the ends (s+1,) and nodes (s, 5, B, ...) of its steps."""

    def __init__(self, network: Network, x: Tensor, solver: Solver | None) -> None:
        super().__init__(network, x, solver)
        self.taken: dict[int, tuple[Tensor, Tensor]] = {}

    def _at(
        self, field: Interval, start: tuple[Tensor, ...], times: Tensor | None = None, **adjoint: Any
    ) -> tuple[Tensor, ...]:
        found = super()._at(field, start)
        end = float(self._ends(field, start)[1])
        ends = torch.tensor([*field.accepted, end], dtype=torch.float64, device=start[0].device)
        places = torch.cat([torch.linspace(a, b, NODES, dtype=torch.float64)[:-1] for a, b in pairwise(ends.tolist())])
        inside = super()._at(field, start, torch.cat([places.to(ends), ends[-1:]]))[0]
        steps = len(ends) - 1
        last = inside[NODES - 1 :: NODES - 1]
        nodes = torch.cat([inside[:-1].unflatten(0, (steps, NODES - 1)), last[:, None]], 1)
        self.taken[field.k] = ends, nodes
        return found
