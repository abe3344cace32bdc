"""Means over noise by Monte Carlo, with the Taylor polynomial of the outcome in its draws as a control variate.

An outcome phi(z) of independent draws z of mean 0 and variances v has mean E phi = E[phi - c] with any c of mean 0:
here c = g . z + (z . H z - sum_i H_ii v_i) / 2, g and H being gradient and Hessian at z = 0. What is left has the size
of the third power of the noise, or of the fourth, since every draw comes with its mirrored one. An H that is wrong
costs variance and no bias, so it is taken from differences of gradients (our derivation).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Outcome = Callable[[Tensor], Tensor]
Draw = Callable[[int, int], tuple[Tensor, Tensor]]

CHUNK = 4096  # samples at a time
MOST = 2500  # draws up to which the control variate has its second-order part
APART = 1e-3  # of the standard deviation of a draw: the two points of a difference


@dataclass(frozen=True)
class Estimate:
    """A mean, and its standard error."""

    mean: float
    error: float


@dataclass(frozen=True)
class Variate:
    """The control variate c of an outcome, of mean 0.

    Attributes:
        value: phi(0), the outcome without noise.
        slope: g, (n,).
        curvature: H, (n, n); None where there are too many draws.
        variance: v, (n,).
    """

    value: float
    slope: Tensor
    curvature: Tensor | None
    variance: Tensor

    def of(self, z: Tensor) -> Tensor:
        """c of draws (S, n), (S,)."""
        linear = z @ self.slope
        if self.curvature is None:
            return linear
        trace = self.curvature.diagonal() @ self.variance
        return linear + ((z @ self.curvature * z).sum(1) - trace) / 2


def variate(outcome: Outcome, variance: Tensor) -> Variate:
    """The control variate of an outcome (S, n) -> (S,) that autograd can differentiate."""
    n, size = len(variance), APART * variance.sqrt()

    def slopes(z: Tensor) -> tuple[Tensor, Tensor]:
        z = z.requires_grad_()
        value = outcome(z)
        return value.detach(), torch.autograd.grad(value.sum(), z)[0]

    value, slope = slopes(torch.zeros(1, n, dtype=variance.dtype))
    if n > MOST:
        return Variate(float(value), slope[0], None, variance)
    rows = []
    for shift in torch.diag(size).split(CHUNK // 4):
        ahead, behind = slopes(torch.cat([shift, -shift]))[1].chunk(2)
        rows.append(ahead - behind)
    curvature = torch.cat(rows) / (2 * size[:, None])
    return Variate(float(value), slope[0], (curvature + curvature.mT) / 2, variance)


def estimate(outcome: Outcome, c: Outcome, draw: Draw, pairs: int) -> tuple[Estimate, Tensor]:
    """E phi from so many pairs of draws and mirrored draws, and the values of phi - c of each pair (pairs,).

    Args:
        outcome: phi, (S, n) -> (S,).
        c: its control variate, of mean 0.
        draw: number of a chunk and samples in it, to draws (S, n) and their mirrored ones.
        pairs: how many.
    """
    values = []
    for i, first in enumerate(range(0, pairs, CHUNK)):
        z = torch.cat(draw(i, min(CHUNK, pairs - first)))
        with torch.no_grad():
            values.append((outcome(z) - c(z)).unflatten(0, (2, -1)).mean(0))
    left = torch.cat(values)
    return Estimate(float(left.mean()), float(left.std() / math.sqrt(pairs))), left
