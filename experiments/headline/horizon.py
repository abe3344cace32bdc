"""Is the depth the task's or N's? One task with networks of N = 10, 20, 40 (spirals: 80) layers, gamma = 1 a layer.

    python -m experiments.headline.horizon --data DIRECTORY

Entry by accuracy: the layer from which on the test accuracy stays within 0.5 points of the last layer's. Entry by
excess: the one from which on the mean excess of the stage cost stays within a fifth of that at k = 0. Count: layers
with a mean excess of 0.1 nats or more, on training data, and what the counting bound allows when the other control is
the N = 10 network of the same seed with zero steps appended, or the network's own first layers. Both for the network
trained with stage costs alone and for the one at a fixed price of a layer (0.3 on spirals, 0.1 on MNIST), unhealed.
Writes horizon.json beside this file and a picture into docs/pictures.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.headline.sets import PICTURES, configure, gather, options, searching, written
from node_oc.diagnosis import diagnose, turnpike
from node_oc.discretization import Network
from node_oc.search.depth import PRICED
from node_oc.training.active import sparsify
from node_oc.training.batches import training_updates

SETS = {"spirals": (10, 20, 40, 80), "mnist": (10, 20, 40)}
SEEDS = {"spirals": 5, "mnist": 3}
PRICE = {"spirals": 0.3, "mnist": 0.1}
LEVEL = 0.1  # nats


def one(name: str, seed: int, data: str | None, folder: Path) -> list[dict[str, Any]]:
    """Every N of one seed."""
    rows: list[dict[str, Any]] = []
    shortest: dict[str, Network] = {}
    for n in SETS[name]:
        config = configure(name, seed, data, **{"system.depth": n, "problem.price": PRICE[name], "search.plain": False})
        where = folder / name / (str(seed) if n == 20 else f"{seed}-N{n}")
        search, split, network = searching(config, where)
        search.train_reference(network)
        priced = copy.deepcopy(network)
        updates = round(PRICED * training_updates(config.training, len(split.train)))
        sparsify(priced, search.problem, split.train, config.training, updates=updates, name="fixed-price",
                 folder=where)  # fmt: skip
        plain_problem = search.problem.priced(0.0)
        for kind, trained, problem in (("stage costs", network, plain_problem), ("priced", priced, search.problem)):
            other = shortest.setdefault(kind, trained)
            on_test = diagnose(trained, plain_problem, split.test)
            on_train = diagnose(trained, problem, split.train, other=None if other is trained else other)
            excess, bound = on_train.profile.excess, on_train.counting
            rows.append({
                "set": name, "seed": seed, "N": n, "kind": kind, "accuracy": on_test.profile.metric,
                "excess": excess, "entry_accuracy": on_test.entry_accuracy, "entry_excess": turnpike(excess).entry,
                "awake": len(trained.awake), "count": sum(e >= LEVEL for e in excess[:-1]),
                "bound": bound.bound / LEVEL, "owed": bound.owed, "gap": bound.gap, "verdict": bound.verdict,
            })  # fmt: skip
    return rows


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Accuracy against the layer for every N: the curves of one task should lie on one another."""
    sets = [name for name in SETS if any(r["set"] == name for r in rows)]
    figure = Figure(figsize=(5.2 * len(sets), 4.0), layout="constrained")
    for ax, name in zip(np.atleast_1d(figure.subplots(1, len(sets))), sets, strict=True):
        for n, colour in zip(SETS[name], ("#c9a227", "#007a58", "#2f5fa8", "#8c2f6b"), strict=False):
            of = [r for r in rows if (r["set"], r["N"], r["kind"]) == (name, n, "stage costs")]
            if not of:
                continue
            error = 100 * (1 - np.array([r["accuracy"] for r in of]))
            entry = float(np.mean([r["entry_accuracy"] for r in of]))
            ax.plot(range(n + 1), error.mean(0), color=colour, lw=1.8, label=f"N = {n}, entry {entry:.1f}")
            ax.fill_between(range(n + 1), error.min(0), error.max(0), color=colour, alpha=0.15, lw=0)
            ax.axvline(entry, color=colour, ls=":", lw=1.2)
        ax.set(xscale="symlog", yscale="log", xlabel="layer k", ylabel="test error of the readout, %",
               title=name, xlim=(-0.2, 1.05 * max(SETS[name])))  # fmt: skip
        ticks = [0, 1, 2, 3, 5, 10, 20, 40, 80]
        ax.set_xticks([k for k in ticks if k <= max(SETS[name])])
        ax.set_xticklabels([str(k) for k in ticks if k <= max(SETS[name])])
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if 1 < value < 10 else "")
        ax.legend(frameon=False)
        ax.grid(alpha=0.25)
    figure.savefig(path, dpi=130, metadata={"Software": None})


def main() -> None:
    """Run all, print the table of README.md."""
    args = options(__doc__, tuple(SETS))
    rows = gather(args, Path(__file__).with_suffix(".json"), one, SEEDS)
    print(
        "| set | network | N | awake | entry by accuracy | entry by excess | count | bound | owed | J above the other |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in args.sets:
        for kind in ("stage costs", "priced"):
            for n in SETS[name]:
                of = [r for r in rows if (r["set"], r["kind"], r["N"]) == (name, kind, n)]
                entered = [r["entry_excess"] for r in of if r["entry_excess"] is not None]
                excess = written(entered, 1) if len(entered) == len(of) else f"{len(entered)} of {len(of)} enter"
                mean = {key: np.mean([r[key] for r in of]) for key in ("awake", "count", "bound", "gap")}
                cells = [f"{mean['awake']:.1f}", written([r["entry_accuracy"] for r in of], 1), excess,
                         f"{mean['count']:.1f}", f"{mean['bound']:.1f}", f"{sum(r['owed'] for r in of)} of {len(of)}",
                         f"{mean['gap']:+.3f}"]  # fmt: skip
                print(f"| {name} | {kind} | {n} | {' | '.join(cells)} |")
    draw(rows, PICTURES / "headline-horizon.png")


if __name__ == "__main__":
    main()
