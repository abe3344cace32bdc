"""The statistics of experiments/noise/study.py, and its samples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from experiments.noise.samples import balanced, load
from experiments.noise.study_table import corrected, differences, holm, p_value


def test_holm_multiplies_by_what_is_left_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.4]) == pytest.approx([0.9, 0.8])
    assert holm([0.01, math.nan])[0] == pytest.approx(0.01)  # what could not be tested is no comparison


def test_p_value_of_paired_differences() -> None:
    # Mean 2, standard deviation 1, n = 3: t = 2 sqrt(3), and with two degrees of freedom p = 1 - t / sqrt(2 + t^2).
    assert p_value([1.0, 2.0, 3.0]) == pytest.approx(1 - math.sqrt(12 / 14))
    assert p_value([0.0, 0.0]) == 1
    assert p_value([1.0, 1.0, 1.0]) == 0.25
    assert math.isnan(p_value([1.0]))


def test_differences_are_paired_by_seed_and_all_comparisons_of_a_measure_are_one_family() -> None:
    rows = [{"set": name, "cost": "stage", "keep": 0.8, "mode": mode, "seed": seed, "accuracy": value}
            for name in ("a", "b") for mode, values in (("none", (1.0, 2.0, 4.0)), ("noise", (2.0, 4.0)))
            for seed, value in enumerate(values)]  # fmt: skip
    assert differences(rows[:5], "noise", "none", "accuracy") == [1, 2]
    single = p_value([1, 2])
    assert list(corrected(rows, "accuracy").values()) == pytest.approx([2 * single] * 2)


def test_samples_are_balanced_and_apart() -> None:
    assert balanced(np.array([0, 0, 0, 1, 1, 1]), np.array([5, 2, 0, 3, 1, 4]), 4).tolist() == [0, 2, 3, 5]
    split = load("digits", 200, 0, None)
    assert split.train.y.bincount().tolist() == [20] * 10
    assert (len(split.val), len(split.test)) == (300, 1797 - 500)
    rows = {tuple(x.tolist()) for part in (split.train, split.val, split.test) for x in part.x}
    assert len(rows) == 1797
