"""A person's own table: choose the target and the features, and make a Split of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from os import PathLike
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from node_oc.data.cells import Array
from node_oc.data.columns import Columns
from node_oc.data.csv_file import read_csv
from node_oc.data.files import existing_file, listing, short
from node_oc.data.labels import encode_labels
from node_oc.data.npz_file import read_npz
from node_oc.data.parquet_file import read_parquet
from node_oc.data.prepare import Rows, checked_task, prepare_rows
from node_oc.data.split import Split, Task
from node_oc.errors import DataError


class RawTable(NamedTuple):
    """A table before it is split.

    Attributes:
        names: name of each feature, (D,), in the order of the file.
        x: features, float64, (n, D), finite.
        y: the target as it came (str objects in a CSV file), (n,), no cell of it missing.
    """

    names: tuple[str, ...]
    x: NDArray[np.float64]
    y: Array


def read_table(path: str | PathLike[str], target: str, drop: Sequence[str] = ()) -> RawTable:
    """Read a .csv, .npz or .parquet file: every column but the target and ``drop`` is a feature.

    Args:
        path: the file; its ending says what it is.
        target: name of the column to be predicted.
        drop: names of columns to leave out.

    Raises:
        DataError: the file cannot be read, a column is missing (the nearest name is given), no feature is
            left, or a feature is not a finite number (column, line and content are named).
    """
    columns, names = _choose(path, target, drop)
    return RawTable(names, columns.matrix(names), columns.values[target])


def read_features(path: str | PathLike[str], names: Sequence[str]) -> NDArray[np.float64]:
    """Read the features of new samples, for a model that was trained on columns ``names``.

    Columns are matched by name, in any order, and others are ignored. In a file without names (a CSV file of
    numbers only, or a 2-D array in an archive) the columns must be as many, in the order of ``names``.

    Returns:
        Raw features, float64, (n, D).

    Raises:
        DataError: the file cannot be read, a column is missing, the number of columns is wrong, or a cell is
            not a finite number.
    """
    columns = _columns(path, names)
    if columns.named:
        for name in names:
            columns.column(name, "The model needs it; give it a column of this name.")
        return columns.matrix(names)
    if len(columns.names) != len(names):
        raise DataError(
            f"file {str(path)!r}",
            got=f"{len(columns.names)} columns without names",
            expected=f"{len(names)} ({listing(names)})",
            do="Give the columns names, or give exactly these, in this order.",
        )
    return columns.matrix(columns.names)


def table(
    path: str | PathLike[str],
    target: str,
    task: Task | None = None,
    drop: Sequence[str] = (),
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Split:
    """Read a table and split it; each feature is standardised on the training part.

    Args:
        path: a .csv, .npz or .parquet file.
        target: name of the column to be predicted.
        task: "classification" (stratified), "regression" (random, the target standardised), or None, which
            means classification and refuses a target that looks like a quantity.
        drop: names of columns to leave out.
        val_fraction: share of the rows for validation.
        test_fraction: share of the rows for the test.
        seed: the same seed gives the same parts.

    Raises:
        DataError: as :func:`read_table` and ``prepare_rows``.
    """
    task = checked_task(task or "classification")
    columns, names = _choose(path, target, drop)
    y = columns.values[target]
    if task == "regression":
        y = columns.numbers(target)  # here, because only the columns know the lines of the file
    else:
        encode_labels(y, columns.what(target), columns.where)  # for its messages, which name column and line
    return prepare_rows(
        Rows(columns.matrix(names), y),
        task=task,
        features=names,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        seed=seed,
    )


def _columns(path: str | PathLike[str], wanted: Collection[str]) -> Columns:
    """All columns of the file; of an archive, those ``wanted`` and the 2-D array."""
    file = existing_file(path)
    match file.suffix.lower():
        case ".csv":
            return read_csv(file, wanted)
        case ".npz":
            return read_npz(file, only=wanted)
        case ".parquet":
            return read_parquet(file)
    raise DataError(
        f"file {str(file)!r}",
        got=f"the ending {file.suffix!r}",
        expected=".csv, .npz or .parquet",
        do="Save the table in one of these formats.",
    )


def _choose(path: str | PathLike[str], target: str, drop: Sequence[str]) -> tuple[Columns, tuple[str, ...]]:
    """The columns without ``drop``, and the names of the features."""
    if isinstance(drop, str):
        raise DataError("drop", got=repr(drop), expected="a list of names", do=f"Write [{drop!r}].")
    if target in drop:
        raise DataError("drop", got="the target itself", expected="other columns", do="Remove it from `drop`.")
    file = existing_file(path)
    if file.suffix.lower() == ".npz":
        columns = read_npz(file, drop=drop)
    else:
        columns = _columns(file, (target,))
        if not columns.named:
            raise DataError(
                f"file {str(file)!r}, first line",
                got="numbers only",
                expected="a header with the names of the columns",
                do="Add a first line such as: height,weight,label",
            )
        columns = columns.without(drop)
    columns.whole_column(target, "Give the name of the column to predict as `target`.")
    names = tuple(name for name in columns.names if name != target)
    if not names:
        raise DataError(
            f"file {str(file)!r}",
            got=f"no column beside {short(target)}",
            expected="at least one feature",
            do="Leave fewer columns out, or add features.",
        )
    if "" in names:
        raise DataError(
            f"file {str(file)!r}, header",
            got="a column without a name",
            expected="a name for each column",
            do="Name it; if it is the index of a pandas frame, write the file with index=False.",
        )
    return columns, names
