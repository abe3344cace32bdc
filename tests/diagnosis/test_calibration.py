"""Calibration against numbers by hand and scikit-learn's curve."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from node_oc.diagnosis import calibration
from node_oc.diagnosis.calibration import in_bins
from node_oc.errors import ConfigError, DataError, ShapeError


def two(confidence: list[float]) -> np.ndarray:
    """Rows of two classes, class 0 predicted with these confidences."""
    p = np.array(confidence)
    return np.stack([p, 1 - p], 1)


def test_by_hand() -> None:
    p = two([0.9, 0.9, 0.9, 0.9, 0.6, 0.6])
    found = calibration(p, np.array([0, 0, 0, 1, 0, 1]))  # bins of 0.9: 3 of 4 right; of 0.6: 1 of 2
    assert [(b.count, round(b.accuracy, 12)) for b in found.bins] == [(2, 0.5), (4, 0.75)]
    assert found.ece == pytest.approx(4 / 6 * 0.15 + 2 / 6 * 0.1)
    assert found.brier == pytest.approx((3 * 2 * 0.1**2 + 2 * 0.9**2 + 2 * 0.4**2 + 2 * 0.6**2) / 6)
    assert found.nll == pytest.approx(-(3 * math.log(0.9) + math.log(0.1) + math.log(0.6) + math.log(0.4)) / 6)
    assert (found.confidence, found.accuracy) == pytest.approx((0.8, 4 / 6))
    terms = np.array([0.9 - 1] * 3 + [0.9, 0.6 - 1, 0.6])  # every bin is too sure: the sign is 1
    half = 1.959964 * terms.std(ddof=1) / math.sqrt(6)
    assert (found.low, found.high) == pytest.approx((max(0, found.ece - half), found.ece + half))
    variance = np.array([2 * 0.24, 4 * 0.09]) / 36
    assert found.chance == pytest.approx(np.sqrt(2 * variance / math.pi).sum())
    wilson = (0.5 + 1.959964**2 / 4) / (1 + 1.959964**2 / 2)
    assert (found.bins[0].low + found.bins[0].high) / 2 == pytest.approx(wilson)


def test_sure_and_right_has_no_error_and_sure_and_wrong_all_of_it() -> None:
    p = two([1.0] * 20)
    right, wrong = (calibration(p, np.full(20, label)) for label in (0, 1))
    assert (right.ece, right.low, right.high, right.brier, right.nll, right.chance) == (0, 0, 0, 0, 0, 0)
    assert not right.resolved
    assert (wrong.ece, wrong.brier, wrong.ece_equal_counts) == (1, 2, 1)
    assert math.isfinite(wrong.nll)
    assert "too sure" in wrong.sentence


@pytest.mark.parametrize(("kind", "strategy"), [("width", "uniform"), ("count", "quantile")])
def test_bins_are_those_of_scikit_learn(kind: str, strategy: str) -> None:
    rng = np.random.default_rng(0)
    sure = rng.random(405)
    right = (rng.random(405) < sure).astype(float)
    share, mean = calibration_curve(right, sure, n_bins=15, strategy=strategy)
    place = in_bins(sure, 15, kind)  # type: ignore[arg-type]
    found = [(right[place == b].mean(), sure[place == b].mean()) for b in np.unique(place)]
    np.testing.assert_allclose(found, np.stack([share, mean], 1), rtol=1e-12)


def test_ties_share_a_bin_of_equal_count() -> None:
    assert len(np.unique(in_bins(np.full(100, 0.7), 15, "count"))) == 1


def test_what_perfect_calibration_shows_is_foretold() -> None:
    rng = np.random.default_rng(1)
    p = two((0.5 + 0.5 * rng.random(1000)).tolist())
    drawn = [calibration(p, (rng.random(1000) > p[:, 0]).astype(int)) for _ in range(100)]
    ece = np.array([each.ece for each in drawn])
    assert abs(ece.mean() / drawn[0].chance - 1) < 0.08
    assert sum(each.resolved for each in drawn) <= 7  # 1 in the mean
    assert "not told from perfect calibration" in next(each for each in drawn if not each.resolved).sentence


def test_soft_targets_are_not_sure_enough() -> None:
    found = calibration(two([0.9] * 500), np.zeros(500, dtype=int))
    assert found.resolved
    assert found.sentence.startswith("ECE 0.1000 (0.1000 to 0.1000)")
    assert "not sure enough" in found.sentence


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(DataError, match="softmax"):
        calibration(np.array([[2.0, -1.0]]), np.array([0]))
    with pytest.raises(DataError, match="softmax"):
        calibration(np.array([[0.2, 0.2]]), np.array([0]))
    for p, y in ((np.zeros((0, 2)), np.zeros(0)), (two([0.5]), np.zeros(2))):
        with pytest.raises(ShapeError, match="one row"):
            calibration(p, y)


def test_labels_that_are_no_classes_are_refused() -> None:
    p = two([0.9, 0.2, 0.7])
    for wrong in ([-1, 0, 1], [0, 1, 2], [0.0, 1.0, 0.0]):
        with pytest.raises(DataError, match=r"labels.*integers 0\.\.1"):
            calibration(p, np.array(wrong))
    with pytest.raises(ConfigError, match="at least 1"):
        calibration(p, np.array([0, 1, 1]), bins=0)
