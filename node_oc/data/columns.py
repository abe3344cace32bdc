"""What a table file is after reading and before choosing: named columns, and where each row stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from node_oc.data.cells import Array, as_numbers, first_missing, row_number
from node_oc.data.files import listing, nearest, short
from node_oc.errors import DataError


@dataclass(frozen=True)
class Columns:
    """Columns of a file, in order.

    Attributes:
        path: the file.
        values: each column, (n,), by name; text cells are str objects.
        lines: line of the file at which each row starts, (n,); None where a file has no lines.
        named: False when the file gives no names and the columns are numbered instead.
    """

    path: Path
    values: Mapping[str, Array]
    lines: Sequence[int] | None = None
    named: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each column, in the order of the file."""
        return tuple(self.values)

    def where(self, row: int) -> str:
        """Where row ``row`` is, for a message."""
        return row_number(row) if self.lines is None else f"line {self.lines[row]}"

    def what(self, name: str) -> str:
        """A column, for a message."""
        return f"file {str(self.path)!r}, column {short(name)}"

    def column(self, name: str, do: str) -> Array:
        """A column as it came, (n,).

        Args:
            name: its name.
            do: what to do when it is missing.

        Raises:
            DataError: there is no such column; the nearest name is given.
        """
        if name in self.values:
            return self.values[name]
        if len(self.names) == 1 and any(mark in self.names[0] for mark in ";\t"):
            do = "Separate the columns with commas; this header has semicolons or tabs."
        raise DataError(
            self.what(name),
            got="no such column",
            expected=f"one of {listing(self.names)}",
            do=f"{nearest(name, self.names)} {do}".strip(),
        )

    def whole_column(self, name: str, do: str) -> Array:
        """A column as it came, (n,), without a missing cell.

        Raises:
            DataError: there is no such column, or a cell of it is missing.
        """
        values = self.column(name, do)
        row = first_missing(values)
        if row is not None:
            raise DataError(
                f"{self.what(name)}, {self.where(row)}",
                got="a missing value",
                expected="a value in every row of the target",
                do="Remove the rows without a target, or fill them in.",
            )
        return values

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column as finite numbers, (n,).

        Raises:
            DataError: there is no such column, or a cell is no finite number.
        """
        return as_numbers(self.column(name, "Check the name."), self.what(name), self.where)

    def matrix(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Columns as finite numbers, (n, D), in the order of ``names``.

        Raises:
            DataError: as :meth:`numbers`.
        """
        return np.stack([self.numbers(name) for name in names], axis=1)

    def without(self, drop: Sequence[str]) -> Columns:
        """The columns that are not in ``drop``.

        Raises:
            DataError: ``drop`` names a column that is not there.
        """
        for name in drop:
            self.column(name, "Remove it from `drop`.")
        return replace(self, values={name: v for name, v in self.values.items() if name not in drop})
