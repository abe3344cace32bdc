"""Discrete weights as bits: back to the bit, the smallest coding, and no bits without meaning."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, prod

import numpy as np
import pytest
import torch
from torch import Tensor

from node_oc.errors import ConfigError, StoreError
from node_oc.packing.bits import CODINGS, Packed, pack, size, unpack

SHAPES = [(1,), (7,), (8,), (1, 1), (1, 13), (13, 1), (5, 7), (16, 16), (33, 65), (4, 3, 3, 3), (0, 4)]
SHARES = [0.0, 0.002, 0.03, 0.1, 0.2, 0.3, 0.6, 0.9, 1.0]


def ternary(shape: tuple[int, ...], share: float, seed: int = 0) -> Tensor:
    """Weights of which that share is not 0, with both signs."""
    generator = torch.Generator().manual_seed(seed)
    flat = torch.zeros(prod(shape), dtype=torch.int8)
    some = torch.randperm(len(flat), generator=generator)[: round(share * len(flat))]
    flat[some] = (2 * torch.randint(2, some.shape, generator=generator) - 1).to(torch.int8)
    return flat.reshape(shape)


def by_coding(weight: Tensor, coding: str) -> Packed:
    """The weights in a coding that need not be the smallest."""
    flat = weight.numpy().reshape(-1)
    data = torch.from_numpy(np.packbits(CODINGS[coding].encode(flat), bitorder="little"))
    return Packed("ternary", coding, tuple(weight.shape), int(np.count_nonzero(flat)), data)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_round_trips_to_the_bit(shape: tuple[int, ...]) -> None:
    signs = ternary(shape, 1.0, 1)
    packed = pack(signs, "binary")
    assert torch.equal(unpack(packed), signs)
    assert len(packed.data) == ceil(prod(shape) / 8)
    for share in SHARES:
        weight = ternary(shape, share, 2)
        for packed in (pack(weight, "ternary"), *(by_coding(weight, c) for c in ("two bits", "bitmap", "sparse"))):
            back = unpack(packed)
            assert torch.equal(back, weight)
            assert back.dtype == torch.int8
            assert len(packed.data) == size(packed.coding, prod(shape), packed.nonzero)


def test_the_smallest_coding_is_chosen() -> None:
    n = 1000
    for share, coding in ((0.0, "sparse"), (0.01, "sparse"), (0.2, "sparse"), (0.3, "bitmap"), (0.9, "bitmap"),
                          (1.0, "two bits")):  # fmt: skip
        packed = pack(ternary((n,), share), "ternary")
        assert packed.coding == coding
        assert len(packed.data) == min(size(c, n, packed.nonzero) for c in ("two bits", "bitmap", "sparse"))


def test_sizes_by_formula() -> None:
    assert size("bits", 100, 60) == 13
    assert size("two bits", 100, 60) == 25
    assert size("bitmap", 100, 60) == 20  # 1 + 0.6 bits a weight
    # 8 of 1024 indices: 128 on average, so 7 bits as they are, 8 + 1023 >> 7 upper bits, and 8 signs.
    assert size("sparse", 1024, 8) == (8 * 7 + 8 + 7 + 8 + 7) // 8
    assert size("sparse", 10**6, 0) == 0
    n, m = 4_000_000, 400_000  # a tenth of the weights: less than 1/25 of float32, by a bitmap too
    assert size("sparse", n, m) < size("bitmap", n, m) < 4 * n / 25
    assert size("sparse", n, m) * 8 / m < 4 + np.log2(n / m)  # sign included


def test_bits_by_hand() -> None:
    weight = torch.tensor([1, 0, 0, -1, 1], dtype=torch.int8)
    assert by_coding(weight, "two bits").data.tolist() == [0b10_00_00_01, 0b01]
    assert by_coding(weight, "bitmap").data.tolist() == [0b010_11001]
    # Indices 0, 3, 4 without lower bits: zeros in front of them 0, 3, 1, so 1 0001 01, then the signs 0 1 0.
    assert by_coding(weight, "sparse").data.tolist() == [0b0_1010001, 0b01]
    # Indices 3, 8 of 9 with one lower bit: upper 1, 4, so 01 0001; lower 1 0; signs 0 1.
    assert by_coding(nine(), "sparse").data.tolist() == [0b01_100010, 0b10]
    assert pack(torch.tensor([1, -1, -1], dtype=torch.int8), "binary").data.tolist() == [0b110]


def nine() -> Tensor:
    return torch.tensor([0, 0, 0, 1, 0, 0, 0, 0, -1], dtype=torch.int8)


def damaged() -> list[tuple[str, Packed, str]]:
    """Every kind of bits without meaning, and a part of what is said of it."""
    weight = torch.tensor([1, 0, 0, -1, 1], dtype=torch.int8)
    two, bitmap, sparse = by_coding(weight, "two bits"), by_coding(weight, "bitmap"), by_coding(nine(), "sparse")
    ones = pack(torch.tensor([1, -1, -1], dtype=torch.int8), "binary")

    def flip(packed: Packed, *bits: int) -> Packed:
        data = packed.data.clone()
        for bit in bits:
            data[bit // 8] ^= 1 << bit % 8
        return replace(packed, data=data)

    return [
        ("code 11", flip(two, 1), "two-bit code 11 at weight 0"),
        ("code 11 later", flip(two, 9), "two-bit code 11 at weight 4"),
        ("bit behind two bits", flip(two, 10), "behind the last weight"),
        ("bit behind signs", flip(ones, 3), "behind the last weight"),
        ("bit behind sparse", flip(sparse, 10), "behind the last weight"),
        ("two bits, one weight more", flip(two, 2), "4 non-zero weights where 3"),
        ("bitmap, one weight more", flip(bitmap, 1), "a bitmap of 4 weights where 3"),
        ("list, one index more", flip(sparse, 0), "a list of 3 indices where 2"),
        ("list, one index less", flip(sparse, 1), "a list of 1 indices where 2"),
        ("index out of range", flip(sparse, 7), "end at 9 of 9"),
        ("index twice", flip(sparse, 2, 5, 7), "do not rise"),
        ("binary, fewer announced", replace(ones, nonzero=2), "3 non-zero weights where 2"),
        ("count above the size", replace(two, nonzero=6), "6 non-zero weights in a shape"),
        ("negative count", replace(two, nonzero=-1), "-1 non-zero weights in a shape"),
        ("negative shape", replace(two, shape=(-5, -1)), "in a shape [-5, -1]"),
        ("too few bytes", replace(two, data=two.data[:1]), "[1] where 2 bytes"),
        ("too many bytes", replace(bitmap, data=torch.zeros(3, dtype=torch.uint8)), "[3] where 1 bytes"),
        ("another type", replace(bitmap, data=bitmap.data.int()), "torch.int32 [1]"),
        ("another shape", replace(two, shape=(9,)), "[2] where 3 bytes"),
        ("unknown coding", replace(two, coding="zip"), "a coding 'zip'"),
        ("coding of another set", replace(two, coding="bits"), "a coding 'bits' of ternary"),
        ("another set", replace(two, values="binary"), "a coding 'two bits' of binary"),
    ]  # fmt: skip


@pytest.mark.parametrize(("packed", "said"), [case[1:] for case in damaged()], ids=[case[0] for case in damaged()])
def test_bits_without_meaning_name_the_layer(packed: Packed, said: str) -> None:
    with pytest.raises(StoreError, match="packed weights of block 3") as caught:
        unpack(packed, "block 3")
    assert said in str(caught.value)


def test_any_damaged_byte_is_refused_or_means_other_weights() -> None:
    """A checksum sees damage; without one it gives other weights or an error, never the same weights."""
    weight = ternary((9, 11), 0.15, 3)
    for coding in ("two bits", "bitmap", "sparse"):
        packed = by_coding(weight, coding)
        refused = 0
        for bit in range(8 * len(packed.data)):
            data = packed.data.clone()
            data[bit // 8] ^= 1 << bit % 8
            try:
                assert not torch.equal(unpack(replace(packed, data=data)), weight)
            except StoreError:
                refused += 1
        assert refused


@pytest.mark.parametrize(
    ("weight", "values", "said"),
    [
        (torch.tensor([1, 0], dtype=torch.int8), "binary", "1 weights outside"),
        (torch.tensor([1, 2, -3], dtype=torch.int8), "ternary", "2 weights outside"),
        (torch.tensor([1.0, 0.0]), "ternary", "torch.float32, expected torch.int8"),
        (torch.tensor([1], dtype=torch.int8), "quaternary", "'quaternary', expected binary or ternary"),
    ],
)
def test_other_weights_are_refused(weight: Tensor, values: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        pack(weight, values)
