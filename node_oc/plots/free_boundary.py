"""When each point of the input plane may stop, in continuous depth."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from node_oc.plots.style import CUT, INK, MUTED, Record, class_colour, figure, styled, text

DEPTH = LinearSegmentedColormap.from_list("depth", ["#ffffff", "#d5d9e0", "#56B4E9", "#0072B2", INK])


@styled
def free_boundary(record: Record) -> Figure:
    """Maps of stopping times over a plane of inputs, one for each cost, and accuracy against the mean time.

    Needs ``record["free_boundary"]``: "x" and "y", the ends of the axes; "horizon"; "maps", each with "cost" and
    "times" (rows from below); "samples" [x, y, label]; "curve" and "fixed", lists of [mean time, accuracy in %] of the
    boundary at several costs and of one time for all.
    """
    part = record["free_boundary"]
    maps, norm = part["maps"], Normalize(0, part["horizon"])
    fig = figure(3.1 * len(maps) + 3.9, 3.7, f"{text(record['name'])}: when a sample may stop")
    *planes, last = fig.subplots(1, len(maps) + 1, width_ratios=[1] * len(maps) + [1.15])
    for ax, each in zip(planes, maps, strict=True):
        ax.imshow(np.array(each["times"], dtype=float), origin="lower", extent=(*part["x"], *part["y"]), cmap=DEPTH,
                  norm=norm, interpolation="nearest", aspect="equal")  # fmt: skip
        for x, y, label in part["samples"]:
            ax.plot(x, y, ".", ms=2.2, color=class_colour(int(label)))
        ax.set(xticks=[], yticks=[], xlim=part["x"], ylim=part["y"], title=f"c = {each['cost']:g}")
        for spine in ax.spines.values():
            spine.set(visible=True, color=MUTED, linewidth=0.8)
    fig.colorbar(ScalarMappable(norm, DEPTH), ax=planes, label="stopping time t", pad=0.01, shrink=0.9)
    _curves(last, record)
    return fig


def _curves(ax: Axes, record: Record) -> None:
    part = record["free_boundary"]
    for key, name, colour, mark in (("curve", "free boundary", CUT, "o"), ("fixed", "one time for all", MUTED, "s")):
        t, accuracy = np.array(part[key], dtype=float).T
        order = np.argsort(t)
        ax.plot(t[order], accuracy[order], color=colour, marker=mark, ms=3.5, label=name)
    ax.set(xlabel="mean stopping time", ylabel="test accuracy, %", xlim=(0, part["horizon"]))
    ax.legend(loc="lower right")
