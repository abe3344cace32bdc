"""Numbers of a record as a reader sees them, and the table of its networks."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

Record = Mapping[str, Any]
NAMES = {"full": "full", "cropped": "cropped", "plain": "plain neighbour"}
GROWN = {"full": "deepest tried", "cropped": "depth found", "plain": "plain neighbour"}


class Cell(NamedTuple):
    """One entry of the table: the numbers as the record has them, and how they are written."""

    values: tuple[Any, ...]
    text: str


def number(value: Any, digits: int = 4) -> str:
    """A number as it is written everywhere: integers in full, others to so many significant digits."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.{digits}g}".replace("-", "−") if math.isfinite(value) else str(value)


def points(value: Any) -> str:
    """An accuracy given as a fraction, in per cent."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return number(value)
    return f"{100 * value:.2f} %"


def percent(value: float) -> str:
    """A share in per cent, to three digits."""
    return f"{100 * value:.3g} %"


def share(value: float) -> str:
    """A confidence given as a fraction, in per cent."""
    return f"{100 * value:.6g} %"


def ranges(steps: Sequence[int]) -> str:
    """Indices in short: "0 to 5, 8"."""
    runs: list[list[int]] = []
    for k in sorted(steps):
        if runs and k == runs[-1][1] + 1:
            runs[-1][1] = k
        else:
            runs.append([k, k])
    return ", ".join(f"{a} to {b}" if b > a else f"{a}" for a, b in runs) or "none"


def setting(value: Any) -> str:
    """A value of the configuration: text as it is, the rest as JSON has it."""
    return value if isinstance(value, str) else "not set" if value is None else json.dumps(value, ensure_ascii=False)


def metric(entry: Record) -> str:
    """A metric with its interval: "99.87 % (99.80 to 99.94)"."""
    write = points if entry["name"] == "accuracy" else number
    value, low, high = (write(entry[key]) for key in ("value", "low", "high"))
    return value if entry["low"] is None else f"{value} ({low.removesuffix(' %')} to {high.removesuffix(' %')})"


def columns(record: Record) -> list[tuple[str, str]]:
    """Heading and second line (its unit) of every column of the table."""
    models = record["models"]
    name = models[0]["metric"]["name"] if models else "metric"
    batches = [(f"latency, batch {batch}", "ms, p50 / p95") for batch in _batches(models)]
    memory = [(f"peak memory, batch {batch}", "MiB") for batch in _largest(models)]
    return [("network", ""), ("layers", ""), ("parameters", ""), ("FLOPs", ""), *batches, *memory,
            (f"test {name}", "95 % interval")]  # fmt: skip


def rows(record: Record) -> list[list[Cell]]:
    """The cells of the table: the full network, the cropped one, its plain neighbour."""
    out = []
    names = GROWN if record.get("growth") else NAMES
    for model in record["models"]:
        name, entry = model["name"], model["metric"]
        row = [Cell((name,), names.get(name, name))]
        row += [Cell((model[key],), number(model[key])) for key in ("layers", "parameters", "flops")]
        for batch in _batches(record["models"]):
            both = (model["latency_ms"] or {}).get(batch) or {"p50": None, "p95": None}
            row.append(Cell((both["p50"], both["p95"]), f"{number(both['p50'], 3)} / {number(both['p95'], 3)}"))
        for batch in _largest(record["models"]):
            used = (model.get("memory") or {}).get(batch)
            row.append(Cell((used,), number(used and used / 2**20, 3)))
        out.append([*row, Cell((entry["value"], entry["low"], entry["high"]), metric(entry))])
    return out


def table(record: Record) -> Table:
    """The networks side by side, for a terminal of 80 columns: latency at batch 1 only."""
    heads = columns(record)
    shown = [i for i, (heading, _) in enumerate(heads) if not heading.startswith(("latency", "peak"))
             or heading.endswith("latency, batch 1")]  # fmt: skip
    out = Table(title=Text(str(record["name"])), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False,
                padding=(0, 1, 0, 0))  # fmt: skip
    for i in shown:
        words = "\n".join(filter(None, heads[i])).replace(", ", "\n")
        out.add_column(words, justify="right" if i else "left", no_wrap=i > 0)
    for row in rows(record):
        out.add_row(*(Text(row[i].text.replace(" (", "\n(")) for i in shown))
    return out


def _largest(models: list[Any]) -> list[str]:
    """The largest batch size whose memory is known, or none."""
    return sorted({batch for model in models for batch in model.get("memory") or {}}, key=int)[-1:]


def _batches(models: list[Any]) -> list[str]:
    return sorted({batch for model in models for batch in model["latency_ms"] or {}}, key=int)
