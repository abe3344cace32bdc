"""Depth from left to right: cost, metric, distance and control of every layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from node_oc.plots.style import (
    CUT,
    FAINT,
    MUTED,
    NETWORKS,
    Array,
    Record,
    figure,
    full_name,
    layers,
    log_axis,
    styled,
    text,
    values,
)

_SERIES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("train", "full network, training data", {"color": "#9aa3b2", "lw": 3.4}),
    ("test", "full network, test data", {"color": NETWORKS["full"], "lw": 1.5, "marker": "o", "ms": 3.4}),
    ("cropped_test", "cropped network, test data", {"color": CUT, "lw": 1.5, "marker": "D", "ms": 4.2}),
)


@dataclass(frozen=True)
class _Column:
    """One quantity: linear above, logarithmic below.

    Attributes:
        title: what it is.
        below: what the logarithmic axis shows.
        linear: the numbers of a profile for the upper panel.
        log: the same for the lower panel.
        entry: key of the entry depth that was read off this quantity.
        steps: whether it belongs to steps 0..N-1 and not to states 0..N.
    """

    title: str
    below: str
    linear: Callable[[Any], Array]
    log: Callable[[Any], Array]
    entry: str | None = None
    steps: bool = False


@styled
def profile(record: Record) -> Figure:
    """Stage cost, metric, distance to the minimisers and control norm against depth k.

    The upper row is linear, the lower one logarithmic: there the stage cost is taken above its least value,
    and accuracy is shown as error. Where there is no distance, the way each step moves the state stands
    in its place. Everything belongs to the readout yhat_k, with all branches from k on switched off.
    """
    depth, norms = record["depth"], values(record["profile"]["control"])
    fig = figure(15, 6.7, f"{text(record['name'])}: what every layer adds")
    grid = fig.subplots(2, 4, sharex="col")
    for (upper, lower), column in zip(grid.T, _columns(record)):
        upper.set_title(column.title, pad=16)
        _lines(upper, record, column.linear, logarithmic=False)
        _lines(lower, record, column.log, logarithmic=True)
        _finish(upper, lower, column, depth)
    _least(grid[0, 0], float(record["profile"]["test"]["least"] or 0.0))
    control = _Column(r"control norm $\|u_k\|$ of step k", r"$\|u_k\|$", values, values, steps=True)
    upper, lower = grid[:, 3]
    upper.set_title(control.title, pad=16)
    upper.bar(np.arange(len(norms)), norms, width=0.72, color=NETWORKS["full"])
    lower.plot(log_axis(lower, [norms], "exactly 0, asleep")[0], "o", ms=4.6, color=NETWORKS["full"], gid="control")
    _finish(upper, lower, control, depth)
    names = {key: label.replace("full network", full_name(record)) for key, label, _ in _SERIES}
    if record.get("growth"):
        names["cropped_test"] = "depth found, test data"
    found = [line for line in grid[0, 0].lines if line.get_gid() in names]
    fig.legend(found, [names[line.get_gid()] for line in found], loc="outside lower center", ncols=3)
    return fig


def _columns(record: Record) -> list[_Column]:
    test, models = record["profile"]["test"], record["models"]
    least = float(test["least"] or 0.0)
    metric = models[0]["metric"]["name"] if models else "metric"
    columns = [
        _Column(
            r"stage cost $\ell$", r"$\ell$ less its least value" if least else r"$\ell$",
            lambda p: values(p["stage"]), lambda p: values(p["stage"]) - least,
        ),
        _Column(
            metric, "error = 1 − accuracy" if metric == "accuracy" else metric,
            lambda p: values(p["metric"]),
            lambda p: 1 - values(p["metric"]) if metric == "accuracy" else values(p["metric"]), "entry_accuracy",
        ),
    ]  # fmt: skip
    if test["distance"] is not None:
        read = lambda p: values(p["distance"])  # noqa: E731
        columns.append(_Column("distance to the minimisers", test["distance_name"], read, read, "entry_distance"))
    else:
        read = lambda p: values(p["increment"])  # noqa: E731
        columns.append(_Column("movement of the state", r"$\|x_{k+1} - x_k\|$", read, read, steps=True))
    return columns


def _lines(ax: Axes, record: Record, read: Callable[[Any], Array], logarithmic: bool) -> None:
    found = [(key, options, read(record["profile"][key])) for key, _, options in _SERIES
             if record["profile"].get(key)]  # fmt: skip
    series = [one for _, _, one in found]
    for (key, options, _), one in zip(found, log_axis(ax, series) if logarithmic else series):
        small = {"ms": options["ms"] * min(1.0, 30 / len(one))} if "ms" in options and len(one) else {}
        ax.plot(one, gid=key, solid_capstyle="round", **{**options, **small})


def _least(ax: Axes, least: float) -> None:
    """The least value of the stage cost, written under its line."""
    if not least:
        return
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, least - 0.13 * (high - least)), high)
    ax.axhline(least, color=MUTED, lw=1, ls=(0, (1, 2)), gid="least")
    ax.annotate(f"least value {least:.3g}", (1, least), xycoords=("axes fraction", "data"), color=MUTED, va="top",
                xytext=(0, -3), textcoords="offset points", ha="right", fontsize=8.5)  # fmt: skip


SHOWN = 8  # steps that are named one by one


def _finish(upper: Axes, lower: Axes, column: _Column, depth: Record) -> None:
    """Axes, cut and entry of one column; nothing is marked where nothing was cut."""
    N, M = depth["N"], depth["depth"]
    entry = depth[column.entry] if column.entry else None
    cut = M - 0.5 if column.steps else M
    steps = depth.get("steps") or list(range(M))
    line = M < N and not (column.steps and steps != list(range(M)))  # those kept may lie anywhere
    for ax in (upper, lower):
        ax.grid(axis="y", color=FAINT, lw=0.6)
        if entry is not None:
            ax.axvline(entry, color=MUTED, lw=1, ls=(0, (4, 3)), zorder=0.5, gid=column.entry)
        if line:
            ax.axvline(cut, color=CUT, lw=2, zorder=0.6, gid="cut")
        layers(ax, N - 1 if column.steps else N, "")
    if M < N:
        kept = "no step kept" if M == 0 else "step 0 kept" if M == 1 else f"steps 0 to {M - 1} kept"
        if not line:
            cut, kept = 0, f"kept: {', '.join(map(str, steps))}" if M <= SHOWN else f"{M} of {N} steps kept"
        _above(upper, cut, kept if column.steps else f"cut, k = {M}", CUT)
    if entry is not None:
        _above(lower, entry, f"entry, k = {entry}", MUTED)
    lower.set_xlabel("step k" if column.steps else "layer k")
    lower.set_ylabel(column.below)


def _above(ax: Axes, k: float, words: str, colour: str) -> None:
    """Words above the frame, at a vertical line, on the side that has room."""
    late = k > 0.6 * ax.get_xlim()[1]
    ax.annotate(words, (k, 1), xycoords=("data", "axes fraction"), xytext=(2 if late else -2, 3), color=colour,
                textcoords="offset points", ha="right" if late else "left", fontsize=9.5)  # fmt: skip
