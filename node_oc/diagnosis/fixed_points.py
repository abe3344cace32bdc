"""Fixed points of a step: equilibria of the field, and spurious ones that the discretisation has made."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from node_oc.diagnosis.roots import Map, jacobian, roots, scan
from node_oc.discretization.step import step
from node_oc.discretization.tableau import Tableau
from node_oc.errors import ConfigError, ShapeError
from node_oc.system.base import System, as_number


@dataclass(frozen=True)
class FixedPoint:
    """One state with step(x) = x.

    Attributes:
        x: the state, of the shape of one start, float64.
        field: the largest ||F_k(x)|| at the nodes of the table, in units of the state per unit of time.
        spurious: whether the field does not vanish there.
        radius: spectral radius of the Jacobian of the step at x.
        isolated: whether that Jacobian has no eigenvalue 1; otherwise x may lie on a curve of fixed points.
    """

    x: Tensor
    field: float
    spurious: bool
    radius: float
    isolated: bool

    @property
    def attracting(self) -> bool:
        """Whether a chain of such steps that begins near enough ends there: radius < 1."""
        return self.radius < 1


@dataclass(frozen=True)
class FixedPoints:
    """What a search for fixed points of one step found.

    Attributes:
        points: every one that was found, in lexicographic order.
        sentence: the verdict in words.
    """

    points: tuple[FixedPoint, ...]
    sentence: str

    @property
    def equilibria(self) -> tuple[FixedPoint, ...]:
        """Those at which the field vanishes."""
        return tuple(p for p in self.points if not p.spurious)

    @property
    def spurious(self) -> tuple[FixedPoint, ...]:
        """Those at which it does not: made by the discretisation."""
        return tuple(p for p in self.points if p.spurious)


def fixed_points(
    system: System, table: Tableau, k: int, h: float, starts: Tensor, *,
    interval: tuple[float, float] | None = None, cells: int = 4000, tolerance: float = 1e-5,
) -> FixedPoints:  # fmt: skip
    """Search the fixed points of one step, and say which of them are no equilibria of the field.

    A Runge-Kutta step keeps every equilibrium of the field (:func:`preserves_equilibria`) and can have fixed points
    beside: spurious ones (Iserles, "Stability and dynamics of numerical methods for nonlinear ordinary differential
    equations", 1990). On x' = x(1 - x): midpoint has them at 2/h and 1 + 2/h, for every h; Euler has none. Solved is
    (step(x) - x)/h = 0. A search from finitely many starts can miss some; in one dimension every sign change on a
    grid is followed as well.

    Args:
        system: its branches must take every sample for itself; it is not changed.
        table: how the step is taken.
        k: layer index 0..N-1.
        h: step size h_k, in units of time; times the pace of the system where its horizon was trained.
        starts: states (n, ...) from which to search; flattened, D entries make a D x D Jacobian.
        interval: in one dimension, what is scanned beside; from the least to the largest start if None.
        cells: of the scan.
        tolerance: absolute; a field below it is zero, and points nearer than that, relative to 1 + ||x||, are one.

    Raises:
        ConfigError: no starts, a step size that is not positive, or an interval where the state has several entries.
        ShapeError: a step that does not exist, or whose skip is not the identity: it has no fixed points.
    """
    if not (math.isfinite(h) and h > 0):
        raise ConfigError(f"step size h_{k}", got=h, expected="a positive number", do="Give h_k of the grid.")
    system, starts = prepared(system, k, starts)
    shape, flat, time = starts.shape[1:], starts.flatten(1), as_number(system.pace) * h
    if interval is not None and flat.shape[1] > 1:
        raise ConfigError("interval", got=f"one, for a state of {flat.shape[1]} entries", expected="a state of one",
                          do="Leave it out; give more starts.")  # fmt: skip

    def excess(x: Tensor) -> Tensor:
        return (step(system, table, k, x.unflatten(1, shape), h)[0].flatten(1) - x) / time

    if flat.shape[1] == 1:
        low, high = interval or (float(flat.min()), float(flat.max()))
        if low < high:
            flat = torch.cat([flat, scan(excess, low, high, cells)])
    points = tuple(_point(system, table, k, time, excess, x, shape, tolerance) for x in roots(excess, flat, tolerance))
    return FixedPoints(points, _sentence(table, k, h, points, len(starts)))


def prepared(system: System, k: int, starts: Tensor) -> tuple[System, Tensor]:
    """A float64 copy of the system on the CPU, without gradients of its own, and the starts likewise.

    Args:
        system: what is copied.
        k: layer index 0..N-1.
        starts: states (n, ...).

    Raises:
        ConfigError: no starts.
        ShapeError: a step that does not exist, or whose skip is not the identity.
    """
    system.check_step(k)
    if not system.is_identity(k):
        raise ShapeError(f"skip of step {k}", got="one that is not the identity", expected="an identity skip",
                         do="Look at another step: this one keeps no state where it is.")  # fmt: skip
    if starts.dim() < 2 or not starts.numel():
        raise ConfigError("starts", got=tuple(starts.shape), expected="states (n, ...), n at least 1",
                          do="Give the states of a rollout, or points of a grid.")  # fmt: skip
    return copy.deepcopy(system).to("cpu", torch.float64).eval().requires_grad_(False), starts.detach().cpu().double()


@torch.no_grad()
def field_at_nodes(system: System, table: Tableau, k: int, x: Tensor) -> Tensor:
    """The largest ||F_k(x)|| at the nodes c of the table, (n,), of states (n, ...)."""
    return torch.stack([system.branch_at(k, c, x).flatten(1).norm(dim=1) for c in sorted(set(table.c))]).amax(0)


def _point(
    system: System, table: Tableau, k: int, time: float, excess: Map, x: Tensor, shape: torch.Size, tolerance: float
) -> FixedPoint:
    slope = jacobian(excess, x)[1]
    moved = torch.linalg.eigvals(torch.eye(len(x), dtype=x.dtype) + time * slope).abs().max()
    state = x.unflatten(0, shape)
    field = float(field_at_nodes(system, table, k, state[None]))
    least = float(torch.linalg.svdvals(slope)[-1])
    return FixedPoint(state, field, field > tolerance, float(moved), least > tolerance)


def _sentence(table: Tableau, k: int, h: float, points: tuple[FixedPoint, ...], starts: int) -> str:
    step_ = f"step {k} of {table.name} with h = {h:.4g}"
    if not points:
        return f"No fixed point of {step_} was found from {starts} start{'s' * (starts != 1)}."
    wrong = [p for p in points if p.spurious]
    many = f"{len(points)} fixed point{'s' * (len(points) != 1)}"
    loose = sum(not p.isolated for p in points)
    rest = f" {loose} of them need not be isolated." if loose else ""
    if not wrong:
        at = "an equilibrium" if len(points) == 1 else "all of them equilibria"
        return f"No spurious fixed point: {step_} has {many}, {at} of the field.{rest}"
    pulls = sum(p.attracting for p in wrong)
    least = min(p.field for p in wrong)
    return (f"{len(wrong)} SPURIOUS: {step_} has {many}, at {len(wrong)} of them the field does not vanish "
            f"({least:.3g} or more); {pulls or 'none'} of these attract{'s' * (pulls <= 1)}.{rest}")  # fmt: skip
