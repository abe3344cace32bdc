"""Standardisation z = (x - mean) / std, learnt on the training part and on nothing else."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from node_oc.data.cells import Array
from node_oc.data.split import Scale
from node_oc.errors import DataError

Standardise = Literal["feature", "global", "none"]
"""One mean and std per column; one for all (pixels share a unit); or x as it is."""

_ROWS = 8192  # rows standardised at a time: 50,000 images in float64 at once would take 300 MB


def fit_scale(x: Array, mode: Standardise) -> Scale:
    """Learn a standardisation; std is that of the population (divided by n).

    The scale is kept in float64, because a column such as a time stamp (1.7e9, std 1) has no digits left
    after its mean is subtracted in float32.

    Args:
        x: training features, (n, D), finite.
        mode: "feature" (mean and std have shape (D,)), "global" or "none" (shape (1,)).

    Raises:
        DataError: the mode is unknown, or the values are too large for their variance to be a number.
    """
    if mode not in get_args(Standardise):
        raise DataError("standardise", got=repr(mode), expected=get_args(Standardise), do="Use one of these.")
    if mode == "none":
        return Scale(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    if mode == "global":
        x = x.reshape(-1, 1)
    with np.errstate(over="ignore", invalid="ignore"):  # reported below, by name
        mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    # A column of 0.1 has a mean of 0.1 + 1e-17 and a std of 1e-17, not 0: constancy is asked of the values.
    low = x.min(axis=0).astype(np.float64)
    constant = low == x.max(axis=0)
    mean = np.where(constant, low, mean)
    std = np.where(constant | (std == 0), 1.0, std)
    if not (np.isfinite(mean).all() and np.isfinite(std).all()):
        column = int((~np.isfinite(mean) | ~np.isfinite(std)).argmax())
        raise DataError(
            f"feature {column} (the first is 0)" if mode == "feature" else "the values",
            got="values too large for a standard deviation",
            expected="values below 1e150",
            do="Give the feature in other units, or as a logarithm.",
        )
    return Scale(torch.from_numpy(mean), torch.from_numpy(std))


def standardised(x: Array, scale: Scale, what: str) -> Tensor:
    """Apply a scale in float64 and round to float32.

    Args:
        x: raw values, (n, D), finite.
        scale: from :func:`fit_scale`.
        what: the part, as the message shall name it.

    Returns:
        float32, (n, D).

    Raises:
        DataError: a standardised value is beyond float32.
    """
    z = torch.empty(x.shape, dtype=torch.float32)
    for start in range(0, len(x), _ROWS):
        rows = slice(start, start + _ROWS)
        z[rows] = scale.apply(torch.from_numpy(x[rows].astype(np.float64)))
    if not torch.isfinite(z).all():
        row, column = (int(i) for i in (~torch.isfinite(z)).nonzero()[0])
        raise DataError(
            f"{what}, row {row}, feature {column} (the first is 0)",
            got=f"{x[row, column]}",
            expected="a value below 3e38 after standardisation (float32)",
            do="Give the feature in other units, or as a logarithm.",
        )
    return z
