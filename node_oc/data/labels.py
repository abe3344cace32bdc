"""Labels of a classification: whatever they are called, they become 0..K-1 and keep their names."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from node_oc.data.cells import Array, Where, first_missing, is_number, row_number
from node_oc.data.files import listing, short
from node_oc.errors import DataError

_WHOLE = re.compile(r"[+-]?[0-9]+")


class Labels(NamedTuple):
    """Encoded labels.

    Attributes:
        codes: class index of each sample, int64, (n,).
        classes: the label of each index, as text, (K,); numbers in increasing, text in alphabetical order.
    """

    codes: NDArray[np.int64]
    classes: tuple[str, ...]


def encode_labels(values: Array, what: str = "labels", where: Where = row_number) -> Labels:
    """Encode labels as class indices 0..K-1.

    Text that reads as numbers throughout is treated as numbers, so a CSV column and an integer array
    agree; other text is compared without the blanks around it.

    Args:
        values: (n,), text, booleans or whole numbers.
        what: the target, as the message shall name it.
        where: says where row ``i`` is.

    Raises:
        DataError: no labels, missing ones, a mixture of text and numbers, negative ones, a single class,
            or floats, whole or not.
    """
    if values.ndim != 1 or values.size == 0:
        raise DataError(
            what,
            got=f"an array of shape {values.shape}",
            expected="one label per sample, shape (n,) with n > 0",
            do="Give one label per sample.",
        )
    missing = first_missing(values)
    if missing is not None:
        raise DataError(
            f"{what}, {where(missing)}",
            got="a missing value",
            expected="a label in every row",
            do="Remove the rows without a label, or name their class.",
        )
    keys = _keys(values, what)
    distinct = sorted(set(keys))  # type: ignore[type-var]  # _keys gives one type throughout
    if isinstance(distinct[0], int) and distinct[0] < 0:
        raise DataError(
            what,
            got=f"negative labels ({listing(str(key) for key in distinct)})",
            expected="labels that are not negative",
            do="Recode them, for example -1 as 0, or give them as strings such as 'no' and 'yes'.",
        )
    if len(distinct) == 1:
        raise DataError(
            what,
            got=f"the single class {short(str(distinct[0]))}",
            expected="at least two classes",
            do="Check that the target column is the right one and that the rows are not filtered by it.",
        )
    index = {key: i for i, key in enumerate(distinct)}
    codes = np.fromiter((index[key] for key in keys), dtype=np.int64, count=len(keys))
    return Labels(codes, tuple(str(key) for key in distinct))


def _keys(values: Array, what: str) -> list[int] | list[str]:
    """The labels as Python integers, or all as text."""
    if values.dtype.kind in "iu":
        return [int(value) for value in values.tolist()]
    if values.dtype.kind == "b":
        return [str(value) for value in values.tolist()]
    if values.dtype.kind == "f":
        raise _refuse_floats(values.astype(np.float64), what)
    if values.dtype.kind not in "OUS":
        raise DataError(
            what,
            got=f"values of type {values.dtype}",
            expected="text or whole numbers",
            do="Give the labels as strings.",
        )
    cells: list[object] = [value.decode("latin-1") if isinstance(value, bytes) else value for value in values]
    if all(isinstance(cell, str) for cell in cells):
        return _from_text([str(cell).strip() for cell in cells], what)
    if all(isinstance(cell, (bool, np.bool_)) for cell in cells):
        return [str(cell) for cell in cells]
    if all(isinstance(cell, (int, np.integer)) for cell in cells):
        return [int(cell) for cell in cells]  # type: ignore[call-overload]
    if all(isinstance(cell, (int, float, np.number)) for cell in cells):
        raise _refuse_floats(np.array(cells, np.float64), what)
    raise DataError(
        what,
        got="cells of type " + " and ".join(sorted({type(cell).__name__ for cell in cells})),
        expected="labels of one kind, text or whole numbers",
        do="Give all the labels as strings, or all as whole numbers.",
    )


def _from_text(cells: list[str], what: str) -> list[int] | list[str]:
    # Ten digits are enough for every class code; longer ones are identifiers, whose zeros in front count.
    if all(len(cell) <= 10 and _WHOLE.fullmatch(cell) for cell in cells):
        return [int(cell) for cell in cells]
    if all(is_number(cell) for cell in cells) and not all(_WHOLE.fullmatch(cell) for cell in cells):
        raise _refuse_floats(np.array([float(cell) for cell in cells]), what)
    return cells


def _refuse_floats(values: NDArray[np.float64], what: str) -> DataError:
    """Floats are a quantity until the user says otherwise: 3.0 may be a class or three metres."""
    odd = values[~np.isfinite(values) | (values != np.round(values))]
    return DataError(
        what,
        got=f"the value {odd[0] if len(odd) else values[0]}",
        expected="class labels (text or whole numbers)",
        do='If the target is a quantity, set task = "regression"; if it holds classes, '
        "write them as whole numbers without a decimal point, or as text.",
    )
