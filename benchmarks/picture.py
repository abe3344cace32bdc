"""The record of a run as a picture: milliseconds of a step by variant, one panel a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.peers import OURS
from node_oc.plots.style import CLASSES, CUT, FAINT, INK, MUTED, WHITE, figure, styled

COLOURS = {
    "floor": MUTED, "node_oc": CUT, "torchdiffeq": CLASSES[0], "torchdyn": CLASSES[2], "torchode": CLASSES[3],
    "jax": CLASSES[1],
}  # fmt: skip
ROW = 0.27
"""Inches of a row."""


@styled
def picture(record: Any) -> Figure:
    """One point a variant on a log axis, its time beside it; hollow where it computes something else."""
    tasks = [task for task in record["tasks"] if any("step" in row for row in task["rows"])]
    rows = [[row for row in task["rows"] if "step" in row] for task in tasks]
    across = 2 if len(tasks) > 1 else 1
    down = -(-len(tasks) // across)
    most = [max(len(r) for r in rows[i * across : (i + 1) * across]) for i in range(down)]
    quick = ", quick run" if record["quick"] else ""
    fig = figure(6.6 * across, sum(ROW * n + 0.9 for n in most) + 0.8, f"One training step: milliseconds{quick}")
    axes = fig.subplots(down, across, squeeze=False, height_ratios=[ROW * n + 0.5 for n in most])
    for i, ax in enumerate(axes.flat):
        if i < len(tasks):
            panel(ax, tasks[i]["name"], rows[i], most[i // across])
        else:
            ax.axis("off")
    machine = record["machine"]
    said = (
        f"{machine['processor']}, threads: {machine['threads']}, {machine['device']}. Medians of rounds in turns, "
        "quartiles as a bar.",
        "Hollow: not the same J or gradient. Arrow: off the axis. Dashed: node_oc.",
    )
    fig.supxlabel((" " if across > 1 else "\n").join(said), x=0.1 / fig.get_figwidth(), ha="left", color=MUTED,
                  fontsize=8.5)  # fmt: skip
    return fig


def panel(ax: Axes, name: str, rows: list[Any], room: int) -> None:
    """One task; the fastest above, a dashed line at node_oc, what takes seconds at the right edge."""
    rows = sorted(rows, key=lambda row: row["step"]["median"])
    shown = [row["step"] for row in rows if not row["once"]] or [row["step"] for row in rows]
    low, high = min(step["low"] for step in shown), max(step["high"] for step in shown)
    edge = high * 1.3 * (high / low) ** 0.15
    ax.set_xscale("log")
    ax.set_xlim(low / 1.25, edge)
    for i, row in enumerate(rows):
        step, peer = row["step"], row["key"].split("/")[0]
        colour, off = COLOURS[peer], step["median"] > edge
        fill = colour if row.get("exact", True) else "white"
        if off:  # at the right edge, in units of the axes
            ax.plot(0.985, i, ">", color=colour, mfc=fill, ms=6.5, gid=row["key"], transform=ax.get_yaxis_transform())
            ax.annotate(_said(step["median"]), (0.985, i), xycoords=ax.get_yaxis_transform(), xytext=(-7, 0),
                        textcoords="offset points", ha="right", va="center", fontsize=8.5, color=INK)  # fmt: skip
            continue
        ax.hlines(i, step["low"], step["high"], color=colour, lw=4, alpha=0.35)
        ax.plot(step["median"], i, "s" if peer == "floor" else "o", color=colour, mfc=fill, ms=6.5, gid=row["key"])
        ax.annotate(_said(step["median"]), (step["high"], i), xytext=(7, 0), textcoords="offset points", va="center",
                    fontsize=8.5, color=INK, bbox=WHITE)  # fmt: skip
        if row["key"] == OURS:
            ax.axvline(step["median"], color=CUT, lw=1, ls=(0, (4, 3)), zorder=0)
    ax.set_yticks(range(len(rows)), [row["label"] for row in rows], fontsize=9)
    for label, row in zip(ax.get_yticklabels(), rows, strict=True):
        label.set_color(COLOURS[row["key"].split("/")[0]])
        label.set_fontweight("bold" if row["key"] == OURS else "normal")
    ax.set_ylim(room - 0.4, -0.6)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=FAINT, lw=0.6)
    ax.set_title(name)


def _said(ms: float) -> str:
    if ms >= 1000:
        return f"{ms / 1000:.1f} s"
    return f"{ms:.2f}" if ms < 10 else f"{ms:.1f}" if ms < 100 else f"{ms:.0f}"


def draw(record: Any, path: Path) -> Path:
    """Write the picture as PNG."""
    picture(record).savefig(path, dpi=140)
    return path
