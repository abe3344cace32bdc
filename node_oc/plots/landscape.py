"""Loss landscapes of several networks on the same axes: lines in 1-D, contours of one scale in 2-D."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from node_oc.errors import ConfigError
from node_oc.plots.style import CLASSES, FAINT, INK, Array, Record, figure, styled, text, values

SPREAD = 20  # from this ratio of the largest loss to the least on, the scale is logarithmic
AXIS = "length along {}, in norms of the filters"


@styled
def landscape(record: Record) -> Figure:
    """The slices of a record: networks of one name, of several seeds, have one colour.

    Args:
        record: "landscapes", a list of what :meth:`node_oc.Landscape.record` gives, each with a "name", and, if it is
            known, a "curvature", the largest eigenvalue of the Hessian; "title", if any.

    Raises:
        ConfigError: no slices, or slices of 1 and of 2 dimensions together.
    """
    slices = list(record.get("landscapes") or ())
    kinds = {np.shape(one["values"])[0] > 1 for one in slices}
    if len(kinds) != 1:
        raise ConfigError("figure 'landscape'", got="slices of 1 and of 2 dimensions" if kinds else "no slices",
                          expected="slices of one kind", do="Draw the two kinds apart.")  # fmt: skip
    heading = text(record.get("title", "Loss around the trained networks"), 90)
    tables = [np.array([values(row) for row in one["values"]]) for one in slices]
    return _contours(slices, tables, heading) if kinds.pop() else _lines(slices, tables, heading)


def _names(slices: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(str(one["name"]) for one in slices))


def _label(name: str, slices: Sequence[Record]) -> str:
    """A name, with the mean of the curvatures that are known."""
    found = values(one.get("curvature") for one in slices if str(one["name"]) == name)
    known = found[np.isfinite(found)]
    return f"{text(name)}, largest eigenvalue {known.mean():.3g}" if len(known) else text(name)


def _logarithmic(tables: Sequence[Array]) -> tuple[bool, float, float]:
    """Whether the scale is, and its ends: of all slices together."""
    together = np.concatenate([table.ravel() for table in tables])
    finite = together[np.isfinite(together)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    return low > 0 and high > SPREAD * low, low, high


def _lines(slices: Sequence[Record], tables: Sequence[Array], heading: str) -> Figure:
    fig = figure(7.5, 4.6, heading)
    ax: Axes = fig.subplots()
    names, labelled = _names(slices), set()
    for one, table in zip(slices, tables, strict=True):
        name = str(one["name"])
        ax.plot(one["places"], table[0], color=CLASSES[names.index(name) % len(CLASSES)], gid=f"slice {name}",
                alpha=0.9, label=None if name in labelled else _label(name, slices))  # fmt: skip
        labelled.add(name)
    logarithmic, low, high = _logarithmic(tables)
    if logarithmic:
        ax.set_yscale("log")
    else:
        ax.set_ylim(min(0.0, low), high + 0.05 * (high - min(0.0, low)) or 1.0)
    ax.axvline(0, color=FAINT, lw=0.8, zorder=0)
    ax.set(xlabel=AXIS.format("a random direction"), ylabel="J")
    ax.legend(loc="best")
    return fig


def _contours(slices: Sequence[Record], tables: Sequence[Array], heading: str) -> Figure:
    columns = min(3, len(slices))
    rows = math.ceil(len(slices) / columns)
    fig = figure(1.2 + 3.5 * columns, 0.9 + 3.4 * rows, heading)
    grid = fig.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    logarithmic, low, high = _logarithmic(tables)
    high = high if high > low else low + 1
    norm: Any = LogNorm(low, high) if logarithmic else Normalize(low, high)
    levels = np.geomspace(low, high, 13) if logarithmic else np.linspace(low, high, 13)
    shown = None
    for ax, one, table in zip(grid.ravel(), slices, tables):
        shown = ax.contourf(one["places"], one["places"], table, levels, norm=norm, cmap="viridis_r", extend="both")
        ax.contour(one["places"], one["places"], table, levels, colors=INK, linewidths=0.4, norm=norm)
        ax.plot(0, 0, "+", color=INK, ms=9, gid=f"network {one['name']}")
        label = text(one["name"])
        if one.get("curvature") is not None:
            label += f"\nlargest eigenvalue {float(one['curvature']):.3g}"
        ax.set_title(label)
        ax.set_aspect("equal")
    for ax in grid.ravel()[len(slices) :]:
        ax.set_axis_off()
    fig.supxlabel(AXIS.format("one random direction"), fontsize=10)
    fig.supylabel("and along another one", fontsize=10)
    bar = fig.colorbar(shown, ax=grid, shrink=0.8, label="J")  # type: ignore[arg-type]
    ticks = levels[:: 3 if len(levels) > 7 else 1]
    bar.set_ticks(list(ticks), labels=[f"{tick:.3g}" for tick in ticks])
    bar.ax.minorticks_off()
    return fig
