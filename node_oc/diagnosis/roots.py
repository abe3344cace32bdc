"""All roots of a map that can be found from many starts: Powell's hybrid method, and a scan in one dimension."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq, root
from torch import Tensor

Map = Callable[[Tensor], Tensor]
"""(n, D) to (n, D) in float64, every row for itself."""

SOLVED = 1e-11  # a value as small as this is zero; a double root is then known to a few times 1e-6
REACH = 1e3  # times 1 + the largest start: farther off a step of a bounded field is lost in rounding and looks solved
SETTLED = 1e-10  # so is a Newton step: where the map is steep, rounding leaves a larger value


def jacobian(f: Map, x: Tensor) -> tuple[Tensor, Tensor]:
    """f(x) (D,) and its Jacobian (D, D) at one point x (D,), by one backward pass over D copies of the point."""
    copies = x.detach().expand(len(x), -1).clone().requires_grad_()
    with torch.enable_grad():
        y = f(copies)
        if not y.requires_grad:  # constant
            return y[0], torch.zeros_like(y)
        rows = torch.autograd.grad(y.diagonal().sum(), copies, allow_unused=True, materialize_grads=True)[0]
    return y[0].detach(), rows


def roots(f: Map, starts: Tensor, tolerance: float) -> Tensor:
    """Roots (m, D) of f reached from the starts (n, D), each once, in lexicographic order; not those far away.

    Args:
        f: the map.
        starts: where Powell's hybrid method begins (scipy.optimize.root), with the Jacobian of autograd.
        tolerance: roots nearer to each other than this, relative to 1 + ||x||, are one.
    """
    reach = REACH * (1 + float(starts.norm(dim=1).max()))
    ends = [_solve(f, start, reach) for start in starts]
    found = sorted((end for end in ends if end is not None), key=lambda end: end[1])  # the best of each root is kept
    kept: list[Tensor] = []
    for x, _ in found:
        if all(float((x - other).norm()) > tolerance * (1 + float(x.norm())) for other in kept):
            kept.append(x)
    kept.sort(key=lambda x: tuple(x.tolist()))
    return torch.stack(kept) if kept else starts.new_zeros(0, starts.shape[1])


def scan(f: Map, low: float, high: float, cells: int) -> Tensor:
    """Candidates for roots (m, 1) in an interval of one dimension.

    Every sign change between neighbours of the grid gives a root (Brent's method); every least |f| among three
    neighbours gives a start, from which a root that f only touches can be reached.

    Args:
        f: the map, D = 1.
        low: beginning of the interval.
        high: its end.
        cells: of the grid; two roots in one cell may be missed.
    """
    grid = torch.linspace(low, high, cells + 1, dtype=torch.float64)
    with torch.no_grad():
        value = f(grid[:, None])[:, 0].numpy()
    x: NDArray[np.float64] = grid.numpy()
    size = np.where(np.isfinite(value), np.abs(value), np.inf)
    out = [x[0], x[-1], *x[1:-1][(size[1:-1] <= size[:-2]) & (size[1:-1] <= size[2:]) & (size[1:-1] < np.inf)]]

    def one(at: float) -> float:
        with torch.no_grad():
            return float(f(torch.tensor([[at]], dtype=torch.float64)))

    change = np.isfinite(value[:-1]) & np.isfinite(value[1:]) & (np.sign(value[:-1]) * np.sign(value[1:]) < 0)
    out += [brentq(one, x[i], x[i + 1], xtol=1e-14, rtol=1e-14) for i in np.flatnonzero(change)]
    return torch.tensor(np.array(out), dtype=torch.float64)[:, None]


def _solve(f: Map, start: Tensor, reach: float) -> tuple[Tensor, float] | None:
    """Where the method ends, and how large f is there; None where that is no root."""

    def both(at: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        value, slope = jacobian(f, torch.from_numpy(at.copy()))
        return value.numpy(), slope.numpy()

    x = torch.from_numpy(root(both, start.numpy(), jac=True, method="hybr", options={"xtol": 1e-14}).x)
    best: tuple[Tensor, float] | None = None
    for _ in range(8):  # Newton's method to the last digit; it may stop early
        value, slope = jacobian(f, x)
        size, scale = float(value.norm()), 1 + float(x.norm())
        if not (torch.isfinite(slope).all() and np.isfinite(size) and scale <= reach):
            break
        change = torch.linalg.lstsq(slope, value[:, None], driver="gelsd").solution[:, 0]
        steep = float(slope.norm()) * scale
        if size <= SOLVED or (float(change.norm()) <= SETTLED * scale and size <= SETTLED * steep):
            best = (x, size) if best is None or size < best[1] else best
        x = x - change
    return best
