"""The equation marched backwards from layer to layer, and derivatives of its solution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from node_oc.diagnosis.kolmogorov.grid import Array, Grid
from node_oc.diagnosis.kolmogorov.layer import Layer
from node_oc.discretization.limit import LimitSDE
from node_oc.errors import DataError

Terminal = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class March:
    """v_t + b.grad v + (1/2) tr(a grad^2 v) = 0 on [0, T], v(T) = phi, on a grid.

    Attributes:
        sde: whose equation it is.
        terminal: phi, states (n, d) to numbers (n,).
        grid: of states.
        steps: of time in each layer.
        smooth: whether phi is; see :class:`Layer`.
    """

    sde: LimitSDE
    terminal: Terminal
    grid: Grid
    steps: tuple[int, ...]
    smooth: bool

    def layer(self, k: int) -> Layer:
        """One layer; sleeping ones are passed over by whoever asks."""
        return Layer(self.sde, k, self.grid, self.steps[k], k == self._last and not self.smooth)

    @property
    def _last(self) -> int:
        return max(self.sde.network.awake, default=-1)

    def end(self) -> Tensor:
        """phi at the nodes, (n,), float64.

        Raises:
            DataError: another shape than (n,), or numbers that are not finite.
        """
        like = next(self.sde.parameters(), torch.zeros((), dtype=torch.float64))
        nodes = torch.from_numpy(self.grid.nodes).to(like)
        value = self.terminal(nodes)
        if not isinstance(value, Tensor) or value.shape != (len(nodes),):
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise DataError("terminal functional", got=got, expected=f"a tensor of shape ({len(nodes)},), one a state",
                            do="Reduce over the entries of a state, not over states.")  # fmt: skip
        if not bool(value.isfinite().all()):
            wrong = int((~value.isfinite()).nonzero()[0])
            raise DataError(f"terminal functional at {self.grid.nodes[wrong].tolist()}", got=float(value[wrong]),
                            expected="a finite number",
                            do="Bound it where no path goes, or give a smaller domain.")  # fmt: skip
        return value.double().cpu()

    def solve(self) -> Array:
        """Values at t_0..t_N, (N + 1, nodes of the first axis, ..)."""
        with torch.no_grad():
            values = [self.end().numpy()]
        for k in reversed(range(len(self.steps))):
            values.append(self.layer(k).back(values[-1])[-1] if k in self.sde.network.awake else values[-1])
        return np.stack(values[::-1]).reshape(-1, *self.grid.shape)

    @torch.inference_mode(False)
    @torch.enable_grad()
    def gradient(self, values: Array, weights: Array) -> dict[str, Tensor]:
        """d/du of ``weights . v(t_0)`` in every parameter of the SDE by name: the exact one of the discrete solution.

        Weights w_k = (dv_0/dv_k)^T w_0 are marched forward; they are the law of X_k on the grid. Their products with
        first and second differences of v are the derivatives in b and a at the nodes, the rest is autograd.

        Args:
            values: from :meth:`solve`.
            weights: (n,) at t_0.
        """
        named = {name: p for name, p in self.sde.named_parameters() if p.requires_grad}
        total = {name: torch.zeros_like(p) for name, p in named.items()}

        def add(value: Tensor) -> None:
            if value.requires_grad:
                found = torch.autograd.grad(value, list(named.values()), allow_unused=True)
                for name, part in zip(named, found, strict=True):
                    if part is not None:
                        total[name] += part

        for k in range(len(self.steps)):
            if k not in self.sde.network.awake:
                continue
            layer = self.layer(k)
            weights, shares = layer.adjoint(layer.back(values[k + 1].ravel()), weights)
            for c, drift, covariance in shares:
                b, a = layer.coefficients(c)
                add((b * torch.from_numpy(drift)).sum() + (a * torch.from_numpy(covariance)).sum())
        add((self.end() * torch.from_numpy(weights)).sum())
        return total
