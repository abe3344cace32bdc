"""A search beside its rivals: what each depth is worth, by each way to it, and what each way costs."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from node_oc.plots.style import (
    CLASSES,
    CUT,
    FAINT,
    INK,
    MUTED,
    NETWORKS,
    WHITE,
    Array,
    Record,
    figure,
    layers,
    log_axis,
    styled,
    text,
    values,
)  # fmt: skip

WAYS = {
    "plain": (MUTED, "s"), "ours": (CUT, "o"), "drop last": (CLASSES[1], "v"), "block influence": (CLASSES[0], "^"),
}  # fmt: skip
"""Colour and marker of every curve; sweeps answer with plain networks."""
FRESH = "fresh, healing epochs only"


@styled
def rivals(record: Record) -> Figure:
    """Test error against layers for every way, and the work of every way with the layers that it ends with."""
    fig = figure(12.5, 4.9, f"{text(record['name'])}: other ways to a shallow network")
    left, right = fig.subplots(1, 2, width_ratios=(1.25, 1))
    _curves(left, record)
    _work(right, record)
    handles, names = left.get_legend_handles_labels()
    ring = Line2D([], [], marker="o", ls="", mfc="none", mec=INK, mew=1.1, ms=13)
    full = Line2D([], [], marker="s", ls="", color=MUTED, ms=7)
    fig.legend([*handles, full, ring], [*names, "within the budget", "an answer"], loc="outside lower left", ncols=7)
    return fig


def _curves(ax: Axes, record: Record) -> None:
    """Errors with 95 % intervals on a log axis; filled where a network is within the budget."""
    classify = record["task"] == "classification"
    curves = {name: found for name in WAYS if len(found := _curve(record, name))}
    errors = [np.concatenate([_error(p["test"]) for p in points]) for points in curves.values()]
    *drawn, reference = log_axis(ax, [*errors, _error(record["reference"]["test"])[:1]])
    answers = {(row["name"] if row["name"] in WAYS else "plain", row["layers"])
               for row in record["rows"] if row["name"] != FRESH}  # fmt: skip
    for i, ((name, points), ends) in enumerate(zip(curves.items(), drawn)):
        colour, marker = WAYS[name]
        aside = 0.008 * record["N"] * (i - (len(curves) - 1) / 2)  # so that equal ones do not hide each other
        at = values(p["layers"] for p in points) + aside
        mean, low, high = ends.reshape(-1, 3).T
        ax.vlines(at, low, high, color=colour, lw=3, alpha=0.25)
        ax.plot(at, mean, color=colour, gid=f"curve {name}", label=name, marker=marker, mfc="white", mec=colour, ms=7)
        inside = np.array([p["inside"] for p in points])
        ax.plot(at[inside], mean[inside], marker, color=colour, mec=colour, ms=7, gid=f"inside {name}")
        for p, x, y in zip(points, at, mean):
            if (name, p["layers"]) in answers:
                ax.plot(x, y, "o", mfc="none", mec=INK, mew=1.1, ms=13, gid=f"answer {name}")
    ax.axhline(float(reference[0]), color=NETWORKS["full"], lw=1, ls=(0, (4, 3)), zorder=0, label="reference")
    ax.yaxis.set_major_formatter("{x:g}")
    layers(ax, record["N"], "layers")
    ax.set_title("test error in %, 95 % interval" if classify else "test loss, 95 % interval")
    ax.grid(axis="y", color=FAINT, lw=0.6)


def _curve(record: Record, name: str) -> list[Any]:
    """The points of one way, by depth."""
    if name == "ours":
        found = {c["depth"]: {"layers": c["depth"], **c} for c in record["candidates"]}
        return [found[m] for m in sorted(found)]
    points = [row for row in record["plain"] + record["cuts"] if row["name"] == name]
    if name != "plain":  # with nothing dropped it is the plain network of N layers
        points += [row for row in record["plain"] if row["layers"] == record["N"] and points]
    return sorted(points, key=lambda row: row["layers"])


def _error(test: Record) -> Array:
    """Error in %, or loss, with the ends of its interval."""
    mean, low, high = values(test[key] for key in ("value", "low", "high"))
    return 100 * (1 - np.array([mean, high, low])) if test["name"] == "accuracy" else np.array([mean, low, high])


def _work(ax: Axes, record: Record) -> None:
    """Horizontal bars from zero; pale where the answer is not within the budget."""
    rows = record["rows"]
    ax.set_title("work in trainings of one layer")
    for i, row in enumerate(rows):
        ax.barh(i, row["work"], height=0.62, color=WAYS.get(row["name"], WAYS["plain"])[0],
                alpha=1.0 if row["inside"] else 0.35, gid=f"work {row['name']}")  # fmt: skip
        note = f"{row['work']:.1f}, ends with {row['layers']} layer{'s' * (row['layers'] != 1)}"
        ax.annotate(note if row["inside"] else f"{note}, over the budget", (row["work"], i), xytext=(5, 0),
                    textcoords="offset points", va="center", fontsize=9.5, bbox=WHITE)  # fmt: skip
    ax.set_yticks(range(len(rows)), [row["name"] for row in rows], color=INK, fontsize=10)
    ax.set_ylim(len(rows) - 0.45, -0.55)
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(0, 2.0 * max([row["work"] for row in rows], default=1.0) or 1.0)
    ax.set_xticks([])
    ax.spines["bottom"].set_visible(False)
