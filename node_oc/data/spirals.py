"""Two spirals: the smallest problem whose classes no straight cut separates."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from node_oc.data.prepare import Rows, prepare
from node_oc.data.split import Split
from node_oc.errors import DataError


def two_spirals(n: int, turns: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw points of two interleaved spirals, without noise.

    With U uniform on [0, 1] and t = 2 pi turns sqrt(U), a point is ``±t (cos t, sin t) / (2 pi turns)``, plus
    in class 0 and minus in class 1. The radius is sqrt(U) = t / (2 pi turns), so points are spread along the
    arms as area is. After Lang and Witbrock (1988), "Learning to tell two spirals apart", where points are
    equally spaced in angle.

    Args:
        n: number of points; the classes alternate, so they are balanced (class 0 has one more when n is odd).
        turns: number of turns of each spiral, positive.
        generator: source of U, on the CPU.

    Returns:
        x, float32, (n, 2), in the unit disc; y, int64, (n,), 0 or 1.

    Raises:
        DataError: n is below 1, or turns is not a positive number.
    """
    if n < 1:
        raise DataError("number of points", got=n, expected="at least 1", do="Ask for more points.")
    if not (math.isfinite(turns) and turns > 0):
        raise DataError("turns", got=turns, expected="a positive number", do="1.5 is a usual choice.")
    y = torch.arange(n) % 2
    full = 2 * math.pi * turns
    t = full * torch.rand(n, generator=generator, dtype=torch.float64).sqrt()
    sign = 1 - 2 * y
    x = (sign * t / full)[:, None] * torch.stack([t.cos(), t.sin()], dim=1)
    return x.float(), y


def spirals(turns: float = 1.5, train: int = 1000, val: int = 10_000, test: int = 10_000, seed: int = 0) -> Split:
    """Two spirals with fresh points in each part; not standardised.

    Args:
        turns: number of turns of each spiral.
        train: number of training points, at least 2.
        val: number of validation points, at least 2.
        test: number of test points, at least 2.
        seed: the same seed gives the same points. The parts have streams of their own, so that the size of
            one does not change another, and seed 1 shares no stream with seed 0.

    Raises:
        DataError: a number is out of range.
    """
    if seed < 0:
        raise DataError("seed", got=seed, expected="a non-negative integer", do="Use for example 0.")
    # Hashed rather than seed, seed + 1, seed + 2: else the test part of seed 0 trains seed 2.
    states = np.random.SeedSequence(seed).generate_state(3, np.uint64)
    parts = []
    for n, state in zip((train, val, test), states, strict=True):
        x, y = two_spirals(n, turns, torch.Generator().manual_seed(int(state)))
        parts.append(Rows(x.numpy(), y.numpy()))
    return prepare(*parts, task="classification", features=("x1", "x2"), standardise="none")
