"""What an estimator is given: rows that count, equal ones merged, and their weighted standardisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import _check_sample_weight

from node_oc.data.split import Scale
from node_oc.errors import ConfigError, DataError

Array = NDArray[np.float64]
MERGED = 2**15  # rows up to which equal ones are merged


@dataclass(frozen=True)
class Rows:
    """Different rows, sorted, and how much each counts.

    Attributes:
        x: raw features, (n, D).
        y: class indices or raw targets as numbers, (n,).
        weight: above 0, (n,).
    """

    x: Array
    y: Array
    weight: Array

    def __len__(self) -> int:
        return len(self.x)

    def take(self, chosen: NDArray[Any]) -> Rows:
        """Some of the rows, by number."""
        return Rows(self.x[chosen], self.y[chosen], self.weight[chosen])


def sample_weights(weight: Any, x: Array) -> Array:
    """Sample weights as numbers at least 0, (n,); ones if None.

    Raises:
        DataError: a negative one, zero throughout, or a sum that overflows.
        ValueError: another number of them than of rows, NaN (scikit-learn's own).
    """
    checked: Array = np.ones(len(x)) if weight is None else np.asarray(weight, dtype=np.float64)
    if checked.ndim != 1 or len(checked) != len(x) or not np.isfinite(checked).all():
        checked = _check_sample_weight(checked, x, dtype=np.float64)
    if (checked < 0).any() or not (checked > 0).any():
        raise DataError("sample_weight", got="negative weights" if (checked < 0).any() else "weights that are all zero",
                        expected="numbers >= 0, one > 0", do="A weight of zero leaves a row out.")  # fmt: skip
    with np.errstate(over="ignore"):  # reported in words
        total = checked.sum()
    if not np.isfinite(total):
        raise DataError("sample_weight", got="weights whose sum overflows", expected="a finite sum",
                        do="Divide them by their largest: only their ratios count.")  # fmt: skip
    return checked


def class_weights(rule: Any, classes: NDArray[Any], index: NDArray[Any], weight: Array) -> Array:
    """Weight of every class, (K,).

    Args:
        rule: None; "balanced", sum of all weights over K times the sum of the class's own; or a mapping label ->
            number, 1 for the labels that it leaves out.
        classes: labels, (K,).
        index: class index of each row, (n,).
        weight: sample weights, (n,).

    Raises:
        ConfigError: another rule, a number below 0, or a mapping that leaves labels out and has others instead.
    """
    if rule is None:
        return np.ones(len(classes))
    if isinstance(rule, str) and rule == "balanced":
        return weight.sum() / (len(classes) * np.bincount(index, weight, len(classes)))
    if isinstance(rule, Mapping) and (left := set(classes.tolist()) - set(rule)) and set(rule) - set(classes.tolist()):
        raise ConfigError("class_weight", got=repr(rule), expected=f"weights of {sorted(left)}",
                          do="Correct the labels.")  # fmt: skip
    found = np.array([rule.get(c, 1.0) for c in classes.tolist()]) if isinstance(rule, Mapping) else np.full(1, np.nan)
    if not (np.isfinite(found).all() and (found >= 0).all()):
        raise ConfigError("class_weight", got=repr(rule), expected='None, "balanced", or {label: number >= 0}',
                          do="Correct it.")  # fmt: skip
    return found


def merged(x: Array, y: NDArray[Any], weight: Array) -> Rows:
    """Rows of weight 0 dropped, equal ones (features and target) merged, their weights summed, all sorted.

    So a set is what it contains: a weight of 2 and a repeated row, or another order of rows, are the same input to the
    last bit. Without it they would agree to rounding only, which hundreds of updates amplify. More than 2^15 rows are
    left as they are: no batch holds them all, and sorting them takes its time.
    """
    counts = weight > 0
    if counts.sum() > MERGED:
        return Rows(x[counts], y[counts].astype(np.float64), weight[counts])
    table = np.column_stack([x[counts], y[counts].astype(np.float64)]) + 0.0  # -0 and 0 are one number
    rows, place = np.unique(table, axis=0, return_inverse=True)
    summed = np.bincount(place.reshape(-1), weight[counts], len(rows)).astype(np.float64)
    return Rows(rows[:, :-1].copy(), rows[:, -1].copy(), summed)


def weighted_scale(values: Array, weight: Array) -> Scale:
    """Weighted mean and standard deviation (of the population) of each column; std 1 where nothing varies.

    Args:
        values: (n, D).
        weight: (n,), above 0.

    Raises:
        DataError: values too large for a standard deviation.
    """
    share = (weight / weight.sum())[:, None]
    low = values.min(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):  # reported below
        mean = (share * values).sum(axis=0)
        std = np.sqrt((share * (values - mean) ** 2).sum(axis=0))
    constant = low == values.max(axis=0)
    mean, std = np.where(constant, low, mean), np.where(constant | (std == 0), 1.0, std)
    if not (np.isfinite(mean).all() and np.isfinite(std).all()):
        raise DataError("the values", got="values too large for a standard deviation", expected="values below 1e150",
                        do="Give them in other units, or as a logarithm.")  # fmt: skip
    return Scale(torch.from_numpy(mean), torch.from_numpy(std))
