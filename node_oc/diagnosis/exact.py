"""Exact errors of means, noisy network against SDE: of polynomials, where branches are affine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from node_oc.diagnosis.moments import (
    LARGEST,
    Functional,
    Polynomial,
    is_affine,
    network_moment,
    polynomial,
    sde_moment,
    starting,
    thinned,
)
from node_oc.discretization.limit import limit_sde
from node_oc.discretization.network import Network
from node_oc.discretization.noise import Noise


def exact_errors(
    network: Network, noise: Noise, against: Noise, order: Literal[1, 2], functional: int | Functional,
    start: Tensor, halvings: Sequence[int],
) -> list[tuple[float, float, float, float]] | None:  # fmt: skip
    """Largest step h, error, what rounding makes of it, and no bias, for each number of halvings; None where not exact.

    Args:
        network: float64.
        noise: on its system; ``against`` is that of the SDE.
        order: of the SDE.
        functional: a function of states (S, ...) to (S,), or the degree of all moments together.
        start: states (B, ...) at time 0.
        halvings: how often every step is halved.
    """
    shape, read = start.shape[1:], _reader(functional, start.shape[1:])
    if read is None or not is_affine(network, shape):
        return None
    n = read if isinstance(read, int) else read.degree
    rows, before = [], starting(start, n)
    for m in halvings:
        thin = thinned(network, 2**m)
        after = network_moment(thin, noise, before, n, shape, 2**m)
        if after is None:
            return None
        limit = sde_moment(limit_sde(thin, against, order), before, n, shape, 2**m)
        rows.append((max(thin.h), *_compared(after, limit, read, n, shape, 2**m * network.depth)))
    return rows


def _reader(functional: int | Functional, shape: Sequence[int]) -> int | Polynomial | None:
    if isinstance(functional, int):
        return functional if (math.prod(shape) + 1) ** functional <= LARGEST else None
    return polynomial(functional, shape)


def _compared(
    after: Tensor, limit: Tensor, read: int | Polynomial, n: int, shape: Sequence[int], depth: int
) -> tuple[float, float, float]:
    """Error, what rounding makes of it, and no bias."""
    full = (math.prod(shape) + 1,) * n
    a, b = (each.unflatten(0, full) for each in (after, limit))
    if isinstance(read, int):
        for i in range(n):
            a, b = a.narrow(i, 1, full[0] - 1), b.narrow(i, 1, full[0] - 1)
        error, size = float((a - b).norm()), float(b.norm())
    else:
        error = abs(read.mean(a) - read.mean(b))
        size = replace(read, coefficients=read.coefficients.abs()).mean(b.abs())
    return error, torch.finfo(torch.float64).eps * depth * size, 0.0
