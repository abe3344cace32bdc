"""The slope of errors against step sizes in a log-log picture, with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

LEAST = 3  # points of a line
TELLS = 0.5  # half-width from which on an interval does not tell two orders apart


@dataclass(frozen=True)
class Line:
    """A slope with its interval.

    Attributes:
        slope, low, high: of the line, and its limits.
    """

    slope: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval."""
        return (self.high - self.low) / 2


def resolved(
    errors: Sequence[float], noise: Sequence[float], bias: Sequence[float], confidence: float
) -> tuple[bool, ...]:
    """Which errors are larger than what they are known to: quantile times standard error, and bias.

    Args:
        errors: one for each h.
        noise: their standard errors.
        bias: limits of what is not random in them.
        confidence: two-sided.
    """
    q = float(norm.ppf((1 + confidence) / 2))
    return tuple(abs(e) > q * s + b for e, s, b in zip(errors, noise, bias, strict=True))


def line(
    h: Sequence[float], errors: Sequence[float], noise: Sequence[float], bias: Sequence[float], confidence: float
) -> Line | None:
    """Least squares of log error against log h, all points alike; None with fewer than three points.

    The interval is the wider one of two, plus what the biases can do at worst: of the errors' own noise, which is
    known; and of the points' distance from the line, with m - 2 degrees of freedom. The latter has the curvature of the
    errors in it, which is the one thing that an exact measurement leaves.

    Args:
        h, errors, noise, bias: of the points that are resolved.
        confidence: two-sided.
    """
    m = len(h)
    if m < LEAST:
        return None
    x, y = np.log(np.asarray(h, dtype=float)), np.log(np.abs(np.asarray(errors, dtype=float)))
    c = (x - x.mean()) / float(((x - x.mean()) ** 2).sum())
    slope = float(c @ y)
    off = y - y.mean() - slope * (x - x.mean())
    size = np.abs(np.asarray(errors, dtype=float))
    known = float(norm.ppf((1 + confidence) / 2)) * math.sqrt(float(((c * np.asarray(noise) / size) ** 2).sum()))
    seen = float(student.ppf((1 + confidence) / 2, m - 2)) * math.sqrt(float(off @ off) / (m - 2) * float(c @ c))
    half = max(known, seen) + float((np.abs(c) * np.asarray(bias) / size).sum())
    return Line(slope, slope - half, slope + half)
