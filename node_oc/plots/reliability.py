"""Accuracy against confidence: on the diagonal a network knows how sure it may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from node_oc.plots.style import CLASSES, FAINT, MUTED, WHITE, Record, called, figure, plain_log, styled, text, values

MEAN, PASSES = CLASSES[0], CLASSES[1]


@styled
def reliability(record: Record) -> Figure:
    """One panel a network: accuracy of each bin of confidence with its 95 % interval, and how many samples it has."""
    entries: Sequence[dict[str, Any]] = record["calibration"]
    names = list(dict.fromkeys(entry["network"] for entry in entries))
    fig = figure(5.0 * len(names) + 0.6, 5.4, f"{text(record['name'])}: is it as sure as it is right?")
    grid = fig.subplots(2, len(names), height_ratios=(3.4, 1), sharex=True, squeeze=False)
    eps = record["config"]["problem"]["eps"]
    for (upper, lower), name in zip(grid.T, names):
        own = [entry for entry in entries if entry["network"] == name]
        upper.set_title(called(record, name))
        reliability_panel(upper, lower, own, eps)
    grid[0, 0].set_ylabel("accuracy")
    grid[1, 0].set_ylabel("samples")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=4)
    return fig


def reliability_panel(upper: Axes, lower: Axes, entries: Sequence[dict[str, Any]], eps: float | None) -> None:
    """The curves of one network, and below the samples in each bin.

    Args:
        upper: for accuracy against confidence.
        lower: for the counts.
        entries: the calibration and "passes" of each prediction: None for the one in the mean.
        eps: soft targets aim at a confidence of 1 - eps; no line if None.
    """
    upper.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=(0, (4, 3)), label="as sure as right", gid="diagonal")
    if eps is not None:
        upper.axvline(1 - eps, color=FAINT, lw=2.2, zorder=0, label="aim of the soft targets, 1 − ε", gid="aim")
    for i, entry in enumerate(entries):
        colour = PASSES if entry["passes"] else MEAN
        label = f"mean of {entry['passes']} noisy passes" if entry["passes"] else "in the mean"
        sure, right, low, high = (values(b[key] for b in entry["bins"])
                                  for key in ("confidence", "accuracy", "low", "high"))  # fmt: skip
        upper.vlines(sure, low, high, color=colour, lw=3, alpha=0.25)
        upper.plot(sure, right, "s-" if entry["passes"] else "o-", color=colour, ms=4.6, lw=1.3, label=label,
                   gid="passes" if entry["passes"] else "mean")  # fmt: skip
        lower.plot(sure, values(b["count"] for b in entry["bins"]), "s-" if entry["passes"] else "o-", color=colour,
                   ms=3.6, lw=1.1)  # fmt: skip
        modest = entries[0]["confidence"] < entries[0]["accuracy"]  # then the lower right is free
        upper.annotate(f"ECE {entry['ece']:.4f}", (0.97, 0.11 - 0.075 * i) if modest else (0.03, 0.97 - 0.075 * i),
                       xycoords="axes fraction", color=colour, ha="right" if modest else "left",
                       va="bottom" if modest else "top", fontsize=9.5, bbox=WHITE)  # fmt: skip
    lowest = min((b["confidence"] for entry in entries for b in entry["bins"]), default=0.0)
    upper.set_xlim(max(0.0, lowest - 0.05), 1.02)
    upper.set_ylim(-0.03, 1.03)  # the same in every panel
    plain_log(lower)
    lower.set_xlabel("confidence, the largest probability")
    for ax in (upper, lower):
        ax.grid(axis="y", color=FAINT, lw=0.6)
