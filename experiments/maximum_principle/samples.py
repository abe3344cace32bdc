"""The samples of this folder: the authors' splits, pixels in [0, 1]."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from experiments.growth.cifar import batch
from node_oc.data import Split, idx, prepare
from node_oc.data.prepare import Rows

VALIDATION = 5_000


def mnist(folder: Path, train: int = 55_000) -> Split:
    """The first 55,000 (or fewer) images of the official order train, the last 5,000 validate, 10,000 test."""
    read = idx(folder)

    def pixels(x: Tensor) -> np.ndarray:
        return read.x_scale.undo(x.double()).round().numpy()

    x, y = np.concatenate([pixels(read.train.x), pixels(read.val.x)]), np.concatenate([read.train.y, read.val.y])
    return _split(Rows(x, y), Rows(pixels(read.test.x), read.test.y.numpy()), train)


def cifar(folder: Path, train: int = 45_000) -> Split:
    """CIFAR-10 as experiments.growth.cifar reads it: the first images train, the last 5,000 validate, 10,000 test."""
    known = np.load(folder / "labels.npz") if (folder / "labels.npz").exists() else {}
    parts = [batch(folder, f"data_batch_{i + 1}", known["train"][10000 * i : 10000 * (i + 1)] if known else None)
             for i in range(5)]  # fmt: skip
    x, y = (np.concatenate(values) for values in zip(*parts, strict=True))
    return _split(Rows(x, y), Rows(*batch(folder, "test_batch", known["test"] if known else None)), train)


def _split(known: Rows, test: Rows, train: int) -> Split:
    parts = Rows(known.x[:train], known.y[:train]), Rows(known.x[-VALIDATION:], known.y[-VALIDATION:]), test
    features = tuple(f"pixel_{i}" for i in range(known.x.shape[1]))
    return prepare(*(Rows(part.x / 255, part.y) for part in parts), task="classification", features=features,
                   standardise="none")  # fmt: skip
