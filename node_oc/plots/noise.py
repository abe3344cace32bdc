"""What noise does to a trained network: accuracy against depth, J, and how sure it is."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from node_oc.plots.reliability import reliability_panel
from node_oc.plots.style import CLASSES, FAINT, INK, MUTED, Record, figure, layers, plain_log, styled, text, values

MEASURED, THEORY = INK, CLASSES[6]  # a colour that no noise has


@styled
def noise_depth(record: Record) -> Figure:
    """A row a network: the metric after k layers with and without noise; what noise adds to J, beside the theory's."""
    rows = record["networks"]
    fig = figure(13.0, 0.9 + 4.1 * len(rows), f"{text(record['name'])}: what noise does to it")
    grid = fig.subplots(len(rows), 2, width_ratios=(1.35, 1), squeeze=False)
    for (left, right), network in zip(grid, rows):
        _curves(left, network, record)
        _objective(right, network)
    names = list(dict.fromkeys(one["noise"] for network in rows for one in network["noises"]))
    lines = [Line2D([], [], color=INK, lw=3.6, alpha=0.5, label="without noise"),
             *(Line2D([], [], color=_colour(rows, name), label=name) for name in names),
             Line2D([], [], color=MUTED, label=f"mean of {record['passes']} passes"),
             Line2D([], [], color=MUTED, ls=(0, (1.5, 1.5)), label="a single pass"),
             Line2D([], [], color=MEASURED, marker="o", ls="", label="added to J, measured"),
             Line2D([], [], color=THEORY, marker="D", ls="", label="added to J, explicit regulariser")]  # fmt: skip
    fig.legend(handles=lines, loc="outside lower center", ncols=4)
    return fig


def _colour(rows: list[dict[str, Any]], name: str) -> str:
    names = list(dict.fromkeys(one["noise"] for network in rows for one in network["noises"]))
    return CLASSES[names.index(name)]


def _curves(ax: Axes, network: dict[str, Any], record: Record) -> None:
    """Error in %, or loss, of the readout after k layers, on a log axis."""
    classify, rows = record["task"] == "classification", record["networks"]
    floor = 0.5 / record["samples"]  # half a sample, where none is wrong

    def shown(curve: list[float]) -> np.ndarray:
        return np.maximum(100 * (1 - values(curve)), 100 * floor) if classify else values(curve)

    for one in network["noises"]:
        colour = _colour(rows, one["noise"])
        ax.plot(shown(one["passes_metric"]), color=colour, lw=1.6, gid=f"passes {one['noise']}")
        ax.plot(shown(one["noisy_metric"]), color=colour, lw=1.3, ls=(0, (1.5, 1.5)), gid=f"noisy {one['noise']}")
    ax.plot(shown(network["noises"][0]["metric"]), color=INK, lw=3.6, alpha=0.5, zorder=1.5, gid="mean")
    plain_log(ax)
    layers(ax, network["layers"], "layer k")
    ax.grid(axis="y", color=FAINT, lw=0.6)
    ax.set_title(f"{network['name']}, {network['layers']} layer{'s' * (network['layers'] != 1)}")
    ax.set_ylabel(f"{record['part']} error, %" if classify else f"{record['part']} loss")


def _objective(ax: Axes, network: dict[str, Any]) -> None:
    """Measured excess of J and the explicit regulariser, with 95 % intervals, a row a noise."""
    names = [one["noise"] for one in network["noises"]]
    for i, one in enumerate(network["noises"]):
        for value, half, colour, aside, marker in (
            (one["excess"], one["excess_half"], MEASURED, -0.14, "o"),
            (one["regulariser"], one["regulariser_half"], THEORY, 0.14, "D"),
        ):
            ax.plot([value - half, value + half], [i + aside] * 2, color=colour, lw=3, alpha=0.35)
            ax.plot(value, i + aside, marker, color=colour, ms=5.5)
    ax.axvline(0, color=MUTED, lw=0.9)
    ax.set_yticks(range(len(names)), [text(name, 30) for name in names], color=INK)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel(f"added to J, which is {network['noises'][0]['objective']:.4g} without noise")
    ax.grid(axis="x", color=FAINT, lw=0.6)
    ax.set_title("what noise adds to J")


@styled
def noise_reliability(record: Record) -> Figure:
    """A row a network, a panel a noise: accuracy against confidence, in the mean and by all passes."""
    rows = record["networks"]
    wide = max(len(network["noises"]) for network in rows)
    fig = figure(0.6 + 3.6 * wide, 0.9 + 4.6 * len(rows), f"{text(record['name'])}: as sure as right, under noise?")
    grid = fig.subplots(2 * len(rows), wide, height_ratios=(3.4, 1) * len(rows), squeeze=False)
    for r, network in enumerate(rows):
        for column in range(wide):
            upper, lower = grid[2 * r, column], grid[2 * r + 1, column]
            if column >= len(network["noises"]):
                upper.set_axis_off()
                lower.set_axis_off()
                continue
            one = network["noises"][column]
            entries = [{**one["mean_calibration"], "passes": None},
                       {**one["passes_calibration"], "passes": record["passes"]}]  # fmt: skip
            upper.set_title(f"{network['name']}: {text(one['noise'], 30)}", fontsize=10)
            reliability_panel(upper, lower, entries, record["eps"])
            lower.set_xlim(upper.get_xlim())
            upper.tick_params(labelbottom=False)
        grid[2 * r, 0].set_ylabel("accuracy")
        grid[2 * r + 1, 0].set_ylabel("samples")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=4)
    return fig
