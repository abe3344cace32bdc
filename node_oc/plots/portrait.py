"""The phase portrait: where the field points in a plane, where samples go in it, and the minimiser sets."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize, PowerNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from node_oc.plots.style import FAINT, INK, MUTED, NETWORKS, Array, Record, class_colour, figure, styled, text

SPEED = LinearSegmentedColormap.from_list("speed", ["#dfe3e9", INK])  # of arrows; white paper is not on it
ARROW = 0.8  # of the distance between two arrows
NAMED = 10  # classes in the legend; their colours repeat after that


@styled
def portrait(record: Record) -> Figure:
    """Fields F_k at some layers as arrows, trajectories of some samples over all layers, and minimiser sets.

    Left the way of the states, right one panel a layer with the field and the step that the samples take in it; one
    panel alone where all layers have the same field. Arrows have one length and tell the speed by their shade, on one
    scale for all layers; where the field is exactly zero there is none. Needs ``record["portrait"]``, see
    :func:`node_oc.diagnosis.portrait.portrait`.
    """
    part, name = record["portrait"], text(record["name"])
    speeds = np.hypot(*np.moveaxis(np.array(part["arrows"], dtype=float), -1, 0))
    norm = PowerNorm(0.5, 0, float(np.percentile(speeds[np.isfinite(speeds)], 99)) or 1.0)
    title = f"{name}: where the field points, and where the states go"
    if part["constant"] or len(part["layers"]) == 1:
        fig = figure(8.4, 7.0, title)
        ax = fig.subplots()
        _field(ax, part, 0, norm)
        _paths(ax, record)
        when = "the field of every step" if part["constant"] else f"field of step {_when(part, 0)}"
        ax.set_title(f"{when}, and states $x_k$, one line a sample")
        _names(ax, part)
        _scale(fig, [ax], norm, part)
        fig.legend(handles=_legend(record), loc="outside lower center", ncols=4, handletextpad=0.4)
        return fig
    columns = 2 if len(part["layers"]) <= 4 else 3
    rows = math.ceil(len(part["layers"]) / columns)
    height = max(5.2, 2.75 * rows)
    fig = figure(height + 0.4 + 2.6 * columns + 0.9, height + 0.9, title)
    left, right = fig.subfigures(1, 2, squeeze=False, width_ratios=(height + 0.4, 2.6 * columns + 0.9))[0]
    _states(left, record)
    grid = right.subplots(rows, columns, squeeze=False).ravel()
    for ax in grid[len(part["layers"]) :]:
        ax.set_axis_off()
    for index, ax in enumerate(grid[: len(part["layers"])]):
        _field(ax, part, index, norm)
        _step(ax, record, part["layers"][index])
        ax.set_title(_when(part, index))
        ax.set(xticks=[], yticks=[])
    _scale(right, list(grid), norm, part)
    where = "" if part["plane"] == "state" else " on the slice through the mean state $x_k$, projected"
    right.supxlabel(f"Arrows: the field $F_k${where}.\nPoints: samples at $x_k$; lines: their step to $x_{{k+1}}$. "
                    "Axes as on the left.", fontsize=9.5, color=MUTED, linespacing=1.4)  # fmt: skip
    return fig


def _when(part: Record, index: int) -> str:
    k, t = part["layers"][index], part["t"][index]
    return f"k = {k}" if part["units"] else f"k = {k}, t = {t:.3g}"


def _frame(ax: Axes, part: Record, star: float = 13) -> None:
    ax.set(xlim=part["x"], ylim=part["y"], box_aspect=1)
    for spine in ax.spines.values():
        spine.set(visible=True, color=MUTED, linewidth=0.8)
    for each in part["sets"]:
        colour, gid = class_colour(each["label"]), f"set {each['label']}"
        if each["direction"] is None:
            ax.plot(*each["point"], "*", ms=star, color=colour, mec=INK, mew=0.7, zorder=6, gid=gid)
        else:
            (x, y), (a, b) = each["point"], each["direction"]
            ax.axline((x, y), (x + a, y + b), color=colour, lw=2, ls=(0, (5, 2)), zorder=3, gid=gid)


def _names(ax: Axes, part: Record) -> None:
    if part["plane"] == "state":
        ax.set(xlabel="first entry of the state", ylabel="second entry of the state")
    else:
        seen = f"{100 * part['share']:.3g} % of the variance of the states is in this plane"
        ax.set(xlabel=f"first principal direction of the {part['plane']}, from the mean state\n{seen}",
               ylabel="second direction, from the mean state")  # fmt: skip


def _field(ax: Axes, part: Record, index: int, norm: Normalize) -> None:
    """Arrows of one length, their shade the speed; none where the field is exactly zero or not finite."""
    star, width = (13, 0.004) if len(part["layers"]) == 1 else (9, 0.006)
    _frame(ax, part, star)
    n, v = part["side"], np.array(part["arrows"][index], dtype=float)
    (x0, x1), (y0, y1) = part["x"], part["y"]
    x, y = np.linspace(x0, x1, n), np.linspace(y0, y1, n)
    spots = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    speed = np.hypot(*v.T)
    moving = np.isfinite(speed) & (speed > 0)
    if not moving.any():
        return
    cell = np.array([x[1] - x[0], y[1] - y[0]])
    way = v[moving] / cell  # on paper, where the two axes may have scales of their own
    way = ARROW * cell * way / np.hypot(*way.T)[:, None]
    ax.quiver(*spots[moving].T, *way.T, speed[moving], cmap=SPEED, norm=norm, angles="xy", pivot="mid",
              scale_units="xy", scale=1, width=width, headwidth=4, headlength=4.5, headaxislength=4, zorder=1,
              gid=f"field {part['layers'][index]}")  # fmt: skip


def _by_class(record: Record) -> list[tuple[int | None, Array, str]]:
    """Class, paths (samples, N + 1, 2) and colour; in regression one group without a class."""
    part = record["portrait"]
    paths, labels = np.array(part["paths"], dtype=float), np.array(part["labels"], dtype=int)
    if not len(labels):
        return [(None, paths, NETWORKS["full"])]
    return [(int(y), paths[labels == y], class_colour(int(y))) for y in np.unique(labels)]


def _paths(ax: Axes, record: Record) -> None:
    """Every state from x_0 (hollow) over x_1, x_2, .. (dots) to x_N (full)."""
    for y, paths, colour in _by_class(record):
        ax.add_collection(LineCollection(list(paths), colors=colour, linewidths=1.3, alpha=0.75, zorder=4))
        ax.plot(*paths[:, 1:-1].reshape(-1, 2).T, ".", ms=3, color=colour, zorder=4)
        ax.plot(*paths[:, 0].T, "o", ms=5, mfc="white", mec=colour, mew=1.2, zorder=5, gid=f"start {y}")
        ax.plot(*paths[:, -1].T, "o", ms=6, mfc=colour, mec="white", mew=0.6, zorder=5, gid=f"end {y}")


def _step(ax: Axes, record: Record, k: int) -> None:
    """From x_k (dot) to x_{k+1} (the end of the line)."""
    for y, paths, colour in _by_class(record):
        ax.add_collection(LineCollection(list(paths[:, k : k + 2]), colors=colour, linewidths=1.6, zorder=4))
        ax.plot(*paths[:, k].T, "o", ms=3.8, mfc=colour, mec="white", mew=0.4, zorder=5, gid=f"at {k} {y}")


def _states(panel: SubFigure, record: Record) -> None:
    ax = panel.subplots()
    _frame(ax, record["portrait"])
    _paths(ax, record)
    _names(ax, record["portrait"])
    ax.set_title("states $x_k$ over all layers, one line a sample")
    shown = _legend(record)
    panel.legend(
        handles=shown,
        loc="outside lower center",
        ncols=3 if len(shown) < 7 else 5,
        handletextpad=0.4,
        columnspacing=1.2,
    )


def _scale(fig: Figure | SubFigure, axes: list[Axes], norm: Normalize, part: Record) -> None:
    what = "$|F_k(x)|$" if part["plane"] == "state" else "$|F_k(x)|$ in the plane"
    bar = fig.colorbar(ScalarMappable(norm, SPEED), ax=axes, shrink=0.6, aspect=28, extend="max", pad=0.02)
    bar.set_label(f"{what}: state per {'layer' if part['units'] else 'unit of time t'}")
    bar.outline.set_edgecolor(FAINT)


def _legend(record: Record) -> list[Line2D]:
    part, classes = record["portrait"], record["data"]["classes"]
    N = len(part["paths"][0]) - 1

    def mark(label: str, **options: object) -> Line2D:
        return Line2D([], [], **{"ls": "", "marker": "o", "mec": "white", "ms": 6, "label": label, **options})  # type: ignore[arg-type]

    out = [mark("start $x_0$", mfc="white", mec=MUTED, ms=5), mark(f"end $x_{{{N}}}$", mfc=MUTED)]
    if part["sets"] and part["sets"][0]["direction"] is None:
        out.append(mark("minimisers of a class", marker="*", mfc=MUTED, mec=INK, ms=11))
    elif part["sets"]:
        out.append(Line2D([], [], color=MUTED, lw=2, ls=(0, (5, 2)), label="minimisers of a class"))
    labels = sorted(set(part["labels"]))[:NAMED]
    return out + [mark(f"class {text(classes[c], 12)}", mfc=class_colour(c)) for c in labels]
