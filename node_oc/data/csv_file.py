"""Comma-separated text: one header line, then one row of cells per sample."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from node_oc.data.cells import is_number
from node_oc.data.columns import Columns
from node_oc.data.files import short
from node_oc.errors import DataError


def read_csv(path: Path, wanted: Collection[str]) -> Columns:
    """Read a CSV file: UTF-8, commas, quotes as in RFC 4180; blanks around cells and empty lines are skipped.

    A first line of numbers only is no header, unless all ``wanted`` names are in it; the columns are then
    numbered and :attr:`Columns.named` is False.

    Args:
        path: the file.
        wanted: names that are looked for in it.

    Raises:
        DataError: the file is not CSV text, is empty, has only a header, a ragged row, or one name twice.
    """
    what = f"file {str(path)!r}"
    records = list(_records(path, what))
    if not records:
        raise DataError(what, got="an empty file", expected="a header and rows", do="Check that the file was written.")
    first = records[0][1]
    named = not all(is_number(cell) for cell in first) or all(name in first for name in wanted)
    header = first if named else [f"column {i}" for i in range(len(first))]
    rows = records[1:] if named else records
    _check_header(header, what)
    if not rows:
        raise DataError(
            what, got="only a header", expected="rows below it", do="Check that the file was written whole."
        )
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(
                f"{what}, line {line}",
                got=f"{len(row)} cells",
                expected=f"{len(header)}, as in the first line",
                do="Look for a missing cell, or for a comma inside a cell that is not quoted.",
            )
    cells = np.empty((len(rows), len(header)), dtype=object)
    for i, (_, row) in enumerate(rows):
        cells[i] = row
    values = {name: cells[:, j] for j, name in enumerate(header)}
    return Columns(path, values, [line for line, _ in rows], named)


def _records(path: Path, what: str) -> Iterator[tuple[int, list[str]]]:
    """Line at which a record starts, and its cells."""
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            # strict: a quote that is never closed would otherwise swallow the rest of the file as one cell.
            reader = csv.reader(file, strict=True, skipinitialspace=True)
            for row in reader:
                if row:
                    yield line, [cell.strip() for cell in row]
                line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise DataError(
            what, got=f"bytes that are not UTF-8 ({error})", expected="UTF-8 text", do="Save it as UTF-8."
        ) from error
    except csv.Error as error:
        raise DataError(
            f"{what}, line {line}",
            got=f"text that is not CSV ({error})",
            expected="cells separated by commas, with quotes closed and doubled inside quotes",
            do="Correct the line, or write the file again with a CSV writer.",
        ) from error
    except OSError as error:
        raise DataError(what, got=error, expected="a readable file", do="Check its permissions.") from error


def _check_header(header: list[str], what: str) -> None:
    for name in header:
        if header.count(name) > 1:
            raise DataError(
                f"{what}, header",
                got=f"the name {short(name)} {header.count(name)} times",
                expected="a name of its own for each column",
                do="Rename the columns.",
            )
