"""What a solve is asked for, checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch

from node_oc.diagnosis.kolmogorov.coefficients import coefficients
from node_oc.diagnosis.kolmogorov.grid import Box
from node_oc.discretization.limit import LimitSDE
from node_oc.errors import ConfigError, ShapeError

POINTS = {1: 513, 2: 97}  # nodes along an axis
INSTEAD = "Estimate v(0, x) by Monte Carlo instead: the mean of phi over paths from x."

Intervals = Sequence[float] | Sequence[Sequence[float]]


def box(name: str, given: Intervals) -> Box:
    """One or two intervals. Raises ConfigError on empty ones, ShapeError on more than two."""
    try:
        pairs = np.array(given, dtype=float)
    except (TypeError, ValueError):
        pairs = np.zeros(0)
    pairs = pairs[None] if pairs.ndim == 1 else pairs
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise ConfigError(name, got=given, expected="(low, high), or two such pairs",
                          do="Give the ends along each axis.")  # fmt: skip
    if len(pairs) > 2:
        raise ShapeError("state dimensions", got=len(pairs), expected="1 or 2, since a grid of more has too many nodes",
                         do=INSTEAD)  # fmt: skip
    if not (np.isfinite(pairs).all() and (pairs[:, 0] < pairs[:, 1]).all()):
        raise ConfigError(name, got=given, expected="low < high, finite", do="Correct the ends.")
    return cast(Box, tuple(map(tuple, pairs.tolist())))


def check_states(sde: LimitSDE, d: int) -> None:
    """Raise ShapeError unless states are vectors of d = 1 or 2 entries."""
    size = math.prod(sde.shape) if sde.shape else getattr(sde.system, "width", d)
    if len(sde.shape) > 1 or size > 2:
        raise ShapeError("state", got=f"{'x'.join(map(str, sde.shape)) or size} entries", expected="a vector of 1 or 2",
                         do=INSTEAD)  # fmt: skip
    like = next(sde.parameters(), torch.zeros((), dtype=torch.float64))
    try:
        with torch.no_grad():
            for k in sde.network.awake[:1]:
                size = coefficients(sde, k, 0.5, like.new_zeros(2, d))[0].shape[1]
    except RuntimeError:  # a matrix of another size
        size = -1
    if size != d:
        raise ShapeError("region", got=f"{d} interval{'s' * (d > 1)}", expected="one for every entry of the state",
                         do="Give as many as the state has entries, 1 or 2. " + INSTEAD)  # fmt: skip


def check_domain(region: Box, core: Box) -> None:
    """Raise ConfigError unless the core holds the region."""
    if len(core) != len(region) or any(c > low or e < high for (low, high), (c, e) in zip(region, core)):
        raise ConfigError("domain", got=core, expected=f"a box around the region {region}",
                          do="Widen it, or leave it out.")  # fmt: skip


def numbers(d: int, points: int | None, steps: int | None) -> int:
    """Nodes along an axis. Raises ConfigError on those, or steps, that cannot be halved twice."""
    points = POINTS[d] if points is None else points
    if points < 17 or points % 4 != 1:
        raise ConfigError("points", got=points, expected="4 m + 1, at least 17, to be halved twice",
                          do=f"Take {max(4 * (points // 4) + 1, 17)}.")  # fmt: skip
    if steps is not None and (steps < 4 or steps % 4):
        raise ConfigError("steps", got=steps, expected="a multiple of 4, to be halved twice",
                          do=f"Take {max(4 * (steps // 4), 4)}.")  # fmt: skip
    return points
