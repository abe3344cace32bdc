"""What the theory says of the study's networks: how much noise would add to J, by the explicit regulariser.

    python -m experiments.noise.study_theory --data DIRECTORY
    python -m experiments.noise.study_theory --redraw

R = (1/2) sum_k h^2 tr(Sigma_k Hess J) on the training samples, 16 probes, of networks that experiments.noise.study has
trained (read from its folder; trained again where they are not there). Training with noise is to leading order training
J + R, so networks trained with noise are to have a smaller R, and drivers of one covariance the same one. Writes
study_theory.json beside this file.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from experiments.headline.sets import written
from experiments.noise.study import MODES, SETS, Case, trained
from experiments.noise.study_table import fill
from node_oc import branch_dropout, explicit_regulariser, stochastic_depth, store
from node_oc.discretization.noise import Noise

JSON = Path(__file__).with_name("study_theory.json")
NOISE: dict[str, Callable[[float], Noise]] = {  # two-point and Gaussian noise have the covariance of dropout
    "stochastic depth": lambda keep: stochastic_depth(keep, inverted=True),
    "branch dropout": branch_dropout,
}


def one(case: Case, data: Path | None, root: Path) -> dict[str, Any]:
    """R of one network for both covariances."""
    split = case.split(data)
    network = trained(case, split, root)
    problem = case.problem(case.config(), split)
    row: dict[str, Any] = dict(case.key)
    for driver in NOISE:
        noise = NOISE[driver](case.keep)
        found = explicit_regulariser(network, noise, problem, split.train.x, split.train.y, probes=16)
        row |= {"J": found.objective, driver: found.total, f"{driver}, error": found.error}
    return {**row, "least": (problem.terminal.least or 0.0) * (1 + problem.stage_weight * network.depth)}


def tell(rows: list[dict[str, Any]]) -> str:
    """R by set and way of training."""
    lines = [
        "| set | trained with | J | J less its least value | R of stochastic depth | R of the other three |",
        "|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["set"] for row in rows):
        for mode in dict.fromkeys(row["mode"] for row in rows):
            these = [row for row in rows if row["set"] == name and row["mode"] == mode]
            if these:
                cells = [[row["J"] for row in these], [row["J"] - row["least"] for row in these],
                         *([row[driver] for row in these] for driver in NOISE)]  # fmt: skip
                lines.append(f"| {name} | {mode} | " + " | ".join(written(cell, 4) for cell in cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Make the rows that are missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(SETS)[:4], choices=SETS)
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, help="folder with MNIST")
    parser.add_argument("--folder", type=Path, default=Path("runs/noise"), help="trainings")
    parser.add_argument("--redraw", action="store_true", help="the table of README.md from study_theory.json")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = store.read_json(JSON) if JSON.exists() else []
    torch.set_num_threads(1)
    for case in [] if args.redraw else [Case(name, "stage", 0.8, mode, seed) for seed in range(args.seeds)
                                        for name in args.sets for mode in args.modes]:  # fmt: skip
        if not any(all(row[key] == value for key, value in case.key.items()) for row in rows):
            rows.append(one(case, args.data, args.folder))
            store.write_json(JSON, rows)
    print(tell(rows))
    fill("theory of the study", tell(rows))


if __name__ == "__main__":
    main()
