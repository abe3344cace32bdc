"""Ground truth: the smallest plain depth that suffices, the depth that is selected, and what a user would do instead.

    python -m experiments.headline.ground_truth --data DIRECTORY

Plain networks of depth 1, 2, 3, 4, 6, 8, 12 and N on spirals (5 seeds), digits (20 random splits) and MNIST (3 seeds);
M* is the smallest depth whose mean validation accuracy is within 0.5 points of the best. On
spirals with 3 turns too, where depth matters more (10 seeds). On the same samples: our
search; the two sweeps; the deep *plain* network cut (its last layers; its blocks of least influence) and healed in the
same way by the same rule; the same cut at our depth; a fresh network of our depth trained for the healing epochs only.
Writes ground_truth.json beside this file and a picture into docs/pictures.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.headline.sets import (
    DEPTHS,
    PICTURES,
    SEEDS,
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
from node_oc.training.checkpoint import training_work

SETS = ("spirals", "spirals-3-turns", "digits", "mnist")
WAYS = {"ours": "ours", "plain": "plain, that depth", "sweep": "sweep, all depths", "upwards": "sweep upwards",
        "last": "plain deep, drop last", "influence": "plain deep, block influence"}  # fmt: skip


def one(name: str, seed: int, data: str | None, folder: Path) -> dict[str, Any]:
    """Every way on one seed."""
    where = folder / name / str(seed)
    search, split, network = searching(configure(name, seed, data), where)
    found = search.run(network)
    rivals = Rivals(search.protocol, search.fresh, folder=where / "compare")
    n = network.depth
    plain = {depth: rivals.plain(depth).network for depth in (*(d for d in DEPTHS if d < n), n)}
    others = {"sweep": rivals.sweep(plain), "upwards": rivals.upwards(), "last": rivals.drop_last(),
              "influence": rivals.block_influence()}  # fmt: skip
    at_depth = rivals.drop_last(found.depth)
    fresh = rivals.fresh_healed(found.depth)
    work = [entry for entry in training_work(where) if not entry["training"].startswith("plain")]
    row: dict[str, Any] = {
        "set": name, "seed": seed, "N": n, "reference": accuracy(found.reference, split),
        "plain_validation": {depth: accuracy(one, split, "val") for depth, one in plain.items()},
        "plain_test": {depth: accuracy(one, split) for depth, one in plain.items()},
        "certified": found.certified_depth,
        "ours": {"depth": found.depth, "test": accuracy(found.network, split),
                 "seconds": sum(entry["seconds"] for entry in work)},
        "plain": {"depth": found.depth, "test": accuracy(rivals.plain(found.depth).network, split)},
        "plain deep, our depth": accuracy(at_depth.network, split),
        "fresh, healing epochs": accuracy(fresh.network, split),
    }  # fmt: skip
    for way, rival in others.items():
        row[way] = {"depth": rival.depth, "test": accuracy(rival.network, split), "seconds": rival.seconds,
                    "work": rival.work, "inside": rival.inside}  # fmt: skip
    row["ours"]["work"] = sum(e["layer_steps"] for e in work) / next(
        e["updates"] for e in work if e["training"] == "reference"
    )
    print(name, seed, "depth", found.depth, f"{row['ours']['test']:.2f}", flush=True)
    return row


def truth(rows: list[dict[str, Any]]) -> int:
    """M* of one set."""
    return smallest({int(depth): [r["plain_validation"][depth] for r in rows] for depth in rows[0]["plain_validation"]})


def table(rows: list[dict[str, Any]]) -> str:
    """The table of README.md for one set."""
    depths = [w["depth"] for w in (r["ours"] for r in rows)]
    plain = {part: [r[f"plain_{part}"] for r in rows] for part in ("validation", "test")}
    each = {part: [written([r[d] for r in found]) for d in found[0]] for part, found in plain.items()}
    lines = [
        f"**{rows[0]['set']}**, N = {rows[0]['N']}, {len(rows)} seeds. M* = {truth(rows)}; selected depths "
        f"{', '.join(map(str, depths))}; certified {', '.join(str(r['certified'] or 'none') for r in rows)}. "
        f"Full network {written([r['reference'] for r in rows])} %.",
        "",
        "| plain, depth | " + " | ".join(map(str, rows[0]["plain_test"])) + " |",
        "|---|" + "---|" * len(rows[0]["plain_test"]),
        *(f"| {part} | {' | '.join(each[part])} |" for part in each),
        "",
        "| way | layers | test accuracy | less plain of our depth | one-layer trainings | seconds |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for way, label in WAYS.items():
        of = [r[way] for r in rows]
        less = written([r[way]["test"] - r["plain"]["test"] for r in rows])
        spent = [f"{np.mean([w[key] for w in of]):.{digits}f}" if key in of[0] else "" for key, digits in
                 (("work", 1), ("seconds", 0))]  # fmt: skip
        missed = sum(not w.get("inside", True) for w in of)
        note = f" ({missed} outside the budget)" if missed else ""
        lines.append(f"| {label}{note} | {np.mean([w['depth'] for w in of]):.1f} | {written([w['test'] for w in of])} "
                     f"| {less} | {' | '.join(spent)} |")  # fmt: skip
    for key in ("plain deep, our depth", "fresh, healing epochs"):
        less = written([r[key] - r["plain"]["test"] for r in rows])
        lines.append(f"| {key} | {np.mean(depths):.1f} | {written([r[key] for r in rows])} | {less} | | |")
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Plain networks against depth, and every way at the depth that it chose."""
    sets = [name for name in SETS if any(r["set"] == name for r in rows)]
    rows_of_panels = math.ceil(len(sets) / 2)
    figure = Figure(figsize=(9.2, 3.6 * rows_of_panels + 0.6), layout="constrained")
    panels = figure.subplots(rows_of_panels, 2, squeeze=False).ravel()
    for ax in panels[len(sets) :]:
        ax.set_visible(False)
    colours = {"ours": "#007a58", "sweep": "#5f6775", "upwards": "#c9a227", "last": "#b5432a", "influence": "#8c2f6b"}
    for ax, name in zip(panels, sets, strict=False):
        of = [r for r in rows if r["set"] == name]
        values = np.array([list(r["plain_test"].values()) for r in of])
        depths = [int(d) for d in of[0]["plain_test"]]
        ax.plot(depths, values.mean(0), color="#2f5fa8", lw=1.6, marker="o", ms=4, label="plain networks")
        half = np.array([mean_interval(column)[1] for column in values.T])
        ax.fill_between(depths, values.mean(0) - half, values.mean(0) + half, color="#2f5fa8", alpha=0.12, lw=0)
        for way, colour in colours.items():
            mean, error = mean_interval(r[way]["test"] for r in of)
            layers = np.mean([r[way]["depth"] for r in of])
            ax.errorbar(layers, mean, error, fmt="D" if way == "ours" else "s", color=colour, ms=8, mec="white",
                        capsize=3, label=WAYS[way])  # fmt: skip
        ways = [mean_interval(r[way]["test"] for r in of) for way in colours]
        low, high = min(mean - error for mean, error in ways), max((values.mean(0) + half).max(), 0)
        # Plain networks far below every way are left out of view.
        ax.set_ylim(low - 0.2 * (high - low), high + 0.1 * (high - low))
        best = truth(of)
        ax.axvline(best, color="#1f2430", ls=":", lw=1.2)
        ax.annotate(f"M* = {best}", (best, 0), xycoords=("data", "axes fraction"), xytext=(4, 6),
                    textcoords="offset points", fontsize=9)  # fmt: skip
        ax.set(title=f"{name}, {len(of)} seeds", xlabel="layers", ylabel="test accuracy, %", xscale="log")
        ax.set_xticks(depths, [str(d) for d in depths])
        ax.minorticks_off()
        ax.grid(alpha=0.25)
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=130, metadata={"Software": None})


def main() -> None:
    """Run all, print the tables of README.md."""
    args = options(__doc__, SETS)
    rows = gather(args, Path(__file__).with_suffix(".json"), one, SEEDS)
    for name in (name for name in args.sets if any(r["set"] == name for r in rows)):
        print(table([r for r in rows if r["set"] == name]), end="\n\n")
    draw(rows, PICTURES / "headline-ground-truth.png")


if __name__ == "__main__":
    main()
