"""Where a training by the maximum principle gains, and where its sweeps disagree: layers against updates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm, SymLogNorm
from matplotlib.figure import Figure

from node_oc.errors import StoreError
from node_oc.plots.style import CLASSES, CUT, INK, MUTED, Array, Record, figure, styled, text

GAIN = LinearSegmentedColormap.from_list("gain", [CLASSES[1], "#ffffff", CUT])
DISAGREEMENT = LinearSegmentedColormap.from_list("disagreement", ["#ffffff", CLASSES[3], CLASSES[1], INK])
DECADES = 4  # of either colour scale, below the largest


def terms_of(history: Path) -> list[dict[str, Any]]:
    """The lines of a ``history.jsonl`` that hold error terms, in their order: what ``record["error_terms"]`` is.

    Args:
        history: the file.

    Raises:
        StoreError: no such file.
    """
    if not history.exists():
        raise StoreError(str(history), got="no file", expected="the history of a training", do="Train with a folder.")
    lines = [json.loads(line) for line in history.read_text().splitlines()]
    return [{"update": line["update"], **line["error_terms"]} for line in lines if "error_terms" in line]


@styled
def error_terms(record: Record) -> Figure:
    """Three panels over the updates that were recorded, the last of an epoch each.

    What each layer's Hamiltonian promised (green) or lost (orange); how far its new control moved its state and its
    costate along the old sweeps, which is what makes them untrue for the other layers; and what all layers promised
    beside what J did. Needs ``record["error_terms"]``, see :func:`terms_of`.
    """
    terms = record["error_terms"]
    update = np.array([line["update"] for line in terms])
    gain = np.array([line["decrease"] for line in terms]).T
    moved = np.array([line["state"] for line in terms]).T + np.array([line["costate"] for line in terms]).T
    fig = figure(9.6, 6.6, f"{text(record['name'])}: where training gains, and where the sweeps disagree")
    axes = fig.subplots(3, 1, sharex=True, height_ratios=(3, 3, 2))
    top = max(float(np.nanmax(np.abs(gain[np.isfinite(gain)]), initial=0)), 1e-30)
    norm = SymLogNorm(top * 10.0**-DECADES, vmin=-top, vmax=top, base=10)
    _map(fig, axes[0], update, gain, GAIN, norm, "fall of Ham$_k$")
    top = max(float(np.nanmax(moved[np.isfinite(moved)], initial=0)), 1e-30)
    _map(fig, axes[1], update, np.maximum(moved, top * 10.0**-DECADES), DISAGREEMENT,
         LogNorm(top * 10.0**-DECADES, top), r"$\|\Delta f\|^2 + \|\Delta\nabla_x$Ham$_k\|^2$")  # fmt: skip
    _both(axes[2], update, gain.sum(0), np.array([line["before"] - line["after"] for line in terms]))
    axes[2].set_xlabel("update")
    return fig


def _map(fig: Figure, ax: Axes, update: Array, values: Array, colours: Any, norm: Any, name: str) -> None:
    """Layers against updates; lift below, head above."""
    edges = np.concatenate([[2 * update[0] - update[1] if len(update) > 1 else update[0] - 1], update]) + 0.5
    mesh = ax.pcolormesh(edges, np.arange(len(values) + 1) - 1.5, values, cmap=colours, norm=norm)
    depth = len(values) - 2
    inner = [k for k in range(0, depth, max(1, depth // 5)) if k or depth < 10]  # 0 would lie on the lift's name
    ax.set_yticks([-1, *inner, depth], ["lift", *map(str, inner), "head"])
    ax.set_ylabel("layer k")
    fig.colorbar(mesh, ax=ax, label=name, pad=0.01)


def _both(ax: Axes, update: Array, promised: Array, fell: Array) -> None:
    ax.plot(update, promised, color=CUT, marker="o", ms=2.5, lw=1.2, label="promised by all layers")
    ax.plot(update, fell, color=INK, marker="o", ms=2.5, lw=1.2, label="fall of J on the batch")
    ax.axhline(0, color=MUTED, lw=0.8)
    size = max(float(np.abs(np.concatenate([promised, fell])).max(initial=0)), 1e-30)
    ax.set_yscale("symlog", linthresh=size * 10.0**-DECADES)
    if min(promised.min(initial=0), fell.min(initial=0)) >= 0:
        ax.set_ylim(bottom=0)
    ax.legend(loc="upper right", ncols=2)
