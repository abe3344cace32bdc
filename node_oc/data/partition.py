"""Rows of one table into training, validation and test rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from node_oc.errors import DataError

Index = NDArray[np.int64]


class Partition(NamedTuple):
    """Row numbers of each part; together they are 0..n-1, each once."""

    train: Index
    val: Index
    test: Index


def partition(
    n: int,
    strata: Index | None,
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Partition:
    """Draw the three parts at random, with scikit-learn's ``train_test_split``.

    Args:
        n: number of rows.
        strata: class index of each row, (n,): every part gets the classes in the proportion of the whole.
            None draws without regard to classes (regression).
        val_fraction: share of the rows for validation.
        test_fraction: share of the rows for the test.
        seed: the same seed gives the same parts.

    Raises:
        DataError: a fraction or the seed is out of range, or there are too few rows for three parts.
    """
    # scikit-learn takes a second to import, and the spirals do without it.
    from sklearn.model_selection import train_test_split

    if not (val_fraction > 0 and test_fraction > 0 and val_fraction + test_fraction < 1):
        raise DataError(
            "val_fraction, test_fraction",
            got=f"{val_fraction}, {test_fraction}",
            expected="two positive numbers whose sum is below 1",
            do="0.2 and 0.2 is a usual choice.",
        )
    if not 0 <= seed < 2**32:
        raise DataError("seed", got=seed, expected="an integer from 0 to 2**32 - 1", do="Use for example 0.")
    n_val, n_test = max(1, round(n * val_fraction)), max(1, round(n * test_fraction))
    try:
        rest, test = train_test_split(np.arange(n), test_size=n_test, random_state=seed, stratify=strata)
        rest_strata = None if strata is None else strata[rest]
        train, val = train_test_split(rest, test_size=n_val, random_state=seed, stratify=rest_strata)
    except ValueError as error:
        raise DataError(
            "rows",
            got=f"{n} rows that cannot be split ({error})",
            expected="every class at least once in each of the three parts",
            do="Add rows, merge or remove rare classes, or change val_fraction and test_fraction.",
        ) from error
    return Partition(train, val, test)
