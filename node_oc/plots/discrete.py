"""How a network of discrete weights was trained, epoch by epoch."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from node_oc.plots.style import CUT, FAINT, INK, Record, class_colour, figure, plain_log, styled, text, values


@styled
def epochs(record: Record) -> Figure:
    """Against the epoch: the error on validation data; the share of weights that are not 0; the share that changed."""
    rows = record["epochs"]
    ternary = record["values"] == "ternary"
    fig = figure(13.0 if ternary else 9.4, 3.9, f"{text(record['name'])}: {record['values']} weights, epoch by epoch")
    axes = fig.subplots(1, 2 + ternary)
    at = values(row["epoch"] for row in rows)
    _metric(axes[0], record, at)
    names = [layer["name"] for layer in rows[-1]["layers"]] if rows else []
    if ternary:
        _shares(axes[1], record, at, "nonzero", "weights that are not 0")
        axes[1].plot(at, values(100 * row["nonzero"] for row in rows), color=INK, lw=3.6, alpha=0.5, zorder=1.5,
                     gid="nonzero all")  # fmt: skip
    _shares(axes[-1], record, at, "changed", "weights that changed in the epoch")
    lines = [Line2D([], [], color=class_colour(i), marker="o", ms=4, label=_short(name))
             for i, name in enumerate(names)]  # fmt: skip
    if ternary:
        lines.append(Line2D([], [], color=INK, lw=3.6, alpha=0.5, label="all layers"))
    fig.legend(handles=lines, loc="outside lower center", ncols=6)
    return fig


def _metric(ax: Axes, record: Record, at: np.ndarray) -> None:
    classify, rows = record["data"]["task"] == "classification", record["epochs"]
    least = 50 / record["data"]["val"]  # half a sample, where none is wrong
    shown = values(row["metric"] for row in rows)
    shown = np.maximum(100 * (1 - shown), least) if classify else shown
    ax.plot(at, shown, color=CUT, marker="o", ms=4, gid="metric")
    ax.set_title("validation error" if classify else "validation loss")
    ax.set_ylabel("%" if classify else "loss")
    plain_log(ax)
    _epochs(ax)


def _shares(ax: Axes, record: Record, at: np.ndarray, key: str, title: str) -> None:
    """A line a layer, in %, on a log axis; what is exactly 0 is not drawn."""
    rows = record["epochs"]
    for i in range(len(rows[-1]["layers"]) if rows else 0):
        share = values(100 * row["layers"][i][key] or None for row in rows)
        ax.plot(at, share, color=class_colour(i), marker="o", ms=4, gid=f"{key} {i}")
    ax.set_title(title)
    ax.set_ylabel("%")
    plain_log(ax)
    _epochs(ax)


def _epochs(ax: Axes) -> None:
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    ax.grid(axis="y", color=FAINT, lw=0.6)


def _short(name: str) -> str:
    return text(name.removeprefix("system.").removesuffix(".layer"))
