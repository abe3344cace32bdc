"""Grow, cut, sweep and plain side by side: spirals (1.5 and 3 turns), digits, MNIST dense and convolutional.

    python -m experiments.growth.table --data DIRECTORY

5 seeds, 3 for MNIST. Each seed: a growth with the built-in settings, an upward sweep of plain networks (1, 2, 4, ..,
then bisection), a plain network of the depth found. The deep network that is cut, and M* of the dense sets, are those
of experiments/headline/ground_truth.json and conv.json (same seeds, samples and settings). Writes table.json beside
this file and a picture into docs/pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from experiments.growth.account import beside, nan_ratio, spread, threads
from experiments.headline.sets import PICTURES, configure, gather, options, smallest, written
from node_oc import store
from node_oc.pipeline import load_split

SETS = ("spirals", "spirals-3-turns", "digits", "mnist", "mnist-conv")
SEEDS = {"spirals": 5, "spirals-3-turns": 5, "digits": 5, "mnist": 3, "mnist-conv": 3}
HEADLINE = Path(__file__).parents[1] / "headline"
CONV_DEPTHS = (1, 2, 3, 4, 6)  # plain, for M* of the convolutional network


def one(name: str, seed: int, data: str | None, folder: Path) -> dict[str, Any]:
    """One seed."""
    threads()
    config = configure(name, seed, data)
    row = beside(config, load_split(config), folder / name / str(seed), CONV_DEPTHS if name == "mnist-conv" else ())
    print(name, seed, row["grow"]["path"], f"{row['grow']['test']:.2f} %, work {row['grow']['work']:.2f}", flush=True)
    return {"set": name, "seed": seed, **row}


def cuts(name: str) -> dict[int, dict[str, Any]]:
    """What cutting the deep network came to, by seed, and plain validation accuracies, from the headline."""
    file = HEADLINE / ("conv.json" if name == "mnist-conv" else "ground_truth.json")
    return {row["seed"]: row for row in store.read_json(file) if row["set"] == name}


def tell(rows: list[dict[str, Any]], name: str) -> str:
    """One set in Markdown, from its rows."""
    mine = [row for row in rows if row["set"] == name]
    other = cuts(name)
    if name == "mnist-conv":
        truth = smallest({m: [row["plain"][str(m)]["validation"] for row in mine] for m in CONV_DEPTHS})
        cut = None
    else:
        seeds = [other[row["seed"]] for row in mine]
        truth = smallest({int(m): [row["plain_validation"][m] for row in seeds] for m in seeds[0]["plain_validation"]})
        cut = [row["ours"] for row in seeds]
    grow = [row["grow"] for row in mine]
    twins = [row["plain"][str(g["depth"])] for row, g in zip(mine, grow, strict=True)]
    up = [row["upwards"] for row in mine]
    once = [twin | {"depth": g["depth"], "work": g["depth"]} for twin, g in zip(twins, grow, strict=True)]
    certified = ", ".join("none" if g["certified"] is None else str(g["certified"]) for g in grow)
    lines = [f"**{name}**, {len(mine)} seeds, M* = {truth}; grown to {spread(g['depth'] for g in grow)} layers, "
             f"certified {certified}.", "", "| way | layers | test accuracy | work | FLOPs, 10^12 | minutes |",
             "|---|---|---|---|---|---|", _line("grow", grow), _line("plain, that depth, once", once),
             _line("sweep upwards", up), *([_line("cut", cut)] if cut else [])]  # fmt: skip
    times = [g["work"] / max(1, g["depth"]) for g in grow]
    share = sum(g["work"] for g in grow) / sum(u["work"] for u in up)
    less = [g["test"] - t["test"] for g, t in zip(grow, twins, strict=True)]
    flops = nan_ratio(sum(g["flops"] for g in grow), sum(u["flops"] for u in up))
    lines += ["", f"Work over one plain training of the depth found: mean {np.mean(times):.2f}, most {max(times):.2f}; "
              f"over the upward sweep: {share:.2f}; FLOPs over the sweep's: {flops:.2f}. Less plain of that depth: "
              f"{written(less)} points.", ""]  # fmt: skip
    return "\n".join(lines)


def _line(way: str, rows: list[dict[str, Any]]) -> str:
    flops = f"{np.mean([r['flops'] for r in rows]) / 1e12:.3g}" if "flops" in rows[0] else ""
    depth, work, seconds = (np.mean([r[key] for r in rows]) for key in ("depth", "work", "seconds"))
    return f"| {way} | {depth:.1f} | {written([r['test'] for r in rows])} | {work:.2f} | {flops} | {seconds / 60:.2f} |"


def picture(rows: list[dict[str, Any]], sets: list[str]) -> Figure:
    """Work against layers: growth, the sweep that finds the depth, one plain training."""
    fig = Figure(figsize=(3.1 * len(sets), 3.6), layout="constrained")
    for ax, name in zip(fig.subplots(1, len(sets), squeeze=False).ravel(), sets, strict=True):
        mine = [row for row in rows if row["set"] == name]
        other = cuts(name) if name != "mnist-conv" else {}
        for label, colour, points in (
            ("grow", "#009E73", [(row["grow"]["work"], row["grow"]["test"]) for row in mine]),
            ("sweep upwards", "#0072B2", [(row["upwards"]["work"], row["upwards"]["test"]) for row in mine]),
            ("deep and cut", "#3f4a5c", [(other[row["seed"]]["ours"]["work"], other[row["seed"]]["ours"]["test"])
                                         for row in mine if row["seed"] in other]),
        ):  # fmt: skip
            if points:
                ax.plot(*zip(*points, strict=True), "o", color=colour, ms=6, alpha=0.85, label=label)
        ax.set(title=name, xscale="log", xlabel="work, one-layer trainings", xlim=(0.8, 60))
        ax.xaxis.set_major_locator(FixedLocator([1, 2, 5, 10, 20, 50]))
        ax.xaxis.set_major_formatter(ScalarFormatter())
        ax.xaxis.set_minor_locator(NullLocator())
        ax.grid(color="#d5d9e0", lw=0.6)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    fig.axes[0].set_ylabel("test accuracy in %")
    fig.legend(*fig.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return fig


def main() -> None:
    """Run, print the tables, write JSON and picture."""
    args = options(__doc__, SETS, "runs/growth")
    rows = gather(args, Path(__file__).with_name("table.json"), one, SEEDS)
    have = [name for name in SETS if any(row["set"] == name for row in rows)]
    for name in have:
        print(tell(rows, name))
    picture(rows, have).savefig(PICTURES / "growth-table.png", dpi=130)


if __name__ == "__main__":
    main()
