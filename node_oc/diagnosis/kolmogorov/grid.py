"""A grid of states in one or two dimensions, with a margin that no path leaves, and finite differences on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Array = NDArray[np.float64]
Box = tuple[tuple[float, float], ...]

MARGIN = 0.25  # of the width of the core, on either side


@dataclass(frozen=True)
class Grid:
    """Equidistant nodes on a box, the core, and on a margin around it.

    In the margin what moves a path outwards is slowed down, to nothing at the edge: outward drift and noise along axis
    i are multiplied by chi_i = (1 - s^2)^2, s the depth in the margin, 0 to 1. So no path leaves, the equation needs no
    condition at the edge, and what is changed reaches only those paths that leave the core (our choice).

    Attributes:
        core: lower and upper end along each axis; the equation is unchanged there.
        axes: nodes along each axis, ascending, at equal distances, margin included.
    """

    core: Box
    axes: tuple[Array, ...]

    @classmethod
    def over(cls, core: Box, points: int) -> Grid:
        """A core with its margin, this many nodes along each axis."""
        margins = [MARGIN * (high - low) for low, high in core]
        ends = [(low - m, high + m) for (low, high), m in zip(core, margins, strict=True)]
        return cls(core, tuple(np.linspace(low, high, points) for low, high in ends))

    def coarser(self, times: int) -> Grid:
        """Every second node, or every fourth; one less than the number of nodes is a multiple of it."""
        return Grid(self.core, tuple(axis[::times] for axis in self.axes))

    def wider(self) -> Grid:
        """The same nodes, and as many as the margin has beyond them on every side; the core grows by as much."""
        axes, core = [], []
        for axis, (low, high) in zip(self.axes, self.core, strict=True):
            step = axis[1] - axis[0]
            more = max(round((low - axis[0]) / step), 1)
            axes.append(axis[0] + step * np.arange(-more, len(axis) + more))
            core.append((float(low - more * step), float(high + more * step)))
        return Grid(tuple(core), tuple(axes))

    @property
    def shape(self) -> tuple[int, ...]:
        """Nodes along each axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance of two nodes along each axis."""
        return tuple(float(axis[1] - axis[0]) for axis in self.axes)

    @cached_property
    def nodes(self) -> Array:
        """(n, d), the last axis runs first."""
        return np.stack([part.ravel() for part in np.meshgrid(*self.axes, indexing="ij")], 1)

    @cached_property
    def slowing(self) -> Array:
        """chi_i at every node, (n, d)."""
        out = []
        for x, axis, (low, high) in zip(self.nodes.T, self.axes, self.core, strict=True):
            depth = np.maximum((low - x) / (low - axis[0]), (x - high) / (axis[-1] - high))
            out.append((1 - np.clip(depth, 0, 1) ** 2) ** 2)
        return np.stack(out, 1)

    def factors(self, drift: Array) -> Array:
        """What the drift (n, d) is multiplied by: chi_i where it points outwards, 1 elsewhere."""
        middle = np.array([(low + high) / 2 for low, high in self.core])
        return np.where(drift * (self.nodes - middle) > 0, self.slowing, 1.0)

    @cached_property
    def up(self) -> list[sp.csr_array]:
        """First differences for a drift towards higher x_i, one an axis: order 3, three of four nodes upwind."""
        return [self._along(i, _upwind(len(axis), self.spacing[i])) for i, axis in enumerate(self.axes)]

    @cached_property
    def down(self) -> list[sp.csr_array]:
        """The same for a drift towards lower x_i."""
        return [self._along(i, -_upwind(len(axis), self.spacing[i])[::-1, ::-1]) for i, axis in enumerate(self.axes)]

    @cached_property
    def second(self) -> list[sp.csr_array]:
        """Second differences, order 2; zero at the edge."""
        return [self._along(i, _second(len(axis), self.spacing[i])) for i, axis in enumerate(self.axes)]

    @cached_property
    def mixed(self) -> sp.csr_array:
        """The mixed second difference of two axes, order 2; zero at the edge."""
        one, two = (_central(len(axis), step) for axis, step in zip(self.axes, self.spacing, strict=True))
        return sp.csr_array(sp.kron(one, two))

    def _along(self, i: int, matrix: sp.csr_array) -> sp.csr_array:
        parts = [sp.eye_array(n) for n in self.shape]
        parts[i] = matrix
        return sp.csr_array(parts[0] if len(parts) == 1 else sp.kron(parts[0], parts[1]))

    def read(self, values: Array, x: Array) -> Array:
        """Values (nodes of the first axis, ..) at points x (m, d) within the grid, by cubic interpolation; (m,)."""
        return self.weights(x) @ values.ravel()

    def weights(self, x: Array, derivative: int | None = None) -> sp.csr_array:
        """Cubic interpolation to points x (m, d) from the four nodes around along each axis: a matrix (m, n).

        Args:
            x: points within the grid.
            derivative: the axis along which the interpolant is differentiated; none if None.
        """
        places, parts = [], []
        for i, axis in enumerate(self.axes):
            where = (x[:, i] - axis[0]) / self.spacing[i]
            first = np.clip(np.floor(where).astype(int) - 1, 0, len(axis) - 4)
            places.append(first[:, None] + np.arange(4))
            parts.append(_cubic(where - first, derivative == i) / (self.spacing[i] if derivative == i else 1))
        if len(places) == 1:
            column, weight = places[0], parts[0]
        else:
            column = (places[0][:, :, None] * self.shape[1] + places[1][:, None]).reshape(len(x), -1)
            weight = (parts[0][:, :, None] * parts[1][:, None]).reshape(len(x), -1)
        row = np.repeat(np.arange(len(x)), column.shape[1])
        return sp.csr_array((weight.ravel(), (row, column.ravel())), shape=(len(x), len(self.nodes)))


def _cubic(s: Array, slope: bool) -> Array:
    """Lagrange's weights (m, 4) at place s of the nodes 0, 1, 2, 3; of the slope instead, if asked."""
    out = []
    for j in range(4):
        others = [k for k in range(4) if k != j]
        weight = np.poly1d(others, r=True) / float(np.prod([j - k for k in others]))
        out.append((weight.deriv() if slope else weight)(s))
    return np.stack(out, 1)


def _banded(n: int, bands: dict[int, float]) -> sp.lil_array:
    return sp.lil_array(sp.diags_array([np.full(n, v) for v in bands.values()], offsets=list(bands), shape=(n, n)))


def _central(n: int, step: float) -> sp.csr_array:
    out = _banded(n, {-1: -0.5 / step, 1: 0.5 / step})
    out[[0, n - 1]] = 0
    return sp.csr_array(out)


def _second(n: int, step: float) -> sp.csr_array:
    out = _banded(n, {-1: step**-2, 0: -2 * step**-2, 1: step**-2})
    out[[0, n - 1]] = 0
    return sp.csr_array(out)


def _upwind(n: int, step: float) -> sp.csr_array:
    """(-v_{i+2} + 6 v_{i+1} - 3 v_i - 2 v_{i-1}) / 6; lower order in the three rows that lack a node, in the margin."""
    out = _banded(n, {-1: -1 / (3 * step), 0: -1 / (2 * step), 1: 1 / step, 2: -1 / (6 * step)})
    out[[0, n - 2, n - 1]] = 0
    out[0, [0, 1]] = [-1 / step, 1 / step]
    out[n - 2, [n - 3, n - 1]] = [-0.5 / step, 0.5 / step]
    return sp.csr_array(out)
