"""What a model takes, packed and in float32, and which layers run faster without their zeros: tables and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from rich import box
from rich.table import Table

from node_oc.report.table import Record, number, percent

HEADS = ("layer", "weights", "not 0", "bits\neach", "coding", "bytes\npacked", "bytes\nfloat32", "ratio")
SPEED_HEADS = ("layer", "batch", "dense, ms", "chosen, ms", "way", "times as fast")
WHOLE, SUMS = "all layers", ("discrete", "all")


def packed_rows(record: Record) -> list[list[str]]:
    """The cells of the table of layers, the sums last; see :meth:`node_oc.packing.Summary.record`."""
    sums = [record["total"]]
    if record["discrete"]["packed"]:
        sums = [record["discrete"], *sums]
    return [_cells(row) for row in [*record["layers"], *sums]]


def speed_rows(record: Record) -> list[list[str]]:
    """The cells of the table of speeds, a row a layer and batch size, the whole model last."""
    return [
        [short(each["name"]), number(each["batch"]), number(each["milliseconds"]["dense"], 3),
         number(each["milliseconds"][each["way"]], 3), each["way"],
         f"{each['ratio']:.2f}" if each["way"] != "dense" else "stays dense"]
        for each in record["speeds"]
    ]  # fmt: skip


def packed_table(record: Record, title: str) -> Table:
    """A row a layer, for a terminal."""
    out = _table(title, HEADS, left=(0, 4))
    rows = packed_rows(record)
    for i, row in enumerate(rows):
        if i == len(record["layers"]):
            out.add_section()
        out.add_row(*row)
    return out


def speed_table(record: Record) -> Table:
    """A row a layer and batch size, for a terminal."""
    out = _table("measured here, in turns, dense against the fastest way", SPEED_HEADS, left=(0, 4))
    for row, each in zip(speed_rows(record), record["speeds"], strict=True):
        out.add_row(*row, end_section=each["name"] == WHOLE)
    return out


def speed_sentences(speeds: Sequence[Record]) -> list[str]:
    """For each batch size, which layers run faster without their zeros, and by how much."""
    told = []
    for batch in dict.fromkeys(each["batch"] for each in speeds):
        here = [each for each in speeds if each["batch"] == batch]
        layers = [each for each in here if each["name"] != WHOLE]
        whole = next(each for each in here if each["name"] == WHOLE)
        fast = [each for each in layers if each["way"] != "dense"]
        start = f"At a batch of {batch}"
        if not fast or whole["way"] == "dense":
            told.append(f"{start} no path without the zeros is faster: every layer stays dense.")
            continue
        names = ", ".join(f"{short(each['name'])} {each['ratio']:.1f}" for each in fast)
        rest = len(layers) - len(fast)
        dense = f"; {rest} stay{'s' * (rest == 1)} dense" if rest else ""
        told.append(f"{start} the model without its zeros is {whole['ratio']:.1f} times as fast as dense float32 "
                    f"(times as fast by layer: {names}{dense}).")  # fmt: skip
    return told


def short(name: str) -> str:
    """A layer without what the names of all have in common."""
    return name.removeprefix("network.system.")


def _cells(row: dict[str, Any]) -> list[str]:
    real = row["values"] == "real"
    shape = "x".join(map(str, row["shape"])) if len(row["shape"]) > 1 else number(prod(row["shape"]))
    summed = row["name"] in SUMS
    return [
        row["name"], shape, "" if real or row["name"] == SUMS[1] else percent(row["nonzero"]), f"{row['bits']:.3g}",
        "" if summed else row["coding"], number(row["packed"]), number(row["float32"]),
        f"{row['ratio']:.1f}",
    ]  # fmt: skip


def _table(title: str, heads: Sequence[str], left: Sequence[int]) -> Table:
    out = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for i, head in enumerate(heads):
        out.add_column(head, justify="left" if i in left else "right", no_wrap=True)
    return out
