"""What an update by the maximum principle gains in each layer, and where the sweeps stop being true."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from node_oc.discretization.network import Network
from node_oc.problem.ocp import Problem
from node_oc.problem.slopes import relaxed
from node_oc.problem.sweeps import LIFT, Sweeps


@dataclass(frozen=True)
class ErrorTerms:
    """The terms of the error estimate of one update from u to v, for lift, steps 0..N-1 and head: N+2 values each.

    J(v) - J(u) = -sum of the decreases + remainder, and the remainder is bounded by a constant times the sum of the
    squared changes (arXiv 1803.01299 and 1710.09513, as recalled; here J is a mean over the batch and the changes are
    means over samples). A layer with a large decrease gains; one with large changes makes the sweeps untrue for the
    other layers.

    Attributes:
        decrease: Ham_k(x_k, p_{k+1}, u_k) - Ham_k(x_k, p_{k+1}, v_k), price included.
        state: ||f(x_k, v_k) - f(x_k, u_k)||^2, f the whole step; 0 of the head.
        costate: ||grad_x Ham_k(v_k) - grad_x Ham_k(u_k)||^2, of one sample alone; 0 of the lift.
        residual: ||dHam_k/du_k|| at u over the real controls, the smooth part. Parameters of no step count in the lift
            with what x_0 does to J, in the head with all the rest.
        gap: what other discrete weights of a step would lower Ham_k by at u, to first order: sum of G W + |G|, G their
            slopes, the best of the set being -sign G; 0 where there are none.
        before: J(u).
        after: J(v).
    """

    decrease: tuple[float, ...]
    state: tuple[float, ...]
    costate: tuple[float, ...]
    residual: tuple[float, ...]
    gap: tuple[float, ...]
    before: float
    after: float

    @property
    def change(self) -> float:
        """J(v) - J(u), the left side of the estimate."""
        return self.after - self.before

    @property
    def remainder(self) -> float:
        """J(v) - J(u) plus all decreases: what the Hamiltonians did not foresee. Of second order in v - u."""
        return self.change + sum(self.decrease)

    @property
    def sentence(self) -> str:
        """What they say, in words."""
        promised, names = sum(self.decrease), ["the lift", *map(str, range(len(self.state) - 2)), "the head"]
        layer = [name if name.startswith("the") else f"layer {name}" for name in names]
        best = max(range(len(names)), key=self.decrease.__getitem__)
        worst = max(range(len(names)), key=lambda i: self.state[i] + self.costate[i])
        return (
            f"The Hamiltonians promised {promised:.3g}, of which {self.decrease[best]:.3g} in {layer[best]}; J fell by "
            f"{-self.change:.3g}. The sweeps disagree most in {layer[worst]}."
        )


class ErrorEstimate:
    """Sweeps at the controls of now, to be asked what an update did.

    Discrete weights and real ones alike: nothing is asked of an update but that the network has its controls.

    Args:
        network: before the update.
        problem: whose J.
        x: inputs of a batch.
        target: its targets.

    Raises:
        DivergenceError: a state or costate that is not finite; its layer is named.
        ConfigError: path costs, which belong to no layer.
    """

    def __init__(self, network: Network, problem: Problem, x: Any, target: Tensor) -> None:
        self._sweeps = Sweeps(network, problem, x, target)
        self._layers = (LIFT, *range(network.depth + 1))
        steps = [network.system.control(k) for k in range(network.depth)]
        within = {id(p) for control in steps for p in control}
        ends = [p for p in network.parameters() if id(p) not in within]
        value, residual, gap = [], [], []
        behind = [torch.zeros_like(p) for p in ends]  # what they do to J by the steps and the output
        for k, own in zip(self._layers, [[], *steps, []], strict=True):
            with relaxed(
                network.system.discrete(k) if 0 <= k < network.depth else [], self._sweeps.p[0].dtype
            ) as weights:
                ham, found = self._sweeps.slopes(k, [*own, *weights, *ends])
                slopes = [torch.zeros_like(p) if g is None else g
                          for p, g in zip([*own, *weights, *ends], found, strict=True)]  # fmt: skip
                promised = [g * w + g.abs() for g, w in zip(slopes[len(own) :], weights, strict=False)]
            gap.append(sum(float(each.detach().sum()) for each in promised))
            value.append(ham.item() + self._sweeps.price(k))
            stray = slopes[len(own) + len(weights) :]
            residual.append(_norm(stray if k == LIFT else slopes[: len(own)]))
            if k != LIFT:
                behind = [b + slope for b, slope in zip(behind, stray, strict=True)]
        self._value, self._residual, self._gap = value, (*residual[:-1], _norm(behind)), tuple(gap)

    def terms(self) -> ErrorTerms:
        """At the controls that the network has now."""
        after = [self._sweeps.local(k) for k in self._layers]
        value = [v.hamiltonian.item() + self._sweeps.price(k) for k, v in zip(self._layers, after, strict=True)]
        return ErrorTerms(
            tuple(u - v for u, v in zip(self._value, value, strict=True)), tuple(v.state.item() for v in after),
            tuple(v.costate.item() for v in after), self._residual, self._gap,
            float(self._sweeps.objective.total), self._sweeps.now(),
        )  # fmt: skip


def _norm(tensors: Sequence[Tensor]) -> float:
    return math.hypot(*(float(t.norm()) for t in tensors))
