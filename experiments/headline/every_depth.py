"""Every depth from one training: one network cut at every M and healed, beside plain networks of those depths.

    python -m experiments.headline.every_depth --data DIRECTORY

The network trained with stage costs (price 0) keeps its first M layers and is healed for a third of the epochs; beside
it, with the same healing, the plainly trained deep network cut to its first M layers and to its M blocks of largest
influence. On spirals with 3 turns the curves also say how few layers each way needs for 99.5 % (mean over the seeds).
Writes every_depth.json beside this file and a picture into docs/pictures.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from experiments.headline.sets import (
    PICTURES,
    accuracy,
    configure,
    gather,
    mean_interval,
    options,
    searching,
    smallest,
    written,
)
from node_oc.search import Rivals

SETS = {
    "spirals-3-turns": (1, 2, 3, 4, 5, 6, 8, 12, 20), "digits": (1, 2, 3, 4, 6, 8, 12, 16),
    "mnist": (1, 2, 3, 4, 6, 8, 12, 20), "mnist-conv": (3, 6, 9),
}  # fmt: skip
SEEDS = {"spirals-3-turns": 10, "digits": 5, "mnist": 3, "mnist-conv": 1}
WAYS = {"plain": "plain networks", "ours": "one network, cut and healed", "last": "plain deep network, last layers cut",
        "influence": "plain deep network, by block influence"}  # fmt: skip
COLOURS = {"plain": "#2f5fa8", "ours": "#007a58", "last": "#b5432a", "influence": "#8c2f6b"}
ENOUGH = 99.5


def one(name: str, seed: int, data: str | None, folder: Path) -> dict[str, Any]:
    """Every way at every depth of one seed; accuracies in %."""
    where = folder / name / str(seed)
    search, split, network = searching(configure(name, seed, data), where)
    search.train_reference(network)
    search.protocol.judge_by(network)
    rivals = Rivals(search.protocol, search.fresh, folder=where / "compare")
    depths = SETS[name]
    # A network of all N layers is what it is in the plain row; ours is healed there too, to be told from the raw one.
    found = {
        "plain": [rivals.plain(m) for m in depths], "ours": rivals.every_depth(network, depths, "every"),
        "last": [rivals.drop_last(m) for m in depths], "influence": [rivals.block_influence(m) for m in depths],
    }  # fmt: skip
    print(name, seed, flush=True)
    return {"set": name, "seed": seed, "depths": depths, "reference": accuracy(network, split)} | {
        part: {way: [accuracy(rival.network, split, part) for rival in rivals] for way, rivals in found.items()}
        for part in ("val", "test")
    }


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Test error against M, every way, on log axes."""
    sets = [name for name in SETS if any(r["set"] == name for r in rows)]
    lines = math.ceil(len(sets) / 2)
    figure = Figure(figsize=(9.2, 3.7 * lines + 0.5), layout="constrained")
    panels = figure.subplots(lines, 2, squeeze=False).ravel()
    for ax in panels[len(sets) :]:
        ax.set_visible(False)
    for ax, name in zip(panels, sets, strict=False):
        of, depths = [r for r in rows if r["set"] == name], SETS[name]
        for way, label in WAYS.items():
            error = 100 - np.array([r["test"][way] for r in of])
            mean, half = error.mean(0), np.array([mean_interval(column)[1] for column in error.T])
            ax.plot(depths, mean, color=COLOURS[way], marker="o", ms=4, lw=1.8, label=label)
            ax.fill_between(depths, np.maximum(mean - half, 0.01), mean + half, color=COLOURS[way], alpha=0.1, lw=0)
        if name == "spirals-3-turns":
            ax.axhline(100 - ENOUGH, color="#1f2430", ls=":", lw=1)
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.set(title=f"{name}, {len(of)} seed{'s' * (len(of) > 1)}", xscale="log", xlabel="layers M",
               ylabel="test error, %")  # fmt: skip
        ax.set_xticks(depths, [str(d) for d in depths])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.grid(alpha=0.25)
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=130, metadata={"Software": None})


def table(rows: list[dict[str, Any]]) -> str:
    """The table of README.md for one set, with M* and the largest shortfall from M* on."""
    depths = SETS[rows[0]["set"]]
    best = smallest({m: [r["val"]["plain"][i] for r in rows] for i, m in enumerate(depths)})
    full = written([r["reference"] for r in rows])
    lines = [
        f"**{rows[0]['set']}**, {len(rows)} seeds, M* = {best}; the network itself {full} %.",
        "",
        f"| M | {' | '.join(WAYS.values())} | cut and healed less plain |",
        "|---|---|---|---|---|---|",
    ]
    for i, m in enumerate(depths):
        cells = [written([r["test"][way][i] for r in rows]) for way in WAYS]
        less = written([r["test"]["ours"][i] - r["test"]["plain"][i] for r in rows])
        lines.append(f"| {m} | {' | '.join(cells)} | {less} |")
    means = {way: np.mean([r["test"][way] for r in rows], axis=0) for way in WAYS}
    worst = max(float(means["plain"][i] - means["ours"][i]) for i, m in enumerate(depths) if m >= best)
    lines += ["", f"Largest shortfall of the mean from M* on: {worst:.2f} points."]
    if rows[0]["set"] == "spirals-3-turns":
        need = {way: next((m for i, m in enumerate(depths) if means[way][i] >= ENOUGH), None) for way in WAYS}
        told = [f"{WAYS[way]} {m if m is not None else 'never'}" for way, m in need.items()]
        lines.append(f"Layers needed for a mean of {ENOUGH} %: {'; '.join(told)}.")
    return "\n".join(lines)


def main() -> None:
    """Run all, print the tables of README.md."""
    args = options(__doc__, tuple(SETS))
    rows = gather(args, Path(__file__).with_suffix(".json"), one, SEEDS)
    for name in (name for name in args.sets if any(r["set"] == name for r in rows)):
        print(table([r for r in rows if r["set"] == name]), end="\n\n")
    draw(rows, PICTURES / "headline-every-depth.png")


if __name__ == "__main__":
    main()
