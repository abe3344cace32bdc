"""The record of a run as Markdown: times, checks, bars, remarks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Record = dict[str, Any]


def markdown(record: Record) -> str:
    """All of it. The record alone is read."""
    tasks, machine = record["tasks"], record["machine"]
    rounds = " / ".join(str(task["rounds"]) for task in tasks)
    head = [
        f"# One training step{', quick run' if record['quick'] else ''}",
        "",
        f"{machine['processor']}, threads: {machine['threads']}, {machine['device']}; load {machine['load']}. "
        f"Medians over {rounds} rounds in turns. {record['seconds']:.0f} s in all.",
        "",
        "Versions: " + ", ".join(f"{name} {number}" for name, number in sorted(record["versions"].items())) + ".",
    ]
    if record["quick"]:
        head += ["", "A quick run has fewer sizes, variants and rounds: it shows that all works, and orders of size."]
    keys = [key for key in record["order"] if any(_row(task, key) for task in tasks)]
    parts = [head, times(tasks, keys), checks(tasks, keys), bars(record["bars"]), remarks(tasks, keys)]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def times(tasks: Sequence[Record], keys: Sequence[str]) -> list[str]:
    """Milliseconds of a step, node_oc's time as a share of it, and the rate of the bare products."""
    body = [[_marked(key, tasks, keys), *(_time(_row(task, key)) for task in tasks)] for key in keys]
    title = "## Milliseconds of a step; in brackets: node_oc's time / this one"
    lines = [title, "", *_table(["", *(task["name"] for task in tasks)], body)]
    floors = [(task, row) for task in tasks for row in task["rows"] if row["key"].startswith("floor/")]
    rates = [f"{task['flops'] / row['step']['median'] / 1e6:,.0f} ({row['label']}, {task['name']})"
             for task, row in floors if "step" in row]  # fmt: skip
    return [*lines, "", f"GFLOP/s of the products: {'; '.join(rates)}."] if rates else lines


def checks(tasks: Sequence[Record], keys: Sequence[str]) -> list[str]:
    """Relative errors of J and its gradient, and seconds until it runs."""
    body = [[_label(key, tasks), *(_check(_row(task, key)) for task in tasks)]
            for key in keys if not key.startswith("floor/")]  # fmt: skip
    title = "## Relative error of J and of its gradient, against float64; seconds until it runs (compilation)"
    return [title, "", *_table(["", *(task["name"] for task in tasks)], body)]


def bars(judged: Sequence[Record]) -> list[str]:
    """What was to be shown, and what was."""
    if not judged:
        return []
    body = [
        [str(bar["show"]), bar["what"] + (" \\*" if bar["harder"] else ""), bar["task"], _ratio(bar["ratio"]),
         f"{bar['limit']:.2f}", "met" if bar["met"] else "**missed**"]
        for bar in judged
    ]  # fmt: skip
    lines = ["## Bars", "", *_table(["show", "ratio", "task", "median (quartiles)", "at most", ""], body)]
    if any(bar["harder"] for bar in judged):
        lines += ["", "\\* A faster form of the peer, or of the products, than the one that the bar was written for."]
    return lines


def remarks(tasks: Sequence[Record], keys: Sequence[str]) -> list[str]:
    """Notes on single rows, and what went wrong; an error's first line alone."""
    lines = [f"{mark}. {_label(key, tasks)}: {note}." for mark, (key, note) in enumerate(_notes(tasks, keys), 1)]
    wrong = [f"- {task['name']}, {row['label']}: not timed. {row['error'].strip().splitlines()[0][:300]}"
             for task in tasks for row in task["rows"] if "error" in row]  # fmt: skip
    return ["## Remarks", "", *lines, *([""] if lines and wrong else []), *wrong] if lines or wrong else []


def _row(task: Record, key: str) -> Record | None:
    return next((row for row in task["rows"] if row["key"] == key), None)


def _any(key: str, tasks: Sequence[Record]) -> Record:
    return next(row for task in tasks for row in [_row(task, key)] if row)


def _label(key: str, tasks: Sequence[Record]) -> str:
    return str(_any(key, tasks)["label"])


def _notes(tasks: Sequence[Record], keys: Sequence[str]) -> list[tuple[str, str]]:
    return [(key, note) for key in keys if (note := _any(key, tasks)["note"])]


def _marked(key: str, tasks: Sequence[Record], keys: Sequence[str]) -> str:
    """The label, with the number of its remark."""
    marks = [noted for noted, _ in _notes(tasks, keys)]
    return _label(key, tasks) + (f" ({marks.index(key) + 1})" if key in marks else "")


def _time(row: Record | None) -> str:
    if row is None:
        return ""
    if "step" not in row:
        return "failed"
    share = f" ({_number(row['ratio']['median'])})" if row.get("ratio") else ""
    return _number(row["step"]["median"]) + share + (", one step" if row["once"] else "")


def _check(row: Record | None) -> str:
    if row is None:
        return ""
    if "gradient_error" not in row:
        return "failed"
    flag = "" if row["exact"] else " **differs**"
    return f"{row['loss_error']:.0e}, {row['gradient_error']:.0e}; {row['start_s']:.1f} s{flag}"


def _ratio(ratio: Record | None) -> str:
    if ratio is None:
        return "failed"
    return f"{ratio['median']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})"


def _number(value: float) -> str:
    """Two digits after the point below 10, whole numbers from 100 on."""
    if value < 0.1:
        return f"{value:.2g}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    rows = [head, ["---"] * len(head), *body]
    return ["| " + " | ".join(row) + " |" for row in rows]
