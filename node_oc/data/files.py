"""Paths and names as a user types them: does the file exist, and what was meant by a misspelt name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

import numpy as np

from node_oc.errors import DataError

_LISTED = 20  # names listed in a message; a table of 784 pixels would hide the sentence
_SHOWN = 60  # characters of a value shown in a message


def existing_file(path: str | PathLike[str]) -> Path:
    """``path`` as a Path to a file that exists.

    Raises:
        DataError: there is no such file, or it is a directory.
    """
    found = Path(path)
    try:
        is_file, exists = found.is_file(), found.exists()
    except (OSError, ValueError) as error:  # a name too long for the system, or with a null byte
        raise DataError(f"file {short(str(path))}", got=error, expected="a path", do="Check the path.") from error
    if is_file:
        return found
    got = "a directory" if exists else f"no such file (looked in {found.parent.absolute()})"
    raise DataError(f"file {str(found)!r}", got=got, expected="a file", do="Check the path.")


def short(value: object) -> str:
    """``repr`` of a value, cut to a length that fits in a sentence."""
    # repr of a NumPy scalar says "np.float64(nan)", which is not what stands in the file.
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def listing(names: Iterable[str]) -> str:
    """Names, quoted and joined; the first 20 when there are more."""
    quoted = [short(name) for name in names]
    more = f", ... ({len(quoted)} in all)" if len(quoted) > _LISTED else ""
    return (", ".join(quoted[:_LISTED]) or "none") + more


def nearest(name: str, names: Iterable[str]) -> str:
    """The sentence "Did you mean 'age'?", or an empty string when no name is near."""
    # Compared in lower case, since 'Age' for 'age' is the commonest slip of all.
    by_lower = {known.lower(): known for known in names}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"Did you mean {by_lower[close[0]]!r}?" if close else ""
