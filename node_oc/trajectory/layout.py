"""Which states a rollout has, by number: known before any of them is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from node_oc.discretization.network import Network


@dataclass(frozen=True, eq=False)  # one object a shape of rollout: compared, and looked up, by identity
class Layout:
    """Distinct states (nodes) of the steps start..stop-1, numbered in the order in which they are computed.

    Attributes:
        states: the node of x_k, k = start..stop; a sleeping step with an identity skip hands on the same one.
        stages: the nodes of the stage states of each step (Euler: that of x_k alone).
        runs: (first node, layer k) of each run: from there on, up to the next run, the same skips follow, so that the
            readouts of a run are those of layer k, in one call.
        weights: quadrature of a running cost: row k - start holds h_k b_i at each node of step k.
    """

    states: tuple[int, ...]
    stages: tuple[tuple[int, ...], ...]
    runs: tuple[tuple[int, int], ...]
    weights: tuple[tuple[float, ...], ...]

    @property
    def nodes(self) -> int:
        """Number of distinct states M."""
        return self.states[-1] + 1


def layout_of(network: Network, start: int, stop: int) -> Layout:
    """The layout of these steps of a network."""
    identity = tuple(map(network.system.is_identity, range(start, stop)))
    return _cached(_layout)(start, identity, network.awake, network.grid.h[start:stop], network.table.b)


def states_alone(network: Network) -> Layout:
    """A layout in which x_0..x_N are nodes of their own, also where a sleeping step hands its state on; no stages."""
    identity = tuple(map(network.system.is_identity, range(network.depth)))
    return _cached(_layout)(0, identity, tuple(range(network.depth)), network.grid.h, (1.0,))


def _cached(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its cache, which a compiler cannot look into."""
    return function.__wrapped__ if torch.compiler.is_compiling() else function  # type: ignore[attr-defined]


@lru_cache(maxsize=256)
def _layout(
    start: int, identity: tuple[bool, ...], awake: tuple[int, ...], h: tuple[float, ...], b: tuple[float, ...]
) -> Layout:
    states, stages, runs = [0], [], [(0, start)]
    node, computed = 0, frozenset(awake)
    for k, same in enumerate(identity, start):
        first, on = node, k in computed
        stages.append(tuple(first + i for i in range(len(b))) if on else (first,) * len(b))
        if on or not same:
            node = stages[-1][-1] + 1
        if not same:
            runs.append((node, k + 1))
        states.append(node)
    weights = [[0.0] * (node + 1) for _ in h]
    for row, hk, nodes in zip(weights, h, stages, strict=True):
        for b_i, m in zip(b, nodes, strict=True):
            row[m] += hk * b_i
    return Layout(tuple(states), tuple(stages), tuple(runs), tuple(map(tuple, weights)))


def quadrature(layout: Layout, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The weights of a layout as a tensor (N, M). Shared between calls: read it, do not change it."""
    return _cached(_quadrature)(layout, dtype, device)


@lru_cache(maxsize=64)
def _quadrature(layout: Layout, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # a later call may want gradients
        weights = torch.tensor(layout.weights, dtype=dtype, device=device)
    return weights.reshape(len(layout.weights), layout.nodes)
