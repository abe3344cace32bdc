"""Two spirals: a neural ODE that stops each sample at its free boundary.

    python -m experiments.stopping.spirals [--seeds 3] [--redraw]

The ODE of experiments.horizon_crop: width 16, 32 hidden units (tanh), one control for all of T = 10, trained with stage
costs (gamma = 1 per unit of time) on 20 RK4 steps. The expected loss e is fitted on validation samples at 41 times:
least squares of the stage cost on entropy, margin and top probability of the readout, their coefficients cubic in t
(our formulation). A sample stops at the first t >= t_0 with -(d/dt) e(t) <= c, found in the dense output of dopri5 at
1e-6: t_0 = 0, or the first time of a grid at which at most 0.5 points are lost on validation samples at c = 0.01.
Beside it one time for all. Writes spirals.json beside this file and a picture into docs/pictures, and prints the table
of README.md.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.headline.sets import PICTURES, written
from experiments.horizon_crop.spirals import HORIZON, train
from node_oc import data, store
from node_oc.config import TrainingSection
from node_oc.discretization import Network
from node_oc.plots.free_boundary import free_boundary as picture
from node_oc.policies.free_boundary import FreeBoundary, fit_expected_loss, free_boundary
from node_oc.problem import Problem
from node_oc.trajectory import dense_output

UPDATES, VALIDATION, TEST = 600, 1000, 2000
COSTS = (0.002, 0.01, 0.05)
CHOOSING, BUDGET = 0.01, 0.5  # the start is chosen at this cost, to lose at most so many points
MAPPED = (0.002, 0.01, 0.05)
TIMES = [0.5 * i for i in range(21)]
SIDE = 61  # of the map


def one(seed: int, mapped: bool) -> dict[str, Any]:
    """A trained ODE, its estimate of the loss, and where it stops."""
    split, problem = data.spirals(turns=1.5, seed=seed), Problem.classification(2, eps=0.05)
    options = TrainingSection(epochs=UPDATES, min_updates=0, batch=0, learning_rate=1e-2, seed=seed, threads=1)
    network = train("one", seed, split, replace(problem, energy=1e-3), options)
    head = network.system.head
    x, y = split.val.x[:VALIDATION], split.val.y[:VALIDATION]
    path = dense_output(network, x)
    with torch.no_grad():
        times = torch.linspace(0, HORIZON, 41)
        readouts = torch.stack([head(path(t)) for t in times])
        loss = fit_expected_loss(times, readouts, problem.stage(readouts, y))

    def estimate(t: Tensor, state: Tensor) -> Tensor:
        return loss(t, head(state))

    @torch.no_grad()
    def right(states: Tensor) -> float:
        return 100 * float((head(states).argmax(1) == y).double().mean())

    chosen = next(t for t in TIMES if right(free_boundary(path, estimate, CHOOSING, start=t).states)
                  >= right(path.nodes[-1, -1]) - BUDGET)  # fmt: skip
    x, y = split.test.x[:TEST], split.test.y[:TEST]
    path = dense_output(network, x)

    @torch.no_grad()
    def accuracy(states: Tensor) -> float:
        return 100 * float((head(states).argmax(1) == y).double().mean())

    curve = []
    for start, cost in itertools.product((chosen, 0.0), COSTS):
        found = free_boundary(path, estimate, cost, start=start)
        at = accuracy(path(found.times.mean()))
        shares = {
            "start": start,
            "at_0": float((found.times == start).double().mean()),
            "never": float((~found.reached).double().mean()),
        }
        curve.append({"cost": cost, "time": float(found.times.mean()), "accuracy": accuracy(found.states), "fixed": at,
                      **shares, "sentence": found.sentence})  # fmt: skip
        print(seed, curve[-1], flush=True)
    rows = {"seed": seed, "full": accuracy(path.nodes[-1, -1]), "error": loss.error, "curve": curve,
            "fixed": [[t, accuracy(path(torch.tensor(t)))] for t in TIMES]}  # fmt: skip
    return {**rows, **(maps(network, estimate, chosen, split.train.x, split.train.y) if mapped else {})}


def maps(network: Network, estimate: Any, start: float, x: Tensor, y: Tensor) -> dict[str, Any]:
    """Stopping times over the plane of inputs."""
    top = 1.15 * float(x.abs().max())
    line = torch.linspace(-top, top, SIDE)
    plane = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).reshape(-1, 2)
    times: dict[float, list[Tensor]] = {cost: [] for cost in MAPPED}
    for rows in plane.split(4000):
        path = dense_output(network, rows)
        for cost in MAPPED:
            found: FreeBoundary = free_boundary(path, estimate, cost, start=start)
            times[cost].append(found.times)
    drawn = [
        {"cost": c, "times": torch.cat(t).reshape(SIDE, SIDE).round(decimals=3).tolist()} for c, t in times.items()
    ]
    samples = [
        [round(float(a), 3), round(float(b), 3), int(label)] for (a, b), label in zip(x[:300], y[:300], strict=True)
    ]
    return {"maps": drawn, "samples": samples, "x": [-top, top], "y": [-top, top]}


def table(rows: list[dict[str, Any]]) -> str:
    """The table of README.md."""
    lines = ["| from t | c | mean stopping time of 10 | accuracy there | one time for all, the same mean | whole ODE "
             "| stop at once | never stop |", "|---" * 8 + "|"]  # fmt: skip
    for i in range(len(rows[0]["curve"])):
        of = [r["curve"][i] for r in rows]
        numbers = [written([r[key] for r in of]) for key in ("time", "accuracy", "fixed")]
        shares = [f"{100 * sum(r[key] for r in of) / len(of):.1f} %" for key in ("at_0", "never")]
        cells = [", ".join(f"{r['start']:g}" for r in of), f"{of[0]['cost']:g}", *numbers,
                 written([r["full"] for r in rows]), *shares]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the seeds, print the table, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--redraw", action="store_true", help="table and picture again from the JSON file")
    args = parser.parse_args()
    path = Path(__file__).with_suffix(".json")
    rows: list[dict[str, Any]] = store.read_json(path) if path.exists() else []
    for seed in range(0 if args.redraw else args.seeds):
        rows = sorted([r for r in rows if r["seed"] != seed] + [one(seed, seed == 0)], key=lambda r: int(r["seed"]))
        store.write_json(path, rows)
    print(table(rows))
    first = rows[0]
    begin = first["curve"][0]["start"]
    part = {**{key: first[key] for key in ("maps", "samples", "x", "y", "fixed")}, "horizon": HORIZON,
            "curve": [[r["time"], r["accuracy"]] for r in first["curve"] if r["start"] == begin]}  # fmt: skip
    picture({"name": "two spirals, neural ODE", "free_boundary": part}).savefig(
        PICTURES / "free-boundary.png", dpi=130, metadata={"Software": None}
    )


if __name__ == "__main__":
    main()
