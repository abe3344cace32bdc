"""An upper limit for the mean of a paired loss, valid at finite n: the certificate of a cropped network."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from node_oc.errors import ConfigError, DataError

# Bets as a share of the largest admissible one; an even mixture is honest because it is chosen before the data.
BETS = (np.arange(50) + 0.5) / 50


def log_capital(values: NDArray, counts: NDArray, mean: float, high: float) -> float:
    """Log wealth of an even mixture of bets against "the mean is at least ``mean``".

    Bet lambda pays prod_i (1 + lambda (mean - d_i)), 0 <= lambda <= 1/(high - mean): a supermartingale under
    the hypothesis (Waudby-Smith and Ramdas, betting; the mixture is ours). Increasing in ``mean``.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.log1p(BETS[:, None] / (high - mean) * (mean - values))
    return float(logsumexp(growth @ counts) - math.log(len(BETS)))


def upper_limit(d: ArrayLike, confidence: float = 0.95, low: float = -1.0, high: float = 1.0) -> float:
    """One-sided upper confidence limit for E[d], exact at finite n for bounded d.

    Args:
        d: observations in [low, high], (n,). For a certificate: loss of the cropped network less loss of the
            reference on the same sample, in {-1, 0, 1} for classification.
        confidence: 1 - alpha.

    Returns:
        The largest mean that the bets do not reject at level alpha, at most ``high``.

    Raises:
        DataError: no observations, or one outside [low, high].
        ConfigError: a confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ConfigError("confidence", got=confidence, expected="a number in (0, 1)", do="0.95 is usual.")
    values, counts = np.unique(np.asarray(d, dtype=np.float64), return_counts=True)
    if not len(values) or values[0] < low or values[-1] > high or not np.isfinite(values).all():
        raise DataError("paired losses", got=f"{counts.sum()} values in {values[:1]}..{values[-1:]}",
                        expected=f"at least one finite value in [{low}, {high}]", do="Check the losses.")  # fmt: skip
    return _limit(values, counts.astype(np.float64), confidence, low, high)


def _limit(values: NDArray, counts: NDArray, confidence: float, low: float, high: float) -> float:
    target = -math.log1p(-confidence)
    below, above = low, high  # below is not rejected (no bet can win there), above bounds every mean
    for _ in range(60):
        middle = (below + above) / 2
        if log_capital(values, counts, middle, high) >= target:
            above = middle
        else:
            below = middle
    return above


@dataclass(frozen=True)
class Certificate:
    """What a held-out half says about one cropped network.

    Attributes:
        mean: mean paired loss on the half.
        limit: upper limit for its expectation at the confidence.
        budget: what it has to stay within.
        n: samples in the half.
        needed: samples that would do at the same rates, about; None if the mean itself is over the budget.
    """

    mean: float
    limit: float
    budget: float
    n: int
    needed: int | None

    @property
    def holds(self) -> bool:
        """Whether the limit is within the budget."""
        return self.limit <= self.budget


def certify(d: ArrayLike, budget: float, confidence: float = 0.95, low: float = -1.0, high: float = 1.0) -> Certificate:
    """Certificate for one network from paired losses; see :func:`upper_limit`.

    Args:
        d: paired losses on samples that did not choose the network, (n,), in [low, high].
        budget: what their expectation has to stay within, in the unit of d.
        confidence: 1 - alpha, of this one limit.
        low: least possible d.
        high: largest possible d.

    Raises:
        DataError: as :func:`upper_limit`.
    """
    d = np.asarray(d, dtype=np.float64)
    limit = upper_limit(d, confidence, low, high)
    values, counts = np.unique(d, return_counts=True)
    needed: int | None = len(d)
    if limit > budget:
        needed = None
        factor = 1.0
        while d.mean() < budget and factor < 1e6:
            factor *= 1.1
            if _limit(values, counts * factor, confidence, low, high) <= budget:
                needed = math.ceil(len(d) * factor)
                break
    return Certificate(float(d.mean()), limit, budget, len(d), needed)
