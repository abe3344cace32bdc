"""What the weights of a model take, layer by layer: packed and in float32."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from node_oc.packing.files import packed_weights
from node_oc.packing.sparse import Speed

REAL = "real"
FLOAT32 = 4  # bytes


@dataclass(frozen=True)
class Row:
    """One layer, or all of its real numbers.

    Attributes:
        name: of the module.
        values: "binary", "ternary" or "real".
        shape: of the weights; of real numbers how many there are.
        coding: see :mod:`node_oc.packing.bits`; of real numbers their type.
        nonzero: share of the numbers that are not 0, in [0, 1].
        bits: a number takes, packed.
        packed: bytes, packed.
        float32: bytes of as many numbers in float32.
    """

    name: str
    values: str
    shape: tuple[int, ...]
    coding: str
    nonzero: float
    bits: float
    packed: int
    float32: int

    @property
    def ratio(self) -> float:
        """How many times as large it is in float32."""
        return self.float32 / self.packed if self.packed else float("inf")


@dataclass(frozen=True)
class Summary:
    """What a model takes.

    Attributes:
        rows: one a module that has numbers of its own, in the order of the modules.
        discrete: all discrete weights together.
        total: everything together.
    """

    rows: tuple[Row, ...]
    discrete: Row
    total: Row

    def record(self, speeds: Iterable[Speed] = ()) -> dict[str, Any]:
        """As JSON has it, with the ways that were measured."""
        rows = [*self.rows, self.discrete, self.total]
        told = [{**asdict(row), "shape": list(row.shape), "ratio": row.ratio} for row in rows]
        return {"layers": told[:-2], "discrete": told[-2], "total": told[-1], "speeds": [asdict(s) for s in speeds]}


def summarise(model: nn.Module) -> Summary:
    """What each layer of a model takes, packed and in float32, read off its weights; saved or not, packed or not.

    Names are those of the modules, without the "network.system." that all have in common.
    """
    packed, tensors, rows = packed_weights(model), model.state_dict(), []
    for key, each in packed.items():
        n = tensors[key].numel()
        rows.append(_row(_short(key), each.values, each.shape, each.coding, each.nonzero, n, len(each.data)))
    real: dict[str, list[str]] = {}
    for key in tensors.keys() - packed.keys():
        real.setdefault(_short(key), []).append(key)
    for name, keys in real.items():
        held = [tensors[key] for key in keys]
        n, size = sum(t.numel() for t in held), sum(t.numel() * t.element_size() for t in held)
        kinds = sorted({str(t.dtype).removeprefix("torch.") for t in held if t.is_floating_point()})
        count = sum(int(t.count_nonzero()) for t in held)
        rows.append(_row(name, REAL, (n,), ", ".join(kinds) or "integers", count, n, size))
    order = {_short(key): i for i, key in reversed(list(enumerate(tensors)))}
    rows.sort(key=lambda row: (order[row.name], row.values == REAL))
    return Summary(tuple(rows), _sum("discrete", [r for r in rows if r.values != REAL]), _sum("all", rows))


def _row(name: str, values: str, shape: tuple[int, ...], coding: str, nonzero: int, n: int, size: int) -> Row:
    return Row(name, values, shape, coding, nonzero / n if n else 0.0, 8 * size / n if n else 0.0, size, FLOAT32 * n)


def _sum(name: str, rows: list[Row]) -> Row:
    n, size = sum(row.float32 for row in rows) // FLOAT32, sum(row.packed for row in rows)
    nonzero = round(sum(row.nonzero * row.float32 / FLOAT32 for row in rows))
    kinds = ", ".join(dict.fromkeys(row.values for row in rows))
    codings = ", ".join(dict.fromkeys(row.coding for row in rows))
    return _row(name, kinds, (n,), codings, nonzero, n, size)


def _short(key: str) -> str:
    """The module that a tensor belongs to; what turns raw units into states belongs to the model itself."""
    return key.rpartition(".")[0].removeprefix("network.system.") or "raw units"
