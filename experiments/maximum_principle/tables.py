"""Table and pictures of what came out, from the JSON files alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, PercentFormatter

from experiments.maximum_principle.results import AUTHORS

Rows = Sequence[dict[str, Any]]
EPOCHS = (1, 5, 10, 20, 50, 100)
COLOURS = {"binary": "#0072B2", "ternary": "#D55E00", "float": "#6b7280"}


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Mean of the seeds, and in brackets the least and the largest: "97.91 (97.85 to 98.02)"."""
    if not values:
        return ""
    told = f"{np.mean(values):{form}}"
    return told if len(values) == 1 else f"{told} ({min(values):{form}} to {max(values):{form}})"


def table(rows: Rows, baselines: Rows) -> str:
    """In Markdown: test accuracy in % after some epochs, share of non-zero weights after the last one, and seeds."""
    length = max((len(row["test"]) for row in rows), default=10)
    epochs = [epoch for epoch in EPOCHS if epoch <= length]
    last = epochs[-1]
    heads = ["weights", "trained by", *(f"epoch {e}" for e in epochs), "best validation", "non-zero", "seeds"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for way in ("binary", "ternary", "float"):
        if way in AUTHORS:
            known = AUTHORS[way]
            share = f"{known[last][1]:.1%}" if known[last][1] is not None else ""
            cells = [f"{known[e][0]:.2f}" if e in known else "" for e in epochs]
            lines.append(f"| {way} | discrete MSA, its authors | {' | '.join(cells)} | | {share} | 1 |")
        by = "Adam" if way == "float" else "straight-through Adam"
        for name, these in (("discrete MSA, node_oc", rows), (by, baselines)):
            done = [row for row in these if row["way"] == way and len(row["test"]) >= last]
            if not done:
                continue
            cells = [spread([row["test"][e - 1] for row in done]) for e in epochs]
            best = spread([row["test"][int(np.argmax(row["validation"]))] for row in done])
            share = spread([row["nonzero"][last - 1] for row in done], ".1%") if way == "ternary" else ""
            lines.append(f"| {way} | {name} | {' | '.join(cells)} | {best} | {share} | {len(done)} |")
    return "\n".join(lines)


def curves(rows: Rows, baselines: Rows) -> Figure:
    """Accuracy, share of non-zero weights, and share of weights that an epoch changes, against the epoch."""
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for these, style, by in ((rows, "-", "MSA"), (baselines, "--", "straight-through")):
        seen: set[str] = set()
        for row in these:
            way, epochs = row["way"], range(1, len(row["test"]) + 1)
            label = None if way in seen else "float, Adam" if way == "float" else f"{way}, {by}"
            seen.add(way)
            left.plot(epochs, row["test"], style, color=COLOURS[way], lw=1.4, label=label)
            if way == "ternary":
                middle.plot(epochs, row["nonzero"], style, color=COLOURS[way], lw=1.4, label=label)
            changed = [(e, c) for e, c in zip(epochs, row.get("changed", ()), strict=False) if c]
            if changed:
                right.plot(*zip(*changed, strict=True), style, color=COLOURS[way], lw=1.4, marker=".", label=label)
    last = max((len(row["test"]) for row in rows), default=10)
    for way, known in AUTHORS.items():
        points = {epoch: seen for epoch, seen in known.items() if epoch <= last}
        about = {"color": COLOURS[way], "ls": "", "marker": "o", "mfc": "white", "label": f"{way}, the authors' log"}
        left.plot(list(points), [accuracy for accuracy, _ in points.values()], **about)
        if way == "ternary":
            middle.plot(list(points), [share for _, share in points.values()], **about)
    left.set(title="test accuracy in %", xlabel="epoch", ylim=(95, 99))
    middle.set(title="share of weights that are not zero", xlabel="epoch", ylim=(0, 1))
    right.set(title="share of weights that an epoch changes", xlabel="epoch", yscale="log")
    middle.yaxis.set_major_formatter(PercentFormatter(1, 0))
    right.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5])
    right.yaxis.set_major_formatter(PercentFormatter(1, 0))
    right.yaxis.set_minor_formatter(NullFormatter())
    for axes in (left, middle, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        if axes.has_data():
            axes.legend(frameon=False, fontsize=8)
    return figure


def error_terms(rows: Rows) -> Figure:
    """Of the last update of each epoch, by layer: what its Hamiltonian fell by, and how untrue it made the sweeps.

    The mean over the seeds; a decrease that is not positive, or a change of 0, has no place on a logarithmic axis
    and is left out.
    """
    names = {"decrease": "decrease of the Hamiltonian", "state": "squared change of the step",
             "costate": "squared change of the costate"}  # fmt: skip
    ways = [way for way in ("binary", "ternary") if any(row["way"] == way and row.get("error_terms") for row in rows)]
    figure = Figure(figsize=(12, 3.6 * max(1, len(ways))), layout="constrained")
    panels = figure.subplots(max(1, len(ways)), 3, squeeze=False)
    for way, line in zip(ways, panels, strict=False):
        these = [row["error_terms"] for row in rows if row["way"] == way and row.get("error_terms")]
        for (key, title), axes in zip(names.items(), line, strict=True):
            values = np.mean([[terms[key] for terms in seed] for seed in these], axis=0)[:, 1:-1]  # no lift, no head
            for k, each in enumerate(values.T):
                axes.plot(range(1, len(each) + 1), np.where(each > 0, each, np.nan), marker=".", lw=1.3,
                          color=("#0072B2", "#56B4E9", "#E69F00", "#D55E00")[k % 4], label=f"layer {k}")  # fmt: skip
            axes.set(title=f"{way}: {title}", xlabel="epoch", yscale="log")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.spines[["top", "right"]].set_visible(False)
        line[0].legend(frameon=False, fontsize=8)
    return figure
