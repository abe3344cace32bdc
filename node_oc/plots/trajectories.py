"""Two input features: what the readout of every depth decides, and where the states run."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from node_oc.plots.sets import draw_sets
from node_oc.plots.style import CUT, INK, MUTED, Array, Record, class_colour, figure, styled, text

_READING = "Colour: the class decided,\npaler where less sure."
_POINTS = "\nPoints: samples,\nin their true class."


@styled
def trajectories(record: Record) -> Figure:
    """Decision regions in the input plane at a few depths, and trajectories in the state plane.

    Colours are classes, paler where the readout is less sure. The regions of depth k are those of
    yhat_k, the output with all branches from k on switched off. Needs ``record["plane"]``.
    """
    plane, classes = record["plane"], record["data"]["classes"]
    depths, paths = plane["depths"], bool(plane["trajectories"])
    columns = min(3 if paths else 6, len(depths))
    rows = math.ceil(len(depths) / columns)
    title = "decisions of each depth" + ", and the way of the states" * paths
    height = max(5.6, 2.75 * rows) if paths else 2.95 * rows
    fig = figure(max(4.0, 2.45 * columns) + paths * (height + 0.4), height + 0.5, f"{text(record['name'])}: {title}")
    left: Figure | SubFigure = fig
    if paths:
        left, right = fig.subfigures(1, 2, squeeze=False, width_ratios=(2.45 * columns, height + 0.2))[0]
        _states(right, record)
    else:
        fig.legend(handles=_names(classes), loc="outside lower center", ncols=8)
    grid = left.subplots(rows, columns, squeeze=False).ravel()
    for ax in grid[len(depths) :]:
        ax.set_axis_off()
    if len(grid) > len(depths):
        words = _READING + _POINTS * _placed(record)
        grid[-1].annotate(words, (0.03, 0.97), xycoords="axes fraction", va="top", color=MUTED, linespacing=1.5)
    for index, k in enumerate(depths):
        _regions(grid[index], record, index, k)
    return fig


def _placed(record: Record) -> bool:
    """Whether x_0 begins with the input as it is in the file, so that samples have a place in the input plane."""
    source, lift = (record["config"].get(part, {}).get(key) for part, key in (("data", "source"), ("system", "lift")))
    return (source, lift) == ("spirals", "pad") and bool(record["plane"]["trajectories"])


def _regions(ax: Axes, record: Record, index: int, k: int) -> None:
    plane, cut = record["plane"], k == record["depth"]["depth"] < record["depth"]["N"]
    n, count = plane["n"], max(2, len(record["data"]["classes"]))
    label = np.asarray(plane["regions"][index], dtype=int).reshape(n, n)
    sure = np.asarray(plane["probability"][index], dtype=float).reshape(n, n)
    if count == 2:
        sure = np.maximum(sure, 1 - sure)  # of class 1, so far
    share = 0.16 + 0.54 * np.clip((sure - 1 / count) / (1 - 1 / count), 0, 1)[..., None]
    colours = np.array([to_rgb(class_colour(c)) for c in range(max(count, label.max() + 1))])
    (x0, x1), (y0, y1) = plane["x"], plane["y"]
    ax.imshow(1 - share * (1 - colours[label]), extent=(x0, x1, y0, y1), origin="lower", aspect="auto",
              interpolation="nearest", gid=f"regions {k}")  # fmt: skip
    if _placed(record):
        for y, paths in _by_class(plane):
            ax.plot(*paths[:, 0].T, ".", ms=4.5, color=class_colour(y), mec="white", mew=0.25, zorder=3)
    ax.set(xlim=(x0, x1), ylim=(y0, y1), box_aspect=1, xticks=[], yticks=[])
    ax.set_title(f"k = {k}" + (", the cut" if cut else ""), color=CUT if cut else INK)
    for spine in ax.spines.values():
        spine.set(visible=True, color=CUT if cut else MUTED, linewidth=2.8 if cut else 0.8)


def _by_class(plane: Record) -> list[tuple[int, Array]]:
    """Class and trajectories (samples, N + 1, 2) of every class that has some."""
    paths, labels = np.array(plane["trajectories"], dtype=float), np.array(plane["labels"], dtype=int)
    return [(int(y), paths[labels == y]) for y in np.unique(labels)]


def _states(panel: SubFigure, record: Record) -> None:
    plane, classes = record["plane"], record["data"]["classes"]
    ax = panel.subplots()
    for y, paths in _by_class(plane):
        colour = class_colour(y)
        ax.add_collection(LineCollection(list(paths), colors=colour, linewidths=0.8, alpha=0.45, zorder=2))
        ax.plot(*paths[:, 0].T, "o", ms=3.6, mfc="white", mec=colour, mew=0.9, zorder=4, gid=f"start {y}")
        ax.plot(*paths[:, -1].T, "o", ms=5, mfc=colour, mec="white", mew=0.5, zorder=5, gid=f"end {y}")
    every: Array = np.array(plane["trajectories"], dtype=float)
    two = plane["coordinates"] and len(classes) == 2 and plane["gap"] is not None
    if two:
        draw_sets(ax, plane["gap"], classes, every.reshape(-1, 2))
        ax.set(xlabel=f"first state coordinate: logit of class {text(classes[0], 12)}",
               ylabel=f"second state coordinate: logit of class {text(classes[1], 12)}")  # fmt: skip
    else:
        ax.set(xlabel="first state coordinate", ylabel="second state coordinate", box_aspect=1)
    N, M = record["depth"]["N"], record["depth"]["depth"]
    if 0 < M < N:
        ax.plot(*every[:, M].T, "D", ms=3.4, mfc="none", mec=CUT, mew=0.9, zorder=6, gid="cut")
    ax.set_title("states $x_k$, one line a sample")
    ax.legend(handles=_legend(N, M, classes, two), loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=4,
              handletextpad=0.3, columnspacing=1.2)  # fmt: skip


def _mark(label: str, **options: object) -> Line2D:
    return Line2D([], [], **{"ls": "", "marker": "o", "mec": "white", "ms": 6, "label": label, **options})  # type: ignore[arg-type]


def _names(classes: list[str]) -> list[Line2D]:
    return [_mark(f"class {text(name, 12)}", mfc=class_colour(c)) for c, name in enumerate(classes)]


def _legend(N: int, M: int, classes: list[str], two: bool) -> list[Line2D]:
    """What the marks are; and the classes, unless the two lines carry their names."""
    cut = [_mark(f"at the cut $x_{{{M}}}$", marker="D", mfc="none", mec=CUT, ms=4.5)] if 0 < M < N else []
    marks = [_mark("start $x_0$", mfc="white", mec=MUTED, ms=5), *cut, _mark(f"end $x_{{{N}}}$", mfc=MUTED)]
    return marks if two else [*marks, *_names(classes)]
