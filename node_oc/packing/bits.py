"""Discrete weights as bits: the smallest of several codings, and back to the bit; bits without meaning are refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from node_oc.errors import ConfigError, StoreError
from node_oc.system.discrete import check_values

Flat = NDArray[np.int8]  # the weights of a layer, row by row
Bits = NDArray[np.uint8]  # a bit an entry, 0 or 1


class NoMeaning(ValueError):
    """Bits that stand for no weights, for a reason that a coding names."""


@dataclass(frozen=True)
class Coding:
    """One way to write n weights, m of them non-zero, as bits.

    Attributes:
        values: the set of weights that it is for.
        length: (n, m) to the number of bits.
        encode: weights to that many bits.
        decode: (bits, n, m) back to the weights. Raises NoMeaning.
    """

    values: str
    length: Callable[[int, int], int]
    encode: Callable[[Flat], Bits]
    decode: Callable[[Bits, int, int], Flat]


@dataclass(frozen=True)
class Packed:
    """The weights of one layer in bits.

    Attributes:
        values: "binary" or "ternary".
        coding: a key of ``CODINGS``.
        shape: of the weights.
        nonzero: how many of them are not 0.
        data: uint8, eight bits an entry, the first bit of the coding lowest; bits left over are 0.
    """

    values: str
    coding: str
    shape: tuple[int, ...]
    nonzero: int
    data: Tensor

    def description(self) -> dict[str, Any]:
        """Everything but the data, as JSON has it."""
        return {"values": self.values, "coding": self.coding, "shape": list(self.shape), "nonzero": self.nonzero}


def pack(weight: Tensor, values: str, name: str = "weights") -> Packed:
    """Write weights in the coding that takes the fewest bytes; of equal ones the first of ``CODINGS``.

    Args:
        weight: int8, of any shape.
        values: "binary" for weights in {-1, 1}, "ternary" for {-1, 0, 1}.
        name: of the layer, for errors.

    Raises:
        ConfigError: another type, another name of a set, or weights outside of the set.
    """
    codings = [key for key, coding in CODINGS.items() if coding.values == values]
    if not codings:
        raise ConfigError(name, got=repr(values), expected="binary or ternary", do="Name a set of weights.")
    if weight.dtype != torch.int8:
        raise ConfigError(name, got=f"weights of type {weight.dtype}", expected="torch.int8",
                          do="Pack the weights of discrete layers, not what they are computed with.")  # fmt: skip
    check_values(weight, values, name)
    flat = weight.detach().cpu().contiguous().numpy().reshape(-1)
    nonzero = int(np.count_nonzero(flat))
    coding = min(codings, key=lambda each: size(each, flat.size, nonzero))
    data = np.packbits(CODINGS[coding].encode(flat), bitorder="little")
    return Packed(values, coding, tuple(weight.shape), nonzero, torch.from_numpy(data))


def unpack(packed: Packed, name: str = "weights") -> Tensor:
    """The int8 weights that were packed.

    Args:
        packed: of one layer.
        name: of that layer, for errors.

    Raises:
        StoreError: bits that no weights have: an unknown coding, too few or too many of them, a two-bit code 11, counts
            that don't fit, an index out of range, a bit left over that is not 0.
    """
    n, m, coding = math.prod(packed.shape), packed.nonzero, CODINGS.get(packed.coding)
    try:
        if coding is None or coding.values != packed.values:
            raise NoMeaning(f"a coding {packed.coding!r} of {packed.values} weights")
        if not (min(packed.shape, default=0) >= 0 and 0 <= m <= n):
            raise NoMeaning(f"{m} non-zero weights in a shape {list(packed.shape)}")
        if packed.data.dtype != torch.uint8 or tuple(packed.data.shape) != (size(packed.coding, n, m),):
            raise NoMeaning(f"{packed.data.dtype} {list(packed.data.shape)} where {size(packed.coding, n, m)} bytes "
                            "belong")  # fmt: skip
        bits = np.unpackbits(packed.data.numpy(), bitorder="little")
        length = coding.length(n, m)
        if bits[length:].any():
            raise NoMeaning("a bit behind the last weight")
        flat = coding.decode(bits[:length], n, m)
        if (found := int(np.count_nonzero(flat))) != m:
            raise NoMeaning(f"{found} non-zero weights where {m} are announced")
    except (NoMeaning, MemoryError) as error:
        raise StoreError(f"packed weights of {name}", got=str(error), expected="bits as node_oc packed them",
                         do="Restore the file from a copy, or pack the model again.") from error  # fmt: skip
    return torch.from_numpy(flat).reshape(packed.shape)


def size(coding: str, n: int, nonzero: int) -> int:
    """Bytes of a layer of n weights in a coding."""
    return -(-CODINGS[coding].length(n, nonzero) // 8)


def _signs(flat: Flat) -> Bits:
    """1 where a weight is negative."""
    return (flat < 0).view(np.uint8)


def _of_signs(bits: Bits) -> Flat:
    return 1 - 2 * bits.view(np.int8)


def _encode_two_bit(flat: Flat) -> Bits:
    """00 is 0, 10 is 1, 01 is -1: a bit for each sign, the positive one first."""
    return np.stack([flat > 0, flat < 0], 1).view(np.uint8).reshape(-1)


def _decode_two_bit(bits: Bits, n: int, m: int) -> Flat:
    positive, negative = bits.reshape(n, 2).view(np.int8).T
    if (both := np.flatnonzero(positive & negative)).size:
        raise NoMeaning(f"a two-bit code 11 at weight {both[0]}")
    return positive - negative


def _encode_bitmap(flat: Flat) -> Bits:
    """Where the non-zero weights are, a bit a weight; then their signs."""
    return np.concatenate([(flat != 0).view(np.uint8), _signs(flat[flat != 0])])


def _decode_bitmap(bits: Bits, n: int, m: int) -> Flat:
    where = bits[:n].astype(bool)
    if (found := int(np.count_nonzero(where))) != m:
        raise NoMeaning(f"a bitmap of {found} weights where {m} are announced")
    flat = np.zeros(n, np.int8)
    flat[where] = _of_signs(bits[n:])
    return flat


def _low(n: int, m: int) -> int:
    """How many lower bits of each index are written as they are, so that the index is as short as it can be."""
    return min(range(max(n - 1, 1).bit_length() + 1), key=lambda low: m * low + (max(n - 1, 0) >> low))


def _sparse_length(n: int, m: int) -> int:
    low = _low(n, m)
    return m + (max(n - 1, 0) >> low) + m * low + m


def _encode_sparse(flat: Flat) -> Bits:
    """Where the non-zero weights are, as a list of indices (Elias 1974, Fano 1971); then their signs.

    The upper bits of an index, which do not fall, are the zeros in front of its 1 in a row of zeros and ones; the lower
    bits are written as they are. Together 2 + log2(n / m) bits a non-zero weight, less than half a bit above what any
    list of so many indices takes; 16-bit indices take 16, gaps in bytes 8 and more.
    """
    where, n = np.flatnonzero(flat), flat.size
    low = _low(n, where.size)
    high = np.zeros(where.size + (max(n - 1, 0) >> low), np.uint8)
    high[(where >> low) + np.arange(where.size)] = 1
    lower = ((where[:, None] >> np.arange(low)) & 1).astype(np.uint8)
    return np.concatenate([high, lower.reshape(-1), _signs(flat[where])])


def _decode_sparse(bits: Bits, n: int, m: int) -> Flat:
    low = _low(n, m)
    end = m + (max(n - 1, 0) >> low)
    ones = np.flatnonzero(bits[:end])
    if ones.size != m:
        raise NoMeaning(f"a list of {ones.size} indices where {m} are announced")
    lower = bits[end : end + m * low].reshape(m, low).astype(np.int64)
    where = ((ones - np.arange(m)) << low) + lower @ (1 << np.arange(low))
    if m and (where[-1] >= n or (np.diff(where) <= 0).any()):
        raise NoMeaning(f"indices that do not rise, or end at {where[-1]} of {n} weights")
    flat = np.zeros(n, np.int8)
    flat[where] = _of_signs(bits[end + m * low :])
    return flat


CODINGS = {
    "bits": Coding("binary", lambda n, m: n, _signs, lambda bits, n, m: _of_signs(bits)),
    "two bits": Coding("ternary", lambda n, m: 2 * n, _encode_two_bit, _decode_two_bit),
    "bitmap": Coding("ternary", lambda n, m: n + m, _encode_bitmap, _decode_bitmap),
    "sparse": Coding("ternary", _sparse_length, _encode_sparse, _decode_sparse),
}
"""Every way to write weights, by the name that a file has for it."""
