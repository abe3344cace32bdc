"""Handwritten digits, 8 x 8, that come with scikit-learn: images without a download."""

from __future__ import annotations

from node_oc.data.prepare import Rows, prepare_rows
from node_oc.data.split import Split


def digits(seed: int = 0) -> Split:
    """The 1797 digits (UCI, "Optical recognition of handwritten digits", test part), 60/20/20 by class.

    Pixels are standardised with one mean and std, since they share a unit.

    Args:
        seed: the same seed gives the same parts.

    Raises:
        DataError: the seed is out of range.
    """
    from sklearn.datasets import load_digits  # slow to import

    x, y = load_digits(return_X_y=True)
    features = tuple(f"pixel_{i}" for i in range(x.shape[1]))
    return prepare_rows(Rows(x, y), task="classification", features=features, standardise="global", seed=seed)
