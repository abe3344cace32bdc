"""The value function of a limit SDE: what came of a solve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from node_oc.diagnosis.kolmogorov.grid import Array, Box
from node_oc.diagnosis.kolmogorov.march import March
from node_oc.diagnosis.kolmogorov.reach import PATHS, Reach
from node_oc.errors import ShapeError

DIGITS = 5  # significant, of what is kept in a record
KEPT = 61  # nodes along an axis in a record, at most
SHOWN = 3  # paths of each start in a record
TOO_LOW = 1.5  # an observed order that is not 2
OVERSHOT = 1e-3  # of the range of phi: what is worth saying


@dataclass(frozen=True)
class ValueFunction:
    """v(t, x) = E[phi(X_T) | X_t = x] on a grid, at t_0..t_N.

    Made by :func:`value_function`. Errors are estimates by Richardson from grids of one half and one quarter of the
    nodes and steps of time.

    Attributes:
        t: t_0..t_N, units of time.
        axes: nodes along each axis of the state, margin included.
        core: where the equation is the given one; see :class:`node_oc.diagnosis.kolmogorov.grid.Grid`.
        region: where values at t = 0 were asked for.
        values: (N + 1, nodes of the first axis, ..).
        half: those at t = 0 from every second node and half the steps of time.
        error: estimated error of discretisation, the largest in the region at t = 0.
        order: observed order of convergence in the region, from three grids; 2 is what the method has, nan where the
            differences are rounding.
        domain_error: largest change in the region at t = 0 on a wider domain.
        span: least and largest v(0, x) in the region.
        overshoot: by how much v leaves the range of phi in the region at t = 0: 0 for the exact one.
        reach: some paths.
        march: the method, for gradients.
    """

    t: Array
    axes: tuple[Array, ...]
    core: Box
    region: Box
    values: Array
    half: Array
    error: float
    order: float
    domain_error: float
    span: tuple[float, float]
    overshoot: float
    reach: Reach
    march: March

    def at(self, x: ArrayLike, k: int = 0) -> Array:
        """v(t_k, x), by cubic interpolation. x: (n, d), or (n,) in one dimension; returns (n,).

        Raises:
            ShapeError: states outside the core, or of another size.
        """
        return self.march.grid.read(self.values[k], self._points(x))

    def error_at(self, x: ArrayLike) -> Array:
        """Estimated error of discretisation of v(0, x), (n,), not negative."""
        grid, points = self.march.grid, self._points(x)
        return np.abs(grid.read(self.values[0], points) - grid.coarser(2).read(self.half, points)) / richardson(
            self.order
        )

    def slope(self, x: ArrayLike, k: int = 0) -> Array:
        """grad v(t_k, x), (n, d): the costate in expectation, E[p | X_t = x]."""
        points = self._points(x)
        return np.stack([self.march.grid.weights(points, i) @ self.values[k].ravel() for i in range(len(self.axes))], 1)

    def gradient(self, x: ArrayLike) -> dict[str, Tensor]:
        """d/du of the mean of v(0, x) over states x (n, d), u every trainable parameter of the SDE by name.

        Through the solve, by one sweep forward in time of the law of X_t on the grid: exact for the discrete solution.
        Parameters of the terminal functional count where they are the SDE's own, as a head's. The states are held
        fixed: through a lift goes :meth:`slope`.
        """
        points = self._points(x)
        weights = np.asarray(self.march.grid.weights(points).mean(0)).ravel()
        return self.march.gradient(self.values, weights)

    @property
    def sentence(self) -> str:
        """What came of it."""
        said = f"v(0, x) goes from {self.span[0]:.4g} to {self.span[1]:.4g} in the region; "
        said += f"error {self.error:.1e} by Richardson"
        said += f" (order {self.order:.2f} seen)" if np.isfinite(self.order) else ""
        said += f", {self.domain_error:.1e} by the domain"
        if self.overshoot > OVERSHOT * float(np.ptp(self.values[-1])):
            said += f"; it leaves the range of phi by {self.overshoot:.1e}, the grid is too coarse for phi"
        return said + "."

    def record(self) -> dict[str, Any]:
        """Numbers for a picture, as JSON has them: v on 61 points an axis.

        In one dimension at t_0..t_N where paths go, with three paths from each of the starts that the domain was chosen
        with; in two at t = 0 in the region, without paths.
        """
        one = len(self.axes) == 1
        boxes = self.reach.boxes
        box = ((float(boxes[..., 0].min()), float(boxes[..., 1].max())),) if one else self.region
        core = np.array(self.core)
        lines = [np.linspace(max(low, c), min(high, e), KEPT) for (low, high), (c, e) in zip(box, core, strict=True)]
        points = np.stack([part.ravel() for part in np.meshgrid(*lines, indexing="ij")], 1)
        weights = self.march.grid.weights(points)
        layers = range(len(self.t)) if one else (0,)
        chosen = [i for i in range(self.reach.paths.shape[1]) if one and i % PATHS < SHOWN]
        return {
            "t": self.t.tolist(), "axes": [line.tolist() for line in lines], "layers": list(layers),
            "region": [list(one) for one in self.region],
            "values": [_short(weights @ self.values[k].ravel()).reshape([KEPT] * len(lines)).tolist() for k in layers],
            "path_t": self.reach.t.tolist(), "paths": _short(self.reach.paths[:, chosen].swapaxes(0, 1)).tolist(),
            "error": self.error, "domain_error": self.domain_error, "overshoot": self.overshoot,
            "order": self.order if np.isfinite(self.order) else None, "sentence": self.sentence,
        }  # fmt: skip

    def _points(self, x: ArrayLike) -> Array:
        points = np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x, dtype=np.float64)
        d = len(self.axes)
        points = points.reshape(-1, 1) if d == 1 and points.ndim < 2 else points
        if points.ndim != 2 or points.shape[1] != d:
            raise ShapeError("states", got=f"shape {points.shape}", expected=f"(n, {d})",
                             do="Give one row a state.")  # fmt: skip
        low, high = np.array(self.core).T
        outside = ~((points >= low) & (points <= high)).all(1)
        if outside.any():
            raise ShapeError("states", got=f"{points[outside][0].tolist()}, outside the domain",
                             expected=f"states within {_said(self.core)}",
                             do="Solve with a region that holds them.")  # fmt: skip
        return points


def richardson(order: float) -> float:
    """What the change from one grid to the next finer one is divided by: 2^2 - 1, or 1 where order 2 is not seen."""
    return 1.0 if order < TOO_LOW else 3.0


def _said(box: Box) -> str:
    return " x ".join(f"[{low:.4g}, {high:.4g}]" for low, high in box)


def _short(values: Array) -> Array:
    """Rounded to some digits of the largest."""
    size = float(np.abs(values).max(initial=0))
    return values if size == 0 else np.round(values, DIGITS - 1 - int(np.floor(np.log10(size))))
