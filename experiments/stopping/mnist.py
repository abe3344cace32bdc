"""MNIST, 20 layers: how deep a sample has to go, after plain training, with stage costs, with L_depth, with both.

    python -m experiments.stopping.mnist --data DIRECTORY

3 seeds, 6 epochs: four trainings of the same network, and plain networks of 1 to 6 layers. Policies are fitted on the
first half of the validation images, chosen on the other half, and followed on the 10,000 test images. Every training is
an ordinary run directory under --folder, and one that is there is not repeated. Writes mnist.json beside this file and
a picture into docs/pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.headline.sets import PICTURES, accuracy, gather, written
from experiments.stopping.exits import BASELINES, expected, measured, trained, worst
from node_oc.config import Config
from node_oc.pipeline import load_split, make_problem
from node_oc.plots.style import CLASSES, CUT, INK, MUTED, figure, styled

WAYS: dict[str, dict[str, Any]] = {
    "plain": {"problem.stage_weight": 0.0},
    "stage costs": {},
    "L_depth": {"problem.stage_weight": 0.1, "problem.depth_cost": 0.01, "problem.depth_weight": 3.0},
    "stage costs and L_depth": {"problem.depth_cost": 0.01, "problem.depth_weight": 10.0},
}
SHALLOW = (1, 2, 3, 4, 5, 6)
LAYERS = (0.003, 0.01, 0.03)  # costs c of a layer, in nats
AIMS = (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 20)
EPOCHS = 6


def configure(seed: int, data: str | None, **overrides: Any) -> Config:
    """The built-in configuration, one thread, fewer epochs."""
    return Config.preset("mnist", {"data.path": data, "training.seed": seed, "training.threads": 1,
                                   "training.epochs": EPOCHS, "search.way": "cut", **overrides})  # fmt: skip


def one(name: str, seed: int, data: str | None, folder: Path) -> list[dict[str, Any]]:
    """One seed: every training, and what policies make of it."""
    rows: list[dict[str, Any]] = []
    split = load_split(configure(seed, data))
    for way, changes in WAYS.items():
        network = trained(configure(seed, data, **changes), folder / f"{way.replace(' ', '-')}-{seed}")
        costs = expected(network, split, make_problem(configure(seed, data), split).terminal, LAYERS)
        rows.append({"set": name, "seed": seed, "way": way, **measured(network, split, AIMS), "expected": costs})
        print(seed, way, rows[-1]["point"], flush=True)
    for depth in SHALLOW:
        config = configure(seed, data, **{"problem.stage_weight": 0.0, "system.depth": depth})
        network = trained(config, folder / f"depth-{depth}-{seed}")
        rows.append({"set": name, "seed": seed, "way": f"plain, {depth}", "accuracy": accuracy(network, split)})
    return rows


def tell(rows: list[dict[str, Any]]) -> str:
    """The tables in Markdown."""
    ways = {way: [row for row in rows if row["way"] == way] for way in WAYS}
    aims = (0.5, 1, 2, 4)
    tables = [_table(["training", "full network", *(f"mean depth {aim:g}" for aim in aims)], {
        way: [written([row["fixed"][-1] for row in these]), *(_at(these, AIMS.index(aim)) for aim in aims)]
        for way, these in ways.items()
    })]  # fmt: skip
    tables.append(_table(["training", "points lost at mean depth 4", "depth at 0.1 points", "points lost there"], {
        way: [_each(row["lost"][AIMS.index(4)] for row in these), written([row["point"]["depth"] for row in these]),
              _each(row["point"]["lost"] for row in these)]
        for way, these in ways.items()
    }))  # fmt: skip
    tables.append(_table(["training", *(f"below {name}, at most" for name in BASELINES)], {
        way: [_each(worst(row)[name] for row in these) for name in BASELINES] for way, these in ways.items()
    }))  # fmt: skip
    if "expected" in ways["plain"][0]:
        tables.append(_table(["training", *(f"c = {c:g}" for c in LAYERS)], {
            way: [f"{written([row['expected'][i][0] for row in these], 4)} "
                  f"({np.mean([row['expected'][i][1] for row in these]):.1f})" for i in range(len(LAYERS))]
            for way, these in ways.items()
        }))  # fmt: skip
    shallow = {d: [row["accuracy"] for row in rows if row["way"] == f"plain, {d}"] for d in SHALLOW}
    if shallow[1]:
        tables.append("Plain networks: " + ", ".join(f"{d} layers {written(v)}" for d, v in shallow.items()) + ".")
    return "\n\n".join(tables)


def _table(head: list[str], rows: dict[str, list[str]]) -> str:
    lines = [head, ["---"] * len(head), *([name, *cells] for name, cells in rows.items())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _at(rows: list[dict[str, Any]], aim: int) -> str:
    """Accuracy of the policy chosen for an aim, and its mean depth on test data."""
    depths, accuracies = zip(*(row["curves"]["chosen"][aim] for row in rows), strict=True)
    return f"{written(accuracies)} ({np.mean(depths):.2f})"


def _each(values: Iterable[Sequence[float]]) -> str:
    """Mean and interval over samples, one a seed."""
    return "; ".join("{:.2f} [{:.2f}, {:.2f}]".format(*value) for value in values)


@styled
def picture(rows: list[dict[str, Any]]) -> Figure:
    """Test accuracy against mean depth, means over seeds: policies on one network; one policy on four trainings."""
    fig = figure(11.0, 5.4, "MNIST, 20 layers: accuracy against the mean depth at which samples stop")
    left, right = fig.subplots(1, 2, sharey=True)
    mean = {way: _means([row for row in rows if row["way"] == way]) for way in WAYS}
    names = {"fixed": "fixed depth", "entropy": "entropy", "confidence": "confidence", "chosen": "chosen on validation"}
    for (name, label), colour in zip(names.items(), (MUTED, CLASSES[0], CLASSES[4], CLASSES[1]), strict=True):
        left.plot(*mean["L_depth"][name].T, "-o", color=colour, ms=4, label=label)
    left.set(title="Policies, trained with L_depth", ylabel="test accuracy in %")
    for way, colour in zip(WAYS, (MUTED, CLASSES[0], CLASSES[1], CUT), strict=True):
        right.plot(*mean[way]["chosen"].T, "-o", color=colour, ms=4, label=f"20 layers, {way}")
    plain = [np.mean([r["accuracy"] for r in rows if r["way"] == f"plain, {d}"]) for d in SHALLOW]
    right.plot(SHALLOW, plain, "D", color=INK, ms=5, label="plain network of that depth")
    right.set(title="The chosen policy, by training")
    full = float(np.mean([row["fixed"][-1] for row in rows if row["way"] == "L_depth"]))
    for ax in (left, right):
        ax.axhspan(full - 0.1, full, color=CLASSES[1], alpha=0.12, lw=0, label="0.1 points under the full network")
        ax.set(xlabel="mean depth", xscale="symlog", xlim=(0, 21), ylim=(96.6, 98.7))
        ax.set_xticks([0, 0.5, 1, 2, 4, 8, 20], ["0", "0.5", "1", "2", "4", "8", "20"])
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    return fig


def _means(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Curves and fixed depths, means over the seeds, aim by aim."""
    found = {name: np.mean([row["curves"][name] for row in rows], 0) for name in rows[0]["curves"]}
    fixed = np.mean([row["fixed"] for row in rows], 0)
    return {**found, "fixed": np.column_stack([np.arange(len(fixed)), fixed])}


def main() -> None:
    """Run, print the tables, write JSON and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder with the four IDX files of MNIST")
    parser.add_argument("--seeds", type=int, help="fewer or more than 3")
    parser.add_argument("--folder", type=Path, default=Path("runs/stopping"))
    parser.add_argument("--redraw", action="store_true", help="tables and picture again from the JSON file")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time, one thread each")
    args = parser.parse_args()
    if args.data is None and not args.redraw:
        parser.error("MNIST needs --data DIRECTORY")
    args.sets = ["mnist"]
    rows = gather(args, Path(__file__).with_name("mnist.json"), one, {"mnist": 3})
    print(tell(rows))
    picture(rows).savefig(PICTURES / "stopping-mnist.png", dpi=130)


if __name__ == "__main__":
    main()
