"""When samples stop: accuracy against mean depth, the depths, the samples that stop first and last."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from node_oc.plots.style import CLASSES, CUT, FAINT, INK, MUTED, Record, figure, layers, plain_log, styled, text, values

COLOURS = {"continuation": CUT, "look-ahead": CLASSES[0], "entropy": CLASSES[3], "confidence": CLASSES[1],
           "margin": CLASSES[2], "change": CLASSES[1], "fixed": MUTED}  # fmt: skip
ACROSS = 12


@styled
def stopping_curve(record: Record) -> Figure:
    """Loss on test samples against the mean depth, for every family, the oracle and the run's other networks."""
    fig = figure(9.0, 5.4, f"{text(record['name'])}: what stopping early loses")
    ax: Axes = fig.subplots()
    classify, full = record["task"] == "classification", record["full"]["loss"]
    scale = 100.0 if classify else 1.0
    floor = scale * 0.5 / record["samples"]["test"] if classify else 0.0

    def shown(losses: Any) -> np.ndarray:
        return np.maximum(scale * values(list(losses)), floor) if classify else values(list(losses))

    oracle = np.array(record["oracle"], dtype=float)
    ax.plot(oracle[:, 0], shown(oracle[:, 1]), color=INK, ls=(0, (1.5, 1.5)), lw=1.4, label="oracle, sees the labels",
            gid="oracle")  # fmt: skip
    for family in record["families"]:
        curve, name = np.array(family["curve"], dtype=float), family["name"]
        fixed = name == "fixed"
        width = 2.4 if name == record["chosen"]["family"] else 1.5
        ax.plot(curve[:, 0], shown(curve[:, 1]), color=COLOURS[name], lw=width,
                marker="o" if fixed else "", ms=3.5, label="fixed depth" if fixed else name, gid=name)  # fmt: skip
    for name, one in record["rivals"].items():
        ax.plot(one["depth"], shown([one["loss"]]), color=MUTED, marker="s" if name == "plain" else "D", ms=7, ls="",
                label=f"{name} network of the run", gid=f"rival {name}")  # fmt: skip
    chosen = record["chosen"]["test"]
    ax.plot(chosen["depth"], shown([chosen["loss"]]), color=CUT, marker="*", ms=16, mec="white", ls="", zorder=5,
            label="chosen", gid="chosen")  # fmt: skip
    ax.axhline(scale * full, color=FAINT, lw=3, zorder=0.5)
    right = min(record["layers"], max(6.0, 3 * chosen["depth"], *(one["depth"] for one in record["rivals"].values())))
    ax.annotate("full network", (right, scale * full), xytext=(0, -13), textcoords="offset points", ha="right",
                color=MUTED)  # fmt: skip
    plain_log(ax)
    ax.set_xlim(-0.02 * right, right)
    ax.set_xlabel("mean depth, layers")
    ax.set_ylabel("test error, %" if classify else "test loss")
    ax.grid(axis="y", color=FAINT, lw=0.6)
    fig.legend(loc="outside right upper")
    return fig


@styled
def stopping_depths(record: Record) -> Figure:
    """How many test samples stop at each depth."""
    fig = figure(9.0, 3.8, f"{text(record['name'])}: where samples stop")
    ax: Axes = fig.subplots()
    counts = values(record["histogram"]) / record["samples"]["test"] * 100
    ax.bar(np.arange(len(counts)), counts, color=CUT, width=0.8)
    for k, share in enumerate(counts):
        if share > 0:
            ax.annotate(f"{share:.1f}" if share >= 0.1 else "<0.1", (k, share), xytext=(0, 2),
                        textcoords="offset points", ha="center", fontsize=8, color=MUTED)  # fmt: skip
    mean = record["chosen"]["test"]["depth"]
    ax.axvline(mean, color=INK, lw=1.2, ls=(0, (4, 2)))
    ax.set_title(
        f"in the mean after {mean:.2f} of {record['layers']} layers", fontsize=10, fontweight="normal", color=MUTED
    )
    layers(ax, record["layers"], "depth k at which a sample stops")
    ax.set_xlim(-0.6, record["layers"] + 0.6)
    ax.set_ylabel("test samples, %")
    return fig


@styled
def stopping_samples(record: Record) -> Figure:
    """The samples that stop first and last, with label and depth; red where the prediction is wrong."""
    shown = record["samples_shown"]
    fig = figure(11.0, 3.6, f"{text(record['name'])}: the samples that stop first and last")
    grid = fig.subplots(2, ACROSS, squeeze=False)
    for row, (name, title) in zip(grid, (("easiest", "stop first"), ("hardest", "stop last"))):
        for ax in row:
            ax.set_axis_off()
        for ax, one in zip(row, shown[name]):
            ax.imshow(np.array(one["pixels"], dtype=float), cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
            ax.set_title(f"{one['label']}\nk = {one['depth']}", fontsize=9, fontweight="normal", loc="center",
                         color="#c0392b" if one["wrong"] else INK)  # fmt: skip
        row[0].text(-0.25, 0.5, title, transform=row[0].transAxes, rotation=90, ha="right", va="center", color=MUTED)
    return fig
