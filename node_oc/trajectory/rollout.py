"""One pass through the awake steps, and what it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from node_oc.discretization.network import Network


@dataclass(frozen=True)
class Trajectory:
    """States of one batch over depth. Computed once and handed on: costs, diagnosis and plots read the same one.

    Attributes:
        network: the network that was rolled out.
        states: x_0..x_N; a sleeping step with an identity skip hands on the very same tensor.
        stages: the stage states of every step k = 0..N-1 (Euler: x_k alone).
    """

    network: Network
    states: tuple[Tensor, ...]
    stages: tuple[tuple[Tensor, ...], ...]

    @cached_property
    def _read(self) -> dict[int, Tensor]:
        """Readout of every distinct state, by identity: one batched head call per run of identity skips."""
        system = self.network.system
        layer: dict[int, tuple[int, Tensor]] = {}
        for k, stages in enumerate(self.stages):
            for x in stages:
                layer.setdefault(id(x), (k, x))
        layer.setdefault(id(self.states[-1]), (self.network.depth, self.states[-1]))
        runs: dict[int, list[Tensor]] = {}
        for k, x in layer.values():
            changes = (j for j in range(k, self.network.depth) if not system.is_identity(j))
            runs.setdefault(next(changes, self.network.depth), []).append(x)
        read: dict[int, Tensor] = {}
        for k, xs in runs.items():
            out = system.readout(torch.cat(xs), k) if len(xs) > 1 else system.readout(xs[0], k)
            read |= {id(x): y for x, y in zip(xs, out.split(len(xs[0])), strict=True)}
        return read

    @cached_property
    def readouts(self) -> Tensor:
        """yhat_0..yhat_N, (N+1, B, K)."""
        if self.network.table.stages == 1:
            return torch.stack([self._read[id(x)] for x in self.states])
        return torch.stack([self.network.system.readout(x, k) for k, x in enumerate(self.states)])

    @cached_property
    def final(self) -> Tensor:
        """The output H(x_N), (B, K)."""
        if "_read" in self.__dict__:
            return self._read[id(self.states[-1])]
        return self.network.system.head(self.states[-1])

    @cached_property
    def nodes(self) -> tuple[Tensor, Tensor]:
        """Quadrature of a running cost: readouts (M, B, K) of the distinct states, weights (N, M).

        Row k of the weights holds the nodes of step k, h_k b_i each, so that the running cost of step k is
        ``weights[k] @ costs`` and a state that sleeping steps hand on is read once.
        """
        table, h = self.network.table, self.network.grid.h
        column = {key: m for m, key in enumerate(self._read)}
        rows, columns, values = [], [], []
        for k, stages in enumerate(self.stages):
            for x, b in zip(stages, table.b, strict=True):
                rows.append(k)
                columns.append(column[id(x)])
                values.append(h[k] * b)
        # At least float32: under mixed precision the states are bfloat16, in which h_k b_i would be rounded.
        dtype = torch.promote_types(self.states[-1].dtype, torch.float32)
        weights = self.states[-1].new_zeros(self.network.depth, len(column), dtype=dtype)
        index = (torch.tensor(rows, dtype=torch.long), torch.tensor(columns, dtype=torch.long))
        weights.index_put_(index, weights.new_tensor(values), accumulate=True)
        return torch.stack(tuple(self._read.values())), weights

    @property
    def increments(self) -> tuple[Tensor, ...]:
        """x_{k+1} - S_k(x_k) for k = 0..N-1: what each step added."""
        system = self.network.system
        return tuple(
            after - system.skip(k, before)
            for k, (before, after) in enumerate(zip(self.states[:-1], self.states[1:], strict=True))
        )


def rollout(network: Network, x: Tensor) -> Trajectory:
    """Roll a batch of inputs (B, features) through the network, keeping every state."""
    states = [network.system.lift(x)]
    stages = []
    for k in range(network.depth):
        state, inside = network.advance(k, states[-1])
        states.append(state)
        stages.append(inside)
    return Trajectory(network, tuple(states), tuple(stages))
