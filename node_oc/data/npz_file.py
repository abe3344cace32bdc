"""NumPy archives: one array per column, or one (n, D) array of features."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from node_oc.data.cells import Array
from node_oc.data.columns import Columns
from node_oc.data.files import listing, nearest, short
from node_oc.errors import DataError

BLOCKS = ("x", "X", "data")
"""Keys under which a 2-D array of features is looked for; its columns are called x_0, x_1, ..."""


def read_npz(path: Path, *, drop: Collection[str] = (), only: Collection[str] | None = None) -> Columns:
    """Read an archive written by ``numpy.savez``; nothing is ever unpickled.

    Args:
        path: the file.
        drop: arrays that are left out; they are not read, so they may be of any kind.
        only: if given, no array but these and the 2-D one is read.

    Raises:
        DataError: the file is no archive or damaged, an array holds objects or has the wrong shape, lengths
            differ, or ``drop`` names what is not there.
    """
    what = f"file {str(path)!r}"
    arrays = _arrays(path, what, drop, only)
    blocks = [key for key in arrays if key in BLOCKS and arrays[key].ndim == 2]
    if len(blocks) > 1:
        raise DataError(
            what,
            got=f"{len(blocks)} arrays of features ({', '.join(blocks)})",
            expected="one of them",
            do="Leave the others out with `drop`.",
        )
    values: dict[str, Array] = {}
    for key, array in arrays.items():
        columns = {key: array}
        if key in blocks:
            columns = {f"x_{j}": array[:, j] for j in range(array.shape[1])}
        elif array.ndim == 2 and array.shape[1] == 1:
            columns = {key: array[:, 0]}
        elif array.ndim != 1:
            raise DataError(
                f"{what}, array {short(key)}",
                got=f"shape {array.shape}",
                expected="one value per sample (n,), or features (n, D) under the name 'x'",
                do="Leave it out with `drop`, or save it as 'x'.",
            )
        if not values.keys().isdisjoint(columns):
            raise DataError(what, got=f"{short(key)} twice", expected="one array for each name", do="Rename it.")
        values |= columns
    lengths = {key: len(column) for key, column in values.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(
            what,
            got="lengths " + ", ".join(f"{short(key)}: {n}" for key, n in list(lengths.items())[:8]),
            expected="arrays of one length",
            do="Leave out with `drop` what is not a column.",
        )
    if not values or not max(lengths.values()):
        raise DataError(what, got="no data", expected="arrays with samples", do="Check how it was saved.")
    return Columns(path, values, named=list(arrays) != blocks)


def _arrays(path: Path, what: str, drop: Collection[str], only: Collection[str] | None) -> dict[str, Array]:
    """Arrays of the archive by key, those asked for."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            keys = list(archive.files)
            arrays = {key: archive[key] for key in _asked(keys, drop, only)}
    # A damaged archive fails in zipfile, zlib, tokenize or NumPy, each with exceptions of its own.
    except Exception as error:
        raise DataError(
            what,
            got=f"an archive that cannot be read ({short(str(error))})",
            expected="numbers or text written by numpy.savez, without Python objects",
            do="Write it again with numpy.savez; arrays of dtype object can be left out with `drop`.",
        ) from error
    _check_there(drop, keys, what, "Remove it from `drop`.")
    if only is not None and not any(key in BLOCKS for key in keys):
        _check_there(only, keys, what, "The model needs it; give it an array of this name.")
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise DataError(
                f"{what}, member {short(key)}",
                got="bytes that are no array",
                expected="arrays",
                do="Write the file with numpy.savez.",
            )
    return arrays


def _asked(keys: list[str], drop: Collection[str], only: Collection[str] | None) -> list[str]:
    if only is None:
        return [key for key in keys if key not in drop]
    found = [key for key in keys if key in only]
    # Named columns that are all there need no array of features beside them.
    return found if set(found) == set(only) else [key for key in keys if key in only or key in BLOCKS]


def _check_there(names: Collection[str], keys: list[str], what: str, do: str) -> None:
    for name in names:
        if name not in keys:
            raise DataError(
                f"{what}, array {short(name)}",
                got="no such array",
                expected=f"one of {listing(keys)}",
                do=f"{nearest(name, keys)} {do}".strip(),
            )
