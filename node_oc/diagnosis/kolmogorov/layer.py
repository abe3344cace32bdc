"""One layer of the equation: its operator on the grid, its steps of time, and the adjoint of these."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import splu
from torch import Tensor

from node_oc.diagnosis.kolmogorov.coefficients import coefficients
from node_oc.diagnosis.kolmogorov.grid import Array, Grid
from node_oc.discretization.limit import LimitSDE
from node_oc.errors import DataError

DAMPED = 2  # steps of time that are two half-steps of implicit Euler each


class Layer:
    """v_tau = A v from t_{k+1} down to t_k, A the differences of b.grad + (1/2) tr(a grad^2), by Crank and Nicolson.

    v <- (1 - dt/2 A)^{-1} (1 + dt/2 A) v, A at the middle of the step of time: order 2. One factorisation serves the
    layer where the coefficients do not vary within it. Drift has differences of order 3, biased upwind, so that there
    is no limit on the cell Peclet number and degenerate noise is no special case; covariance has central ones.

    Args:
        sde: whose equation it is.
        k: layer index 0..N-1.
        grid: of states.
        steps: of time.
        damped: whether the first two steps are four half-steps of implicit Euler, which take away what a kink or a
            jump would otherwise leave behind (Rannacher, Numer. Math. 43, 1984).
    """

    def __init__(self, sde: LimitSDE, k: int, grid: Grid, steps: int, damped: bool) -> None:
        self.sde, self.k, self.grid, self.steps = sde, k, grid, steps
        self.damped = DAMPED if damped else 0
        self.half = sde.network.h[k] / steps / 2
        self._place = -1.0
        self._factor: Any = None
        self._operator = sp.csr_array((0, 0))

    def back(self, value: Array) -> list[Array]:
        """Values (n,) at t_{k+1}, after every step of time, and at t_k."""
        way = [value]
        for j in range(self.steps):
            A, factor = self._at(self.place(j))
            if j < self.damped:
                way.append(factor.solve(factor.solve(way[-1])))
            else:
                way.append(factor.solve(way[-1] + self.half * (A @ way[-1])))
        return way

    def adjoint(self, way: list[Array], weights: Array) -> tuple[Array, list[tuple[float, Array, Array]]]:
        """Derivatives of ``weights . v(t_k)``, exact for the steps that were taken.

        Args:
            way: from :meth:`back`.
            weights: (n,).

        Returns:
            The derivative in v(t_{k+1}), (n,), and for every place c those in b (n, d) and a (n, d, d) at the nodes.
        """
        n, d = self.grid.nodes.shape
        sums: dict[float, tuple[Array, Array]] = {}
        for j in reversed(range(self.steps)):
            c = self.place(j)
            A, factor = self._at(c)
            drift, covariance = sums.setdefault(c, (np.zeros((n, d)), np.zeros((n, d, d))))
            inner = factor.solve(weights, trans="T")
            if j < self.damped:
                weights = factor.solve(inner, trans="T")
                pairs = [(inner, way[j + 1]), (weights, factor.solve(way[j]))]
            else:
                weights = inner + self.half * (A.T @ inner)
                pairs = [(inner, way[j] + way[j + 1])]
            for left, right in pairs:
                self._gather(self.half * left, right, drift, covariance)
        return weights, [(c, drift, covariance) for c, (drift, covariance) in sums.items()]

    def place(self, j: int) -> float:
        """Place c within the layer at which the coefficients of step of time j are taken, j counted from t_{k+1}."""
        return 1 - (j + 0.5) / self.steps if self.sde.system.varies_within_steps else 0.5

    def coefficients(self, c: float) -> tuple[Tensor, Tensor]:
        """b (n, d) and a (n, d, d) at the nodes, slowed in the margin, float64; differentiable in the parameters."""
        like = next(self.sde.parameters(), torch.zeros((), dtype=torch.float64))
        drift, covariance = coefficients(self.sde, self.k, c, torch.from_numpy(self.grid.nodes).to(like))
        drift, covariance = drift.double().cpu(), covariance.double().cpu()
        slowing = torch.from_numpy(self.grid.slowing)
        factors = torch.from_numpy(self.grid.factors(drift.detach().numpy()))
        return drift * factors, covariance * slowing[:, :, None] * slowing[:, None]

    def _at(self, c: float) -> tuple[sp.csr_array, Any]:
        """The operator, and 1 - dt/2 A in factors; the last ones are kept."""
        if c != self._place:
            self._place, self._operator = c, self._assembled(c)
            left = sp.eye_array(self._operator.shape[0]) - self.half * self._operator
            order = "NATURAL" if len(self.grid.shape) == 1 else "MMD_AT_PLUS_A"  # of the unknowns: for little fill-in
            self._factor = splu(sp.csc_matrix(left), permc_spec=order)
        return self._operator, self._factor

    def _assembled(self, c: float) -> sp.csr_array:
        with torch.no_grad():
            b, a = (part.numpy() for part in self.coefficients(c))
        if not (np.isfinite(b).all() and np.isfinite(a).all()):
            where = self.grid.nodes[~(np.isfinite(b).all(1) & np.isfinite(a).all((1, 2)))][0]
            raise DataError(f"field of step {self.k} at {where.tolist()}", got="numbers that are not finite",
                            expected="finite ones on the whole grid", do="Give a smaller domain.")  # fmt: skip
        grid = self.grid
        parts = [sp.diags_array(np.maximum(b[:, i], 0)) @ up + sp.diags_array(np.minimum(b[:, i], 0)) @ down +
                 sp.diags_array(a[:, i, i] / 2) @ second
                 for i, (up, down, second) in enumerate(zip(grid.up, grid.down, grid.second, strict=True))]  # fmt: skip
        if len(parts) == 2:
            parts.append(sp.diags_array(a[:, 0, 1]) @ grid.mixed)
        self._towards = b > 0
        return sp.csr_array(sum(parts[1:], parts[0]))

    def _gather(self, left: Array, right: Array, drift: Array, covariance: Array) -> None:
        """Adds the derivatives of left . A right in the coefficients of A."""
        grid = self.grid
        for i, (up, down, second) in enumerate(zip(grid.up, grid.down, grid.second, strict=True)):
            drift[:, i] += left * np.where(self._towards[:, i], up @ right, down @ right)
            covariance[:, i, i] += left * (second @ right) / 2
        if len(grid.shape) == 2:
            mixed = left * (grid.mixed @ right) / 2
            covariance[:, 0, 1] += mixed
            covariance[:, 1, 0] += mixed
