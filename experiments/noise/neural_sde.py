"""A neural SDE trained, then discretised to the residual network with the driver that it is the limit of.

    python -m experiments.noise.neural_sde [--seeds 3] [--redraw]

Writes neural_sde.json beside this file and prints the table of README.md.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import node_oc as oc
from node_oc import data, store
from node_oc.data.split import Part, Split
from node_oc.discretization import Mean
from node_oc.seeds import derived_generator

JSON = Path(__file__).with_suffix(".json")
DRAWS, TEST, SUBSTEPS = 32, 1000, 2
SHAPES: dict[str, dict[str, Any]] = {  # depth, width and hidden of a branch, step size, updates
    "spirals": {"depth": 8, "width": 8, "hidden": 16, "h": 0.5, "updates": 600},
    "digits": {"depth": 4, "width": 16, "hidden": 16, "h": 0.5, "updates": 500},
}
FINE = "SDE, 16 substeps of Euler"
KINDS = ("two networks, two-point noise", "one network, branch dropout")


def split_of(name: str, seed: int) -> Split:
    """The samples of a set."""
    return data.spirals(train=1000, val=100, test=TEST, seed=seed) if name == "spirals" else data.digits(seed=seed)


def equation(kind: str, name: str, split: Split, seed: int) -> oc.NeuralSDE | oc.Network:
    """An untrained neural SDE of N layers, or the plain network of that size."""
    shape, generator = SHAPES[name], torch.Generator().manual_seed(seed)
    features, classes = split.train.x.shape[1], 2 if name == "spirals" else 10

    def dense() -> oc.DenseSystem:
        lift = "pad" if name == "spirals" else "linear"
        return oc.DenseSystem(features, classes, depth=shape["depth"], width=shape["width"], hidden=shape["hidden"],
                              lift=lift, row_norm=0.0, generator=generator)  # type: ignore[arg-type]  # fmt: skip

    grid = oc.DepthGrid.uniform(shape["depth"], shape["h"])
    if kind == "plain":
        return oc.Network(dense(), grid)
    if kind == KINDS[1]:
        return oc.NeuralSDE(oc.Network(dense(), grid), driver(kind, 0), substeps=SUBSTEPS)
    pair = oc.PairedSystem(dense(), dense(), mean=(1, 0))
    return oc.NeuralSDE(oc.Network(pair, grid), driver(kind, 0), substeps=SUBSTEPS)


def driver(kind: str, halved: int) -> oc.Noise:
    """The driver of the network whose steps were halved so often: of the same equation.

    Two-point noise enters as sqrt(h) b and is what it was. Dropout enters as h b, so that half the step has half the
    variance: (1 - p)/p is doubled.
    """
    if kind == KINDS[0]:
        return oc.two_point(1.0, root=True, diffuses="second")
    return oc.branch_dropout(1 / (1 + 0.25 * 2**halved))


def judged(outputs: Callable[[int | None], Tensor], part: Part) -> tuple[dict[str, float], Tensor]:
    """Accuracy in %: in the mean, of the mean probabilities of all draws, of one draw; and those probabilities."""
    with torch.no_grad():
        mean = outputs(None)
        chances = torch.stack([outputs(i).softmax(1) for i in range(DRAWS)])

    def right(scores: Tensor) -> float:
        return 100 * float((scores.argmax(-1) == part.y).double().mean())

    together = chances.mean(0)
    return {"mean": right(mean), "draws": right(together), "one": right(chances)}, together


def one(name: str, kind: str, seed: int) -> list[dict[str, Any]]:
    """The rows of one training: the equation by several solvers, the network at several step sizes."""
    split = split_of(name, seed)
    model, problem = equation(kind, name, split, seed), oc.Problem.classification(2 if name == "spirals" else 10)
    options = oc.TrainingSection(batch=128, learning_rate=5e-3, seed=seed, threads=1, checkpoint_seconds=1e6)
    oc.fit(model, problem.terminal_only(), split.train, options, plan=oc.Plan(updates=SHAPES[name]["updates"]))
    x, rows = split.test.x, []

    def generator(i: int, what: str) -> torch.Generator:
        return derived_generator(seed, what, i)

    def row(what: str, layers: int, outputs: Callable[[int | None], Tensor]) -> Tensor:
        found, chances = judged(outputs, split.test)
        rows.append({"set": name, "kind": kind, "seed": seed, "what": what, "layers": layers, **found})
        return chances

    if not isinstance(model, oc.NeuralSDE):
        row("network", model.depth, lambda i: model(x))
        return rows
    network, noise = model.network, model.noise
    fine = oc.NeuralSDE(network, noise, substeps=16)
    solved = {
        FINE: fine, "the same, other paths": fine, f"SDE, {SUBSTEPS} substeps, as trained": model,
        "SDE, torchsde's srk, 4 substeps": oc.NeuralSDE(network, noise, substeps=4, torchsde=True, method="srk"),
    }  # fmt: skip
    chances = {}
    for what, sde in solved.items():

        def path(i: int | None, sde: oc.NeuralSDE = sde, what: str = what) -> Tensor:
            return sde(x, None if i is None else generator(i, what))

        chances[what] = row(what, 0, path)
    for halved in range(3):
        network, noise = oc.refine(network) if halved else network, driver(kind, halved)

        def rolled(i: int | None, network: oc.Network = network, noise: oc.Noise = noise) -> Tensor:
            drives = Mean(noise) if i is None else noise.drawn(generator(i, "network"))
            return oc.rollout(network, x, driver=drives).final

        chances[f"network, h = {network.h[0]:g}"] = row(f"network, h = {network.h[0]:g}", network.depth, rolled)
    for each, found in zip(rows, chances.values(), strict=True):
        each["apart"] = 100 * float((found - chances[FINE]).abs().sum(1).mean()) / 2
    return rows


def table(rows: list[dict[str, Any]]) -> None:
    """Means and standard deviations over seeds."""
    print("| set | what is trained | what is asked | in the mean | 32 paths together | one path | from the SDE |")
    print("|---|---|---|---|---|---|---|")

    def said(values: list[float]) -> str:
        spread = statistics.stdev(values) if len(values) > 1 else float("nan")
        return f"{statistics.mean(values):.1f} ± {spread:.1f}"

    for name, kind, what in dict.fromkeys((r["set"], r["kind"], r["what"]) for r in rows):
        mine = [r for r in rows if (r["set"], r["kind"], r["what"]) == (name, kind, what)]
        cells = [said([r[key] for r in mine]) for key in ("mean", "draws", "one")]
        apart = [r["apart"] for r in mine if "apart" in r]
        print(f"| {name} | {kind} | {what} | " + " | ".join(cells) + f" | {said(apart) if apart else ''} |")


def main() -> None:
    """Run the seeds, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--redraw", action="store_true", help="the table again from the JSON file")
    args = parser.parse_args()
    rows = store.read_json(JSON) if args.redraw else []
    for seed, name in itertools.product(range(0 if args.redraw else args.seeds), SHAPES):
        for kind in ("plain", *KINDS):
            rows += one(name, kind, seed)
            print(name, kind, seed, f"{time.process_time():.0f} s", flush=True)
        store.write_json(JSON, rows)
    table(rows)


if __name__ == "__main__":
    main()
