"""Cells of one column: which are missing, and what number each one is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node_oc.data.files import short
from node_oc.errors import DataError

Array = NDArray[Any]
Where = Callable[[int], str]
"""Says where row ``i`` is, in the reader's terms: "row 3 (the first is row 0)", "line 5"."""


def row_number(row: int) -> str:
    """Where a row is when nothing but its index is known."""
    return f"row {row} (the first is row 0)"


def is_number(cell: str) -> bool:
    """Whether a text cell reads as one number; "nan" and "inf" do."""
    try:
        _number(cell)
    except ValueError:
        return False
    return True


def first_missing(values: Array) -> int | None:
    """Row of the first missing cell (None, NaN, blank text, or the text "nan"), or None if all are there.

    Args:
        values: (n,), of any dtype.
    """
    if values.dtype.kind == "f":
        missing = np.isnan(values)
    elif values.dtype.kind in "OUS":
        missing = np.fromiter((_is_missing(cell) for cell in values), dtype=bool, count=len(values))
    else:
        return None
    return int(missing.argmax()) if missing.any() else None


def as_numbers(values: Array, what: str, where: Where = row_number) -> NDArray[np.float64]:
    """One column as finite numbers.

    Args:
        values: (n,), numbers, booleans, or text that reads as numbers.
        what: the column, as the message shall name it.
        where: says where row ``i`` is.

    Returns:
        (n,), float64.

    Raises:
        DataError: a cell is not a number, is missing, NaN or infinite; the first one is named.
    """
    if values.dtype.kind in "biuf":
        numbers = values.astype(np.float64)
    elif values.dtype.kind in "OUS":
        numbers = np.array([_cell_number(cell, i, what, where) for i, cell in enumerate(values)], np.float64)
    else:
        raise DataError(
            what,
            got=f"values of type {values.dtype}",
            expected="numbers",
            do="Encode it as numbers; a feature may be left out with `data.drop`.",
        )
    bad = ~np.isfinite(numbers)
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"{what}, {where(row)}",
            got=short(values[row]),
            expected="a finite number",
            do="Fill or remove such rows; a feature may be left out with `data.drop`.",
        )
    return numbers


def _is_missing(cell: object) -> bool:
    if isinstance(cell, (str, bytes)):
        text = cell if isinstance(cell, str) else cell.decode("latin-1")
        return text.strip().lower() in ("", "nan")
    return cell is None or (isinstance(cell, (float, np.floating)) and bool(np.isnan(cell)))


def _number(cell: object) -> float:
    # float("1_000") is 1000.0 in Python; in a table it is a slip or a code, not a number.
    if isinstance(cell, str) and "_" in cell:
        raise ValueError(cell)
    return float(cell)  # type: ignore[arg-type]  # whatever is no number raises, and is reported


def _cell_number(cell: object, row: int, what: str, where: Where) -> float:
    try:
        return _number(cell)
    except (TypeError, ValueError, OverflowError) as error:
        missing = _is_missing(cell)
        raise DataError(
            f"{what}, {where(row)}",
            got=f"a missing value ({short(cell)})" if missing else short(cell),
            expected="a number",
            do="Fill or remove the rows with missing values; a feature may be left out with `data.drop`."
            if missing
            else "Encode it as numbers; a feature may be left out with `data.drop`.",
        ) from error
