"""Few labels: digits, MNIST and CIFAR-10, as many of every class, drawn by the seed."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.growth.cifar import batch
from node_oc.data import Split, prepare, read_idx
from node_oc.data.prepare import Rows

VALIDATION = {"digits": 300, "mnist": 1500, "cifar": 1500}  # labelled samples that choose the depth, and nothing else


def load(name: str, labels: int, seed: int, data: Path | None) -> Split:
    """As many training labels of every class; validation from the rest of the training images; the test images.

    Digits have no test images of their own: all that is left tests.

    Args:
        name: "digits", "mnist" or "cifar".
        labels: training labels, a multiple of ten; 0 for all but the validation samples.
        seed: draws them.
        data: folder of the files, for "mnist" and "cifar".
    """
    x, y, test = arrays(name, data)
    order = np.random.default_rng(seed).permutation(len(y))
    chosen = VALIDATION[name]
    first = order[:chosen] if not labels else balanced(y, order, chosen)
    rest = order[~np.isin(order, first)]
    train = balanced(y, rest, labels) if labels else rest
    if test is None:
        left = rest[~np.isin(rest, train)]
        test = Rows(x[left], y[left])
    features = tuple(f"pixel_{i}" for i in range(x.shape[1]))
    return prepare(Rows(x[train], y[train]), Rows(x[first], y[first]), test, task="classification", features=features,
                   standardise="global")  # fmt: skip


def balanced(y: NDArray[Any], order: NDArray[Any], samples: int) -> NDArray[Any]:
    """The first ``samples`` of an order, as many of each class."""
    each = samples // len(np.unique(y))
    return np.sort(np.concatenate([order[y[order] == c][:each] for c in np.unique(y)]))


@lru_cache(maxsize=1)
def arrays(name: str, data: Path | None) -> tuple[NDArray[Any], NDArray[Any], Rows | None]:
    """Training images (n, D), their classes (n,), and the test images where they are apart."""
    if name == "digits":
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        return x, y, None
    if data is None:
        raise SystemExit(f"{name} needs its files: give --data DIRECTORY, or leave it out with --sets")
    if name == "mnist":
        parts = [_idx(data, f"{part}-{kind}") for part in ("train", "t10k") for kind in ("images", "labels")]
        flat = [parts[0].reshape(len(parts[0]), -1), parts[2].reshape(len(parts[2]), -1)]
        return flat[0], parts[1], Rows(flat[1], parts[3])
    known = np.load(data / "labels.npz") if (data / "labels.npz").exists() else {}
    label = [known["train"][10000 * i : 10000 * (i + 1)] if known else None for i in range(5)]
    batches = [batch(data, f"data_batch_{i + 1}", label[i]) for i in range(5)]
    x, y = (np.concatenate(values) for values in zip(*batches, strict=True))
    return x, y, Rows(*batch(data, "test_batch", known["test"] if known else None))


def _idx(data: Path, stem: str) -> NDArray[Any]:
    kind = "idx3-ubyte" if stem.endswith("images") else "idx1-ubyte"
    file = next((f for f in sorted(data.glob(f"{stem}*{kind}*"))), None)
    if file is None:
        raise SystemExit(f"no file {stem}-{kind} in {data}: give the folder with the four IDX files")
    return read_idx(file)
