"""What regressions on features of a readout are made of: a continuous, piecewise linear function of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from torch import Tensor

# Of what is seen, where knots lie: closest among the doubtful samples, on whom it turns whether to go on.
QUANTILES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75)
RIDGE = 5.0  # a penalty as of so many samples, on standardised columns

Numbers = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Hinges:
    """f -> a + sum_j [s_j f_j + sum_q w_qj relu(f_j - knot_qj)]: numbers that JSON can hold, four operations of torch.

    Attributes:
        intercept: a.
        slopes: s, (F,).
        knots: (Q, F).
        weights: w, (Q, F).
    """

    intercept: float
    slopes: tuple[float, ...]
    knots: Numbers
    weights: Numbers

    @property
    def features(self) -> int | None:
        """F; None where the numbers do not fit one another, as in a file that was altered."""
        rows, size = [*self.knots, *self.weights], len(self.slopes)
        fits = len(self.knots) == len(self.weights) and all(len(row) == size for row in rows)
        return size if fits and all(map(math.isfinite, [self.intercept, *self.slopes, *chain(*rows)])) else None

    @cached_property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Slopes, knots and weights, in float32 as the features are."""
        return torch.tensor(self.slopes), torch.tensor(self.knots), torch.tensor(self.weights)

    def __call__(self, features: Tensor) -> Tensor:
        """Value of every sample, (n,), from its features (n, F)."""
        slopes, knots, weights = (t.to(features) for t in self.tensors)
        return self.intercept + features @ slopes + ((features[:, None] - knots).relu() * weights).sum((1, 2))

    def spec(self) -> list[Any]:
        """JSON-able: what makes it again."""
        return [self.intercept, list(self.slopes), [list(k) for k in self.knots], [list(w) for w in self.weights]]


def fit_hinges(features: Tensor, values: Tensor, ridge: float = RIDGE) -> tuple[list[Hinges], Tensor]:
    """Ridge regressions of C quantities on the same features, by one factorisation; and what they say there, (n, C).

    Args:
        features: (n, F).
        values: what is regressed, (n, C).
        ridge: penalty on the coefficients of standardised columns, as of so many samples.
    """
    f = features.double()
    knots = f.quantile(torch.tensor(QUANTILES, dtype=torch.float64), dim=0)  # (Q, F)
    columns = torch.cat([f, (f[:, None] - knots).relu().flatten(1)], 1)
    mean, deviation = columns.mean(0), columns.std(0, correction=0).clamp(min=1e-9)
    z, level = (columns - mean) / deviation, values.double().mean(0)
    gram = z.T @ z + ridge * torch.eye(z.shape[1], dtype=torch.float64)
    found = torch.cholesky_solve(z.T @ (values.double() - level), torch.linalg.cholesky(gram))  # (P, C)
    coefficients = found / deviation[:, None]
    intercepts = level - mean @ coefficients
    wide, shape, table = f.shape[1], knots.shape, _numbers(knots)
    fitted = [
        Hinges(float(a), tuple(w[:wide].tolist()), table, _numbers(w[wide:].view(shape)))
        for a, w in zip(intercepts, coefficients.T, strict=True)
    ]
    return fitted, z @ found + level


def _numbers(matrix: Tensor) -> Numbers:
    return tuple(tuple(row) for row in matrix.tolist())
