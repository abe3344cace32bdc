"""One step of a table: what happens to a state between layer k and layer k + 1."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from node_oc.discretization.driver import TIME, Driver
from node_oc.discretization.tableau import Tableau
from node_oc.errors import ShapeError
from node_oc.system.base import System
from node_oc.system.paired import PairedSystem

Term = tuple[Tensor, float | Tensor]


def step(
    system: System, table: Tableau, k: int, x: Tensor, h: float, driver: Driver = TIME
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Advance the state by one layer.

    Args:
        system: the controlled system; its branch is asked for at the nodes c_i of the table.
        table: the Runge-Kutta table; Euler is the residual network itself.
        k: layer index 0..N-1.
        x: state x_k, (B, ...).
        h: step size h_k, in units of time.
        driver: what the branch is multiplied by in each evaluation, made for this system by ``driver.on``; h_k by
            default.

    Returns:
        x_{k+1}, and the stage states X_1..X_s at which the table evaluated the branch: with the table's
        weights they are the nodes of the running cost's quadrature.

    Raises:
        ShapeError: a table of several stages on a step whose skip is not the identity.
    """
    time = system.pace * h
    if table.stages == 1 and driver.diffusion == "branch":
        behind, slope = system.split(k, 0.0, x)
        return increase(behind, slope, 1.0, driver.increment(k, 0, time, behind)), (x,)
    if table.stages == 1:
        behind = system.skip(k, x)
        return _combine(behind, table.b, [_terms(system, k, 0.0, 0, time, behind, driver)]), (x,)
    check_stages(system, table, k)
    stages: list[Tensor] = []
    slopes: list[list[Term]] = []
    for i, (c, row) in enumerate(zip(table.c, table.a, strict=True)):
        stages.append(_combine(x, row, slopes))
        slopes.append(_terms(system, k, c, i, time, stages[-1], driver))
    return _combine(x, table.b, slopes), tuple(stages)


def _terms(system: System, k: int, c: float, i: int, h: float | Tensor, x: Tensor, driver: Driver) -> list[Term]:
    """What one evaluation adds to the state, x being behind the skip: slopes with their increments."""
    increment = driver.increment(k, i, h, x)
    if driver.diffusion == "branch":
        return [(system.branch_at(k, c, x), increment)]
    paired = cast(PairedSystem, system)  # the driver has seen to it, see Noise.on
    pair = paired.pair(k, x)
    return [(paired.blend(pair), h), (pair[1] if driver.diffusion == "second" else pair[0] - pair[1], increment)]


def check_stages(system: System, table: Tableau, k: int) -> None:
    """Raise ShapeError where a table of several stages meets a skip that is not the identity."""
    if table.stages > 1 and not system.is_identity(k):
        raise ShapeError(
            f"step {k} with table {table.name}", got="a skip that is not the identity",
            expected="an identity skip where a table has several stages", do='Use table = "euler" here.',
        )  # fmt: skip


def increase(x: Tensor, slope: Tensor, weight: float, increment: float | Tensor, out: Tensor | None = None) -> Tensor:
    """x + weight * increment * slope, into ``out`` where it is given."""
    if isinstance(increment, Tensor):
        return torch.addcmul(x, slope, increment, value=weight, out=out)
    return torch.add(x, slope, alpha=weight * increment, out=out)


def _combine(x: Tensor, weights: tuple[float, ...], slopes: list[list[Term]]) -> Tensor:
    for weight, terms in zip(weights, slopes, strict=True):
        for slope, increment in terms if weight else ():
            x = increase(x, slope, weight, increment)
    return x
