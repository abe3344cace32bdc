"""Parquet files, by way of pandas where it is installed."""

from __future__ import annotations

from pathlib import Path

from node_oc.data.cells import Array
from node_oc.data.columns import Columns
from node_oc.data.files import short
from node_oc.errors import DataError


def read_parquet(path: Path) -> Columns:
    """Read a Parquet file; the index of the frame is no column.

    Raises:
        DataError: pandas or pyarrow is not installed, the file is no Parquet file or damaged, has no rows, or
            one name twice.
    """
    what = f"file {str(path)!r}"
    try:
        import pandas
        import pyarrow
    except ImportError as error:
        raise DataError(
            what,
            got=f"no module {error.name!r}",
            expected="pandas and pyarrow, which read Parquet",
            do="Run `pip install pandas pyarrow`, or save the table as CSV.",
        ) from error
    try:
        frame = pandas.read_parquet(path, engine="pyarrow")
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(
            what,
            got=f"a file that cannot be read ({short(str(error))})",
            expected="a Parquet file",
            do="Write it again, for example with pandas.DataFrame.to_parquet.",
        ) from error
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names) or not len(frame):
        raise DataError(
            what,
            got="no rows" if not len(frame) else "one column name twice",
            expected="rows, and a name of its own for each column",
            do="Check how the file was written.",
        )
    values: dict[str, Array] = {}
    for j, name in enumerate(names):
        column = frame.iloc[:, j]
        values[name] = column.to_numpy()
        if values[name].dtype.kind == "O":
            # pandas.NA is neither None nor NaN, and comparing it gives no truth value.
            values[name] = column.astype(object).where(column.notna(), None).to_numpy()
    return Columns(path, values)
