"""More layers, the same function: a step becomes two of half its size."""

from __future__ import annotations

from collections.abc import Iterable

from node_oc.discretization.grid import DepthGrid
from node_oc.discretization.network import Network
from node_oc.errors import ShapeError


def refine(network: Network, steps: Iterable[int] | None = None) -> Network:
    """A new network with copies of all weights, in which each of these steps is two of half its size.

    The ODE x' = F_k(x, u) on [t_k, t_{k+1}] stays what it is, so that for a table of order p the state changes by
    O(h_k^{p+1}) in a step and by O(h^p) over the depth; where a branch is zero, by nothing. Both halves of a constant
    control have a copy of it; where it varies within the step they have its values at their own nodes, interpolated
    where it has none there (:meth:`node_oc.UnrolledSystem.halved`). The coefficients of a neural ODE stay shared: it
    only gets more intervals. Halves of a sleeping step sleep. Control energy and price stay the same where every step
    has one control.

    A field that depends on t itself but has one control a step is frozen at the time of the beginning of each step; its
    halves have beginnings of their own, and the change is of first order with every table.

    Args:
        network: it is left as it is.
        steps: layers k; all by default.

    Raises:
        ShapeError: a step that does not exist, or whose skip is not the identity: it is no interval of an ODE.
        ConfigError: a system of your own, with controls that vary within a step, that has no ``halved``.
    """
    chosen = set(range(network.depth) if steps is None else steps)
    for k in sorted(chosen):
        network.system.check_step(k)
        if not network.system.is_identity(k):
            raise ShapeError(f"refine step {k}", got="a skip that is not the identity",
                             expected="an interval of an ODE, which has a middle",
                             do="Leave this step out.")  # fmt: skip
    origin = origins(network.depth, chosen)
    grid = DepthGrid(tuple(network.grid.h[k] / (2 if k in chosen else 1) for k in origin))
    awake = (i for i, k in enumerate(origin) if k in network.awake)
    return Network(network.system.halved(chosen), grid, network.table, awake)


def origins(depth: int, halved: set[int]) -> list[int]:
    """For each step of the refined network, the step of the old one, k = 0..depth-1, that it is or is a half of."""
    return [k for k in range(depth) for _ in range(1 + (k in halved))]
