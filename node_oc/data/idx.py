"""IDX, the format of MNIST: a big-endian array behind a short header; a directory of four such files."""

from __future__ import annotations

import gzip
import math
import zlib
from os import PathLike
from pathlib import Path

import numpy as np

from node_oc.data.cells import Array
from node_oc.data.files import existing_file, listing
from node_oc.data.prepare import Rows, prepare
from node_oc.data.split import Split
from node_oc.errors import DataError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""Type codes of the format, http://yann.lecun.com/exdb/mnist ("The IDX file format")."""

_GZIP = b"\x1f\x8b"
_AGAIN = "Copy or download the file again."


def read_idx(path: str | PathLike[str]) -> Array:
    """Read one IDX file, gzipped or not.

    Args:
        path: the file. A name ending in .gz must be gzipped; whatever starts as gzip is unzipped.

    Returns:
        The array in the machine's byte order, of the file's type and shape; never empty.

    Raises:
        DataError: the file is missing, empty, not gzip in spite of its name, not IDX, truncated, or too long.
    """
    file = existing_file(path)
    what = f"file {str(file)!r}"
    data = _unzipped(file, what)
    if not data:
        raise DataError(what, got="an empty file", expected="an IDX file", do=_AGAIN)
    if len(data) < 4 or data[:2] != b"\0\0":
        raise DataError(
            what,
            got=f"a file that starts with {data[:4].hex(' ')}",
            expected="an IDX file (00 00, type code, number of dimensions)",
            do="Check that this is the original file and not, for example, a web page saved under its name.",
        )
    code, ndim = data[2], data[3]
    if code not in TYPES:
        raise DataError(
            what,
            got=f"type code 0x{code:02x}",
            expected="one of " + ", ".join(f"0x{known:02x}" for known in TYPES),
            do=_AGAIN,
        )
    if not 1 <= ndim <= 64:  # NumPy's own limit
        raise DataError(what, got=f"{ndim} dimensions", expected="1 to 64 dimensions", do=_AGAIN)
    start = 4 + 4 * ndim
    if len(data) < start:
        raise DataError(what, got=f"a header of {len(data)} bytes", expected=f"{start} bytes (truncated)", do=_AGAIN)
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", ndim, offset=4))
    dtype = np.dtype(TYPES[code])
    # Python integers: 64 dimensions of four bytes each overflow every machine integer.
    expected = start + math.prod(shape) * dtype.itemsize
    if math.prod(shape) == 0:
        raise DataError(what, got=f"an array of shape {shape}", expected="at least one element", do=_AGAIN)
    if len(data) != expected:
        verdict = "truncated" if len(data) < expected else "bytes left over at the end"
        raise DataError(
            what,
            got=f"{len(data)} bytes ({verdict})",
            expected=f"{expected} bytes for an array of shape {shape} and type {dtype.name}",
            do=_AGAIN,
        )
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def idx(directory: str | PathLike[str]) -> Split:
    """Read a directory with the four files of MNIST, Fashion-MNIST and their like.

    The files are ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
    ``t10k-labels-idx1-ubyte``; a dot before idx and a final .gz are allowed. The last min(10,000, n // 6) of
    the n training images validate, t10k tests. Images are flattened to (n, H*W) and standardised with one
    mean and std.

    Raises:
        DataError: a file is missing or damaged, the files do not belong together, or as ``prepare``.
    """
    train, test = _rows(Path(directory), "train"), _rows(Path(directory), "t10k")
    n_val = min(10_000, len(train.x) // 6)
    if n_val == 0:
        raise DataError(
            f"directory {str(directory)!r}",
            got=f"{len(train.x)} training images",
            expected="at least 6, of which a sixth validates",
            do="Add images.",
        )
    if train.x.shape[1] != test.x.shape[1]:
        raise DataError(
            f"directory {str(directory)!r}",
            got=f"training images of {train.x.shape[1]} and test images of {test.x.shape[1]} pixels",
            expected="images of one size",
            do="Keep the files of one data set in one directory.",
        )
    return prepare(
        Rows(train.x[:-n_val], train.y[:-n_val]),
        Rows(train.x[-n_val:], train.y[-n_val:]),
        test,
        task="classification",
        features=tuple(f"pixel_{i}" for i in range(train.x.shape[1])),
        standardise="global",
    )


def _unzipped(file: Path, what: str) -> bytes:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(what, got=error, expected="a readable file", do="Check its permissions.") from error
    if data.startswith(_GZIP):
        try:
            return gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                what, got=f"gzip data that does not unzip ({error})", expected="a whole file", do=_AGAIN
            ) from error
    if data and file.suffix == ".gz":
        raise DataError(
            what,
            got="a file that is not gzip",
            expected="gzip data, as the name says",
            do="Download it again, or remove .gz from its name if it is unzipped already.",
        )
    return data


def _rows(directory: Path, part: str) -> Rows:
    """Images (n, H*W) and labels (n,) of one part."""
    images_file = _find(directory, f"{part}-images", "idx3-ubyte")
    labels_file = _find(directory, f"{part}-labels", "idx1-ubyte")
    images, labels = read_idx(images_file), read_idx(labels_file)
    if images.ndim < 2 or labels.ndim != 1 or len(images) != len(labels):
        raise DataError(
            f"files {str(images_file)!r} and {labels_file.name!r}",
            got=f"arrays of shape {images.shape} and {labels.shape}",
            expected="images (n, height, width) and as many labels (n,)",
            do="Keep the files of one data set in one directory, under their original names.",
        )
    return Rows(images.reshape(len(images), -1), labels)


def _find(directory: Path, stem: str, kind: str) -> Path:
    names = [stem + mark + kind + end for end in ("", ".gz") for mark in ("-", ".")]
    for name in names:
        if (directory / name).is_file():
            return directory / name
    there = listing(sorted(path.name for path in directory.iterdir())) if directory.is_dir() else "no directory"
    raise DataError(
        f"directory {str(directory)!r}",
        got=there,
        expected=f"a file {names[0]!r} or {names[2]!r}",
        do="Put the four files there: train-images, train-labels, t10k-images and t10k-labels.",
    )
