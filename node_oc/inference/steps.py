"""A network's steps as plain functions of the state, and its readouts at some depths, for inference alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from node_oc.discretization.network import Network
from node_oc.discretization.tableau import EULER
from node_oc.system.dense import Branch, DenseSystem

Step = Callable[[Tensor], Tensor]
IN_PLACE: dict[str, Step] = {
    "tanh": torch.tanh_,
    "relu": torch.relu_,
    "gelu": F.gelu,
}  # nobody else has the value


def plain_steps(network: Network) -> list[Step | None]:
    """x_k to x_{k+1} for k = 0..N-1; None where a sleeping step hands its state on as it is.

    Dense steps of Euler are two fused products each, without calls of modules: at batch 1 a third of the time of
    ``network.advance``, and the same numbers to rounding. They hold on to the layers' parameters, whose values may
    change.

    Args:
        network: bound to its inputs where it reads them, see :meth:`~node_oc.discretization.Network.given`.
    """
    system, awake = network.system, set(network.awake)
    steps: list[Step | None] = []
    fused = type(system) is DenseSystem and network.table is EULER and system.by_hand
    for k in range(network.depth):
        if k not in awake and system.is_identity(k):
            steps.append(None)
        elif fused and isinstance(system, DenseSystem):
            steps.append(_dense(system._step(k), network.grid.h[k]))
        else:
            steps.append(_general(network, k))
    return steps


def _general(network: Network, k: int) -> Step:
    advance = network.advance
    return lambda x: advance(k, x)[0]


def _dense(branch: Branch, h: float) -> Step:
    inner, inner_bias = branch.inner.weight, branch.inner.bias
    outer, outer_bias = branch.outer.weight, branch.outer.bias
    value, linear, addmm = IN_PLACE[branch.activation], F.linear, torch.addmm

    def step(x: Tensor) -> Tensor:
        return addmm(x, value(linear(x, inner, inner_bias)), outer.t(), alpha=h).add_(outer_bias, alpha=h)

    return step


class Reader:
    """Readouts of states at several depths in one head call, each skip passed once by all states before it.

    Args:
        network: whose states.
    """

    def __init__(self, network: Network) -> None:
        system = network.system
        self.depth = network.depth
        self.settling = {k: system.settling(k) for k in range(network.depth) if not system.is_identity(k)}

    def __call__(self, network: Network, depths: Sequence[int], states: Sequence[Tensor]) -> Tensor:
        """yhat_k, (m, B, K).

        Args:
            network: the same, bound to the inputs of these samples.
            depths: k of each state, ascending.
            states: x_k of the same samples, (B, ..) each.
        """
        system = network.system
        if len(states) == 1:
            state, settled = states[0], None
            for k, name in self.settling.items():
                if k >= depths[0] and (name is None or name != settled):
                    state, settled = system.skip(k, state), name
            return system.head(state)[None]
        now = list(states)
        by: list[str | None] = [None] * len(now)
        for k, name in self.settling.items():
            through = [i for i, d in enumerate(depths) if d <= k and (name is None or by[i] != name)]
            if through:
                moved = system.skips(k, torch.stack([now[i] for i in through]))
                for i, state in zip(through, moved.unbind(), strict=True):
                    now[i], by[i] = state, name
        return system.heads(torch.stack(now), count=False)
