"""The value function of a noisy network: over depth and state in one dimension, in the plane of states in two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from node_oc.plots.style import CUT, FAINT, INK, MUTED, Record, class_colour, figure, styled, text

VALUE = LinearSegmentedColormap.from_list("value", ["#f4f6f9", "#9dbbd6", "#2f6c9f", "#12304d"])
LEVELS = 24
LINES = 9  # contour lines


@styled
def value_over_depth(record: Record) -> Figure:
    """v(t, x) of one state dimension in shades with some paths, and v(0, x) beside the terminal cost.

    Args:
        record: ``name``; ``value``, from :meth:`node_oc.ValueFunction.record`; ``cost``, what phi is called; and, if
            there are any, ``points`` with ``x``, ``mean`` and ``error``: estimates of v(0, x) with their standard
            errors, of which twice is drawn.
    """
    value = record["value"]
    t, x, v = np.array(value["t"]), np.array(value["axes"][0]), np.array(value["values"])
    fig = figure(10.6, 4.6, f"{text(record['name'], 60)}: what is expected from a state on")
    left, right = fig.subplots(1, 2, width_ratios=(1.5, 1))
    norm = Normalize(float(v.min()), float(v.max()))
    left.contourf(t, x, v.T, LEVELS, cmap=VALUE, norm=norm, zorder=0)
    paths = np.array(value["paths"])[:, :, 0]
    lines = [np.stack([value["path_t"], path], 1) for path in paths]
    left.add_collection(LineCollection(lines, colors=class_colour(1), linewidths=0.7, alpha=0.7, gid="paths"))
    left.set(xlim=(t[0], t[-1]), ylim=(x[0], x[-1]), xlabel="depth as time t", ylabel="state x")
    left.set_title("v(t, x), and some paths")
    _bar(fig, left, norm, str(record["cost"]))
    low, high = value["region"][0]
    right.plot(x, v[-1], color=MUTED, lw=1.4, ls=(0, (4, 2)), label="at the end: φ(x)", gid="terminal")
    right.plot(x, v[0], color=INK, label="at the beginning: v(0, x)", gid="value")
    seen = v[[0, -1]][:, (x >= low) & (x <= high)]
    room = 0.05 * (float(seen.max() - seen.min()) or 1.0)
    right.set(xlim=(low - 0.03 * (high - low), high + 0.03 * (high - low)),
              ylim=(float(seen.min()) - room, float(seen.max()) + 2 * room))  # fmt: skip
    if points := record.get("points"):
        right.errorbar(points["x"], points["mean"], 2 * np.array(points["error"]), fmt="o", ms=3.5, color=CUT, lw=1.2,
                       label="Monte Carlo, ± 2 standard errors", zorder=4)  # fmt: skip
    right.set(xlabel="state x", ylabel=str(record["cost"]))
    right.set_title("v at both ends")
    right.legend(loc="best")
    return fig


@styled
def value_in_plane(record: Record) -> Figure:
    """v(0, x) of two state dimensions in shades with contour lines, one panel for each of some networks, one scale.

    Args:
        record: ``name``; ``cost``, what phi is called; ``panels``, each with ``title`` and ``value``, from
            :meth:`node_oc.ValueFunction.record`; and, if wanted, ``samples`` (n, 2) with ``labels`` (n,).
    """
    panels: Sequence[dict[str, Any]] = record["panels"]
    fig = figure(0.9 + 4.1 * len(panels), 4.7, f"{text(record['name'], 60)}: what is expected from an input on")
    grid = fig.subplots(1, len(panels), squeeze=False)[0]
    fields = [np.array(panel["value"]["values"][0]) for panel in panels]
    norm = Normalize(min(float(v.min()) for v in fields), max(float(v.max()) for v in fields))
    for ax, panel, v in zip(grid, panels, fields, strict=True):
        x, y = (np.array(axis) for axis in panel["value"]["axes"])
        ax.contourf(x, y, v.T, np.linspace(norm.vmin or 0, norm.vmax or 1, LEVELS), cmap=VALUE, norm=norm, zorder=0)
        ax.contour(x, y, v.T, LINES, colors="white", linewidths=0.5, alpha=0.8, zorder=1)
        _samples(ax, record)
        ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), box_aspect=1, xlabel="first entry of the state")
        ax.set_title(text(panel["title"], 40))
    grid[0].set_ylabel("second entry of the state")
    _bar(fig, list(grid), norm, str(record["cost"]))
    return fig


def _samples(ax: Axes, record: Record) -> None:
    if not record.get("samples"):
        return
    at, labels = np.array(record["samples"], dtype=float), np.array(record["labels"], dtype=int)
    for label in np.unique(labels):
        ax.plot(*at[labels == label].T, "o", ms=3.2, mfc=_warm(label), mec="white", mew=0.4, gid=f"class {label}")


def _warm(label: int) -> str:
    return ("#E69F00", "#D55E00", "#CC79A7")[label % 3]


def _bar(fig: Figure, axes: Axes | list[Axes], norm: Normalize, label: str) -> None:
    bar = fig.colorbar(ScalarMappable(norm, VALUE), ax=axes, shrink=0.85, aspect=26, pad=0.02)
    bar.set_label(label)
    bar.outline.set_edgecolor(FAINT)
