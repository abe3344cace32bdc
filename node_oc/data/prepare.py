"""From raw arrays to a Split: check, encode, standardise. Every reader ends here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, get_args

import numpy as np
import torch

from node_oc.data.cells import Array, as_numbers
from node_oc.data.files import short
from node_oc.data.labels import Labels, encode_labels
from node_oc.data.partition import partition
from node_oc.data.split import Part, Scale, Split, Task
from node_oc.data.standardise import Standardise, fit_scale, standardised
from node_oc.errors import DataError


class Rows(NamedTuple):
    """Raw samples.

    Attributes:
        x: features, (n, D), numbers.
        y: labels or targets, (n,), as they came.
    """

    x: Array
    y: Array


def prepare(
    train: Rows,
    val: Rows,
    test: Rows,
    *,
    task: Task,
    features: Sequence[str],
    standardise: Standardise = "feature",
) -> Split:
    """Make a Split of three parts that are already apart.

    Labels are encoded over the three parts together; standardisation is learnt on ``train`` only.

    Args:
        train: raw training samples.
        val: raw validation samples.
        test: raw test samples.
        task: "classification" or "regression" (the target is standardised as well).
        features: the name of each column, (D,).
        standardise: how ``x`` is standardised.

    Raises:
        DataError: an empty part, shapes that do not fit, NaN or infinite values (column and row are named),
            negative labels, a single class, or a class that a part lacks.
    """
    parts = {"train": train, "val": val, "test": test}
    for name, rows in parts.items():
        _check_shape(name, rows, features)
        _check_finite(name, rows.x, features)
    x_scale = fit_scale(train.x, standardise)
    x = {name: standardised(rows.x, x_scale, f"{name} part") for name, rows in parts.items()}
    y: dict[str, torch.Tensor]
    y_scale: Scale | None = None
    classes: tuple[str, ...] = ()
    if checked_task(task) == "classification":
        labels = encode_labels(np.concatenate([rows.y for rows in parts.values()]))
        classes = labels.classes
        ends = np.cumsum([len(rows.y) for rows in parts.values()])
        codes = np.split(labels.codes, ends[:-1])
        for name, part in zip(parts, codes, strict=True):
            _check_all_classes(name, part, classes)
        y = {name: torch.from_numpy(part.copy()) for name, part in zip(parts, codes, strict=True)}
    else:
        targets = {name: as_numbers(rows.y, f"target of the {name} part")[:, None] for name, rows in parts.items()}
        _check_varies(targets["train"])
        y_scale = fit_scale(targets["train"], "feature")
        y = {name: standardised(raw, y_scale, f"target of the {name} part") for name, raw in targets.items()}
    made = {name: Part(x[name], y[name]) for name in parts}
    return Split(made["train"], made["val"], made["test"], task, classes, tuple(features), x_scale, y_scale)


def prepare_rows(
    rows: Rows,
    *,
    task: Task,
    features: Sequence[str],
    standardise: Standardise = "feature",
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Split:
    """Make a Split of one table, drawn by class, or at random in regression; then as :func:`prepare`.

    Args:
        rows: all samples.
        task: "classification" or "regression".
        features: the name of each column, (D,).
        standardise: how ``x`` is standardised.
        val_fraction: share of the rows for validation.
        test_fraction: share of the rows for the test.
        seed: the same seed gives the same parts.

    Raises:
        DataError: as :func:`prepare`, or a class too rare to be in all three parts.
    """
    _check_shape("table", rows, features)
    # Before the split, so that the row named is the row of the table and not of a part.
    _check_finite("table", rows.x, features)
    strata = None
    if checked_task(task) == "classification":
        labels = encode_labels(rows.y)
        _check_three_each(labels)
        strata = labels.codes
    else:
        rows = Rows(rows.x, as_numbers(rows.y, "target"))
    parts = partition(len(rows.x), strata, val_fraction, test_fraction, seed)
    train, val, test = (Rows(rows.x[index], rows.y[index]) for index in parts)
    return prepare(train, val, test, task=task, features=features, standardise=standardise)


def checked_task(task: Task) -> Task:
    """``task`` if it is one.

    Raises:
        DataError: it is neither "classification" nor "regression".
    """
    if task not in get_args(Task):
        raise DataError("task", got=short(task), expected=get_args(Task), do="Use one of these.")
    return task


def _check_shape(name: str, rows: Rows, features: Sequence[str]) -> None:
    shape = (rows.x.shape, rows.y.shape)
    if rows.x.ndim == 2 and rows.y.ndim == 1 and len(rows.x) == len(rows.y) > 0 < len(features) == rows.x.shape[1]:
        return
    raise DataError(
        f"{name}",
        got=f"features of shape {shape[0]} and labels or targets of shape {shape[1]}",
        expected=f"shapes (n, {len(features)}) and (n,), with n > 0 and at least one feature",
        do="Check that no part is empty, and that features, names and targets belong together.",
    )


def _check_finite(name: str, x: Array, features: Sequence[str]) -> None:
    if x.dtype.kind in "biu":
        return
    for column, feature in enumerate(features):
        as_numbers(x[:, column], f"{name}, column {short(feature)}")


def _check_three_each(labels: Labels) -> None:
    counts = np.bincount(labels.codes, minlength=len(labels.classes))
    rarest = int(counts.argmin())
    if counts[rarest] < 3:
        raise DataError(
            f"class {short(labels.classes[rarest])}",
            got=f"{counts[rarest]} row(s) of this class",
            expected="at least 3, one for each of training, validation and test",
            do='Add rows, merge or remove rare classes; if the target is a quantity, set task = "regression".',
        )


def _check_all_classes(name: str, codes: Array, classes: Sequence[str]) -> None:
    lacking = np.bincount(codes, minlength=len(classes)) == 0
    if lacking.any():
        raise DataError(
            f"{name} part",
            got=f"no sample of class {short(classes[int(lacking.argmax())])}",
            expected=f"every one of the {len(classes)} classes in every part",
            do="Add samples of the class, merge it with another, or change the sizes of the parts.",
        )


def _check_varies(target: Array) -> None:
    if target.min() == target.max():
        raise DataError(
            "target of the train part",
            got=f"the single value {target.flat[0]}",
            expected="a target that varies",
            do="Check that the target column is the right one.",
        )
