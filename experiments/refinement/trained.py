"""Two spirals: a network trained on a few layers, refined where `adapt` asks and trained on, beside uniform grids.

    python -m experiments.refinement.trained [--seeds 5] [--redraw]

Writes trained.json beside this file and prints the table of README.md.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch

import node_oc as oc
from node_oc import data, store
from node_oc.diagnosis import sample_losses

JSON = Path(__file__).with_suffix(".json")
START, MOST, FIRST, BETWEEN = 4, 16, 600, 200  # layers; updates before the first look, and between two looks
WIDTH, HORIZON = 8, 8.0
PROBLEM = oc.Problem.classification(2, stage_weight=0.0)
KINDS = ("one field, Chebyshev 4", "own layers")


def fresh(kind: str, depth: int, seed: int) -> oc.Network:
    """An untrained network of that many equal Euler steps."""
    g = torch.Generator().manual_seed(seed)
    if kind == "own layers":
        system = oc.DenseSystem(2, 2, depth=depth, width=WIDTH, hidden=16, lift="pad", row_norm=0.0, generator=g)
        return oc.Network(system, oc.DepthGrid.uniform(depth, HORIZON / depth))
    head = torch.nn.utils.skip_init(torch.nn.Linear, WIDTH, 2)
    with torch.no_grad():
        head.weight.copy_(torch.randn(2, WIDTH, generator=g) / WIDTH**0.5)
        head.bias.zero_()
    return oc.Network(oc.NeuralODE(oc.DenseVectorField(WIDTH, 16, generator=g), lift=oc.Pad(2, WIDTH), head=head,
                                   horizon=HORIZON, steps=depth, basis=oc.Chebyshev(4)))  # fmt: skip


def one(kind: str, seed: int) -> list[dict[str, Any]]:
    """The adaptive network, uniform ones of its depth with as many updates or as much work, and one that grows too."""
    split = data.spirals(turns=2.0, train=1000, val=1000, test=4000, seed=seed)
    options = oc.TrainingSection(seed=seed, threads=1, checkpoint_seconds=1e6)
    spent = {"updates": 0, "work": 0}

    def train(network: oc.Network, updates: int = BETWEEN) -> None:
        spent["updates"] += updates
        spent["work"] += updates * network.depth
        oc.fit(network, PROBLEM, split.train, options, plan=oc.Plan(f"{network.depth} layers", updates, cosine=False,
               order="one"))  # fmt: skip

    def row(way: str, network: oc.Network) -> dict[str, Any]:
        found = oc.indicators(network.double(), PROBLEM, split.train.x.double(), split.train.y)
        with torch.no_grad():
            j = float(PROBLEM.evaluate(oc.rollout(network, split.train.x.double()), split.train.y).smooth)
            solved = oc.Solution(network, split.train.x.double(), oc.Solver(rtol=1e-8, atol=1e-8))
            ode = float(PROBLEM.evaluate(solved, split.train.y).smooth)
            test = oc.Solution(network, split.test.x.double(), oc.Solver(rtol=1e-6, atol=1e-6)).final
        network.float()
        losses = sample_losses(network, split.test, split.task)
        return {"kind": kind, "seed": seed, "way": way, "layers": network.depth, **spent, "J": j,
                "J(ODE)": ode, "estimate": found.error, "bound": found.bound,
                "accuracy": 100 * (1 - float(losses.mean())),
                "accuracy of the ODE": 100 * float((test.argmax(1) == split.test.y).double().mean()),
                "largest step over smallest": max(network.h) / min(network.h)}  # fmt: skip

    network = fresh(kind, START, seed)
    train(network, FIRST)
    got = oc.adapt(network, PROBLEM, split.train.x, split.train.y, tolerance=0.0, max_depth=MOST, train=train)
    rows = [row("adaptive", got.network)]
    updates, work = spent["updates"], spent["work"]
    for way, count in (("uniform, as many updates", updates),
                       ("uniform, as much work", round(work / got.network.depth))):  # fmt: skip
        even = fresh(kind, got.network.depth, seed)
        spent.update(updates=0, work=0)
        train(even, count)
        rows.append(row(way, even))
    # Halved everywhere, twice, after so many updates that updates and work are those of the adaptive network.
    late = round((work - START * FIRST - 2 * START * (updates - FIRST)) / (2 * START))
    even = fresh(kind, START, seed)
    spent.update(updates=0, work=0)
    train(even, FIRST)
    for count in (updates - FIRST - late, late):
        even = oc.refine(even)
        train(even, count)
    rows.append(row("halved everywhere, both", even))
    return rows


def table(rows: list[dict[str, Any]]) -> None:
    """Means and standard deviations over seeds."""
    print("| layers have | grid | layers | updates | work | test accuracy | of its ODE | J | error of J, abs |")
    print("|---|---|---|---|---|---|---|---|---|")

    def said(values: list[float], digits: int) -> str:
        spread = statistics.stdev(values) if len(values) > 1 else float("nan")
        return f"{statistics.mean(values):.{digits}f} ± {spread:.{digits}f}"

    for kind in KINDS:
        for way in dict.fromkeys(r["way"] for r in rows):
            mine = [r for r in rows if (r["kind"], r["way"]) == (kind, way)]
            numbers = [[r[key] for r in mine] for key in ("layers", "updates", "work")]
            print(f"| {kind} | {way} | " + " | ".join(f"{statistics.mean(n):.0f}" for n in numbers)
                  + f" | {said([r['accuracy'] for r in mine], 2)} | {said([r['accuracy of the ODE'] for r in mine], 2)}"
                  f" | {said([r['J'] for r in mine], 3)}"
                  f" | {said([abs(r['J'] - r['J(ODE)']) for r in mine], 4)} |")  # fmt: skip


def main() -> None:
    """Run the seeds, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--redraw", action="store_true", help="the table again from the JSON file")
    args = parser.parse_args()
    if args.redraw:
        rows = store.read_json(JSON)
    else:
        rows = [row for kind in KINDS for seed in range(args.seeds) for row in one(kind, seed)]
        store.write_json(JSON, rows)
    table(rows)


if __name__ == "__main__":
    main()
