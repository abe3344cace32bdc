"""Calibration: of the predictions made with confidence c, is a share c right?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from node_oc.errors import ConfigError, DataError, ShapeError

Array = NDArray[np.float64]
BINS = 15
Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class Bin:
    """The predictions whose confidence lies in one bin.

    Attributes:
        confidence: its mean.
        accuracy: share of them that is right.
        count: how many there are.
        low, high: ends of a 95 % interval of the accuracy (Wilson).
    """

    confidence: float
    accuracy: float
    count: int
    low: float
    high: float


@dataclass(frozen=True)
class Calibration:
    """How far confidence is from accuracy.

    Attributes:
        ece: expected calibration error, sum over the bins of (count/n) |accuracy - confidence|, in 15 bins of equal
            width (Guo et al., arXiv 1706.04599): what the literature calls ECE.
        low, high: ends of its 95 % interval by the delta method, at the signs that the bins have.
        chance: the ECE that predictions of these confidences have on average if they are perfectly calibrated, for
            |accuracy - confidence| is never below 0 in a sample.
        resolved: whether ``ece`` is above what perfect calibration would give in 99 of 100 samples.
        ece_equal_counts: the same error in 15 bins of equal count, which confidences near 1 do not crowd.
        brier: mean of sum_k (p_k - 1{k is the class})^2, 0..2.
        nll: mean of -log p of the class, in nats.
        confidence: mean largest probability.
        accuracy: share that is right.
        bins: those of equal width, the empty ones left out.
        samples: n.
    """

    ece: float
    low: float
    high: float
    chance: float
    resolved: bool
    ece_equal_counts: float
    brier: float
    nll: float
    confidence: float
    accuracy: float
    bins: tuple[Bin, ...]
    samples: int

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        told = f"ECE {self.ece:.4f} ({self.low:.4f} to {self.high:.4f})"
        if not self.resolved:
            return f"{told}, not told from perfect calibration, which would show {self.chance:.4f} here."
        way = "too sure" if self.confidence > self.accuracy else "not sure enough"
        return (f"{told}; perfect calibration would show {self.chance:.4f}: on average {way}, "
                f"confidence {self.confidence:.3f} at accuracy {self.accuracy:.3f}.")  # fmt: skip


def calibration(probabilities: Array, labels: NDArray[np.int64], bins: int = BINS) -> Calibration:
    """Expected calibration error of the largest probability, Brier score, negative log-likelihood.

    Args:
        probabilities: (n, K), rows that sum to 1.
        labels: class indices, (n,).
        bins: how many.

    Raises:
        ShapeError: no samples, or as many labels as rows do not match.
        ConfigError: no bins.
        DataError: numbers that are no probabilities, or labels that are no classes.
    """
    if bins < 1:
        raise ConfigError("bins", got=bins, expected="at least 1", do="15 are usual.")
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if p.ndim != 2 or not len(p) or y.shape != p.shape[:1]:
        raise ShapeError("probabilities and labels", got=f"{p.shape} and {y.shape}", expected="(n, K) and (n,), n >= 1",
                         do="Give one row of probabilities for each label.")  # fmt: skip
    if not (np.isfinite(p).all() and p.min() >= -1e-9 and np.allclose(p.sum(1), 1, atol=1e-4)):
        raise DataError("probabilities", got=f"from {p.min():.3g} to {p.max():.3g}, rows that sum to "
                        f"{p.sum(1).min():.4g} or {p.sum(1).max():.4g}", expected="rows >= 0 that sum to 1",
                        do="Take a softmax of logits first.")  # fmt: skip
    if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= p.shape[1]:
        raise DataError("labels", got=f"{y.dtype}, {y.min()} to {y.max()}", expected=f"integers 0..{p.shape[1] - 1}",
                        do="Give class indices.")  # fmt: skip
    confidence, right = p.max(1), (p.argmax(1) == y).astype(np.float64)
    n, of_class = len(p), p[np.arange(len(p)), y]
    place = in_bins(confidence, bins, "width")
    gap = np.bincount(place, confidence - right, bins) / n  # of each bin, times its share
    # |mean of a bin| is, at the sign that it has, a mean over all samples: the delta method.
    terms = np.sign(gap)[place] * (confidence - right)
    ece = float(np.abs(gap).sum())
    half = Z * float(terms.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    # Perfectly calibrated, a bin's gap is nearly normal of mean 0 and this variance (our derivation).
    variance = np.bincount(place, confidence * (1 - confidence), bins) / n**2
    chance = float(np.sqrt(2 * variance / np.pi).sum())
    most = chance + 2.326 * math.sqrt(float(variance.sum()) * (1 - 2 / math.pi))
    return Calibration(
        ece, max(0.0, ece - half), min(1.0, ece + half), chance, ece > most, _ece(confidence, right, bins, "count"),
        float(((p**2).sum(1) - 2 * of_class + 1).mean()),
        float(-np.log(np.maximum(of_class, np.finfo(np.float64).tiny)).mean()),
        float(confidence.mean()), float(right.mean()),
        tuple(_bin(confidence[place == b], right[place == b]) for b in np.unique(place)), n,
    )  # fmt: skip


def in_bins(confidence: Array, bins: int, kind: Literal["width", "count"]) -> NDArray[np.int64]:
    """The bin 0..bins-1 of each confidence, (n,): bins of equal width, or of equal count where ties stay together."""
    if kind == "width":
        edges = np.linspace(0, 1, bins + 1)[1:-1]
    else:
        edges = np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1])
    return np.searchsorted(edges, confidence, side="left")


def _ece(confidence: Array, right: Array, bins: int, kind: Literal["width", "count"]) -> float:
    place = in_bins(confidence, bins, kind)
    return float(np.abs(np.bincount(place, confidence - right, bins)).sum() / len(right))


def _bin(confidence: Array, right: Array) -> Bin:
    n, share = len(right), float(right.mean())
    middle, wide = share + Z**2 / (2 * n), Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    low, high = (middle - wide) / (1 + Z**2 / n), (middle + wide) / (1 + Z**2 / n)
    return Bin(float(confidence.mean()), share, n, max(0.0, low), min(1.0, high))
