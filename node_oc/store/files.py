"""Atomic files: a reader sees the old one or the new one, never a mixture, also after kill -9 or on a full disk."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Any

from node_oc.errors import StoreError

SCALARS = (bool, int, float, str, type(None))
_WHY = {
    errno.ENOSPC: ("a full disk", "Free some space, or write elsewhere."),
    errno.EDQUOT: ("a full disk quota", "Free some space, or write elsewhere."),
    errno.ENOENT: ("no such directory", "Create the directory first."),
    errno.ENOTDIR: ("a file where a directory should be", "Choose another path."),
    errno.EEXIST: ("a file where a directory should be", "Choose another path."),
}


def write_atomic(path: str | Path, data: bytes | bytearray) -> None:
    """Replaces the file at `path` as a whole; its directory must exist.

    Raises:
        StoreError: full disk, unwritable or missing directory. The old file is then intact.
    """
    path = Path(path)
    temp = path.parent / f".{uuid.uuid4().hex}.tmp"  # the same directory, for rename is atomic in one only
    try:
        with open(temp, "xb", buffering=0) as file:  # unbuffered: an error comes from write, not from close
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        os.replace(temp, path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temp.unlink(missing_ok=True)
    # Some file systems cannot sync a directory: then a power cut may bring back the old file, still whole.
    with contextlib.suppress(OSError):
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def write_json(path: str | Path, obj: Any) -> None:
    """Writes indented JSON for people and browsers, atomically.

    Tuples become lists. JSON has no inf and nan: they become the strings "inf", "-inf" and "nan", which
    `float` reads back. Raises StoreError, naming the place, on anything else that JSON has not.
    """
    write_atomic(path, dump_json(_for_people(obj, ""), path))


def read_json(path: str | Path) -> Any:
    """The content of a JSON file. Raises StoreError when it is missing or not JSON."""
    try:
        return json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise store_error(path, f"no valid JSON ({error})") from error


def output_directory(path: str | Path, overwrite: bool = False) -> Path:
    """Makes an empty, writable directory for a run.

    Args:
        path: the directory; parents are made as needed.
        overwrite: empties it first, if node_oc wrote it, that is, if it holds a run.json.

    Raises:
        StoreError: it holds files that may not be deleted, or cannot be written.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):  # permission bits tell less than a try
            pass
        # run.json goes last: after an interrupted deletion the directory is still known as ours.
        children = sorted(path.iterdir(), key=lambda child: child.name == "run.json")
        empty = "a new or empty directory"
        if children and not overwrite:
            raise store_error(path, "files in it", empty, "Use --overwrite or another --out.")
        if children and children[-1].name != "run.json":
            raise store_error(path, "files that node_oc did not write", empty, "Choose another --out.")
        if children and path.resolve() in (Path.home(), Path.cwd(), *Path.cwd().parents):
            raise store_error(path, "your home or working directory", empty, "Choose another --out.")
        for child in children:
            shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
    except StoreError:
        raise
    except OSError as error:
        raise _cannot_write(path, error) from error
    return path


def _for_people(obj: Any, place: str) -> Any:
    """`obj` as JSON has it, see `write_json`."""
    if isinstance(obj, float) and not math.isfinite(obj):
        return repr(float(obj))
    if isinstance(obj, SCALARS):
        return obj
    if isinstance(obj, (list, tuple)):
        return [_for_people(item, join(place, i)) for i, item in enumerate(obj)]
    if isinstance(obj, dict) and all(isinstance(key, str) for key in obj):
        return {key: _for_people(item, join(place, key)) for key, item in obj.items()}
    raise foreign(obj, place)


def foreign(value: object, place: str) -> StoreError:
    """The error for a value that JSON has not, found at a place in a tree ("optimizer.state.0")."""
    keys = f" with keys {sorted({type(key).__name__ for key in value})}" if isinstance(value, dict) else ""
    expected = "None, bool, int, float, str, list, tuple or dict"
    return store_error(place or "value", f"{type(value).__name__}{keys}", expected, "Convert it.")


def join(place: str, key: object) -> str:
    """The place of an entry in a tree: the place of the tree, a dot, the key."""
    return f"{place}.{key}" if place else str(key)


def dump_json(obj: Any, path: str | Path, indent: int | None = 2) -> bytes:
    """JSON as UTF-8 with a final line break; a lone surrogate becomes its JSON escape."""
    try:
        text = json.dumps(obj, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError as error:  # an integer that Python refuses to print
        raise store_error(path, error, "shorter numbers", "Store a string instead.") from error
    return f"{text}\n".encode("utf-8", "backslashreplace")


def read_bytes(path: str | Path) -> bytes:
    """The bytes of a file. Raises StoreError when it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise store_error(path, error.strerror or error, "a readable file", "Check the path.") from error


def _cannot_write(path: Path, error: OSError) -> StoreError:
    other = (error.strerror or error, "Check the path and its permissions.")
    got, do = _WHY.get(error.errno or 0, other)
    return store_error(path, got, "a writable directory with free space", do)


def store_error(
    what: str | Path,
    got: object,
    expected: str = "a file as node_oc saved it",
    do: str = "Restore it from a copy, or run again.",
) -> StoreError:
    """A StoreError about a file, by default one that is damaged."""
    return StoreError(str(what), got=got, expected=expected, do=do)
