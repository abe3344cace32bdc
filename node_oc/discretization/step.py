"""One step of a table: what happens to a state between layer k and layer k + 1."""

from __future__ import annotations

from torch import Tensor

from node_oc.discretization.tableau import Tableau
from node_oc.errors import ShapeError
from node_oc.system.base import System


def step(system: System, table: Tableau, k: int, x: Tensor, h: float) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Advance the state by one layer.

    Args:
        system: the controlled system; the control u_k is constant over the step.
        table: the Runge-Kutta table; Euler is the residual network itself.
        k: layer index 0..N-1.
        x: state x_k, (B, ...).
        h: step size h_k, in units of time.

    Returns:
        x_{k+1}, and the stage states X_1..X_s at which the table evaluated the branch: with the table's
        weights they are the nodes of the running cost's quadrature.

    Raises:
        ShapeError: a table of several stages on a step whose skip is not the identity.
    """
    if table.stages == 1:
        return system.skip(k, x).add(system.branch(k, x), alpha=h), (x,)
    if not system.is_identity(k):
        raise ShapeError(
            f"step {k} with table {table.name}", got="a skip that is not the identity",
            expected="an identity skip where a table has several stages", do='Use table = "euler" here.',
        )  # fmt: skip
    stages: list[Tensor] = []
    slopes: list[Tensor] = []
    for row in table.a:
        stages.append(_combine(x, h, row, slopes))
        slopes.append(system.branch(k, stages[-1]))
    return _combine(x, h, table.b, slopes), tuple(stages)


def _combine(x: Tensor, h: float, weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            x = x.add(slope, alpha=h * weight)
    return x
