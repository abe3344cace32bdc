"""y = sin x by 20 residual tanh layers: E-MSA, basic MSA and Adam, per sweep and per second.

    python -m experiments.maximum_principle.sine [--seeds 3] [--methods E-MSA ..] [--redraw]

In the spirit of the example of arXiv 1710.09513: x_{k+1} = x_k + h tanh(W_k x_k + b_k), width 5, T = 5, h = 0.25,
between a linear lift and a linear head, which are controls too. 200 points on [-pi, pi], all of them in every update;
J is the mean squared error, without stage costs. One pass forward and one back is a sweep: an update of Adam is one, an
update of E-MSA is one and then ten iterations of L-BFGS in each of its 22 layers by itself. Every method stops at
J <= 3e-4, or after its number of updates. Seconds are those of one CPU thread. Writes sine.json beside this file and
pictures into docs/pictures, and prints the table of README.md.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from experiments.headline.sets import PICTURES
from node_oc import store
from node_oc.config import TrainingSection
from node_oc.data import Part
from node_oc.discretization import Network
from node_oc.errors import DivergenceError
from node_oc.plots.error_terms import error_terms, terms_of
from node_oc.plots.style import CLASSES, INK, MUTED, Record, figure, styled
from node_oc.problem import Problem
from node_oc.system.dense import linear
from node_oc.system.ode import NeuralODE, Piecewise, VectorField
from node_oc.training import Plan, fit
from node_oc.training.method import Info
from node_oc.trajectory import rollout

WIDTH, DEPTH, HORIZON, POINTS = 5, 20, 5.0, 200
GOAL, ENOUGH = 1e-3, 3e-4  # of J; of J, where a training ends
METHODS: dict[str, tuple[dict[str, Any], int]] = {  # options, updates at most
    "E-MSA": ({"method": "emsa", "emsa_rho": 100.0}, 80),
    "Adam, 3e-2": ({"learning_rate": 3e-2}, 2000),
    "Adam, 1e-2": ({"learning_rate": 1e-2}, 2000),
    "Adam, 3e-3": ({"learning_rate": 3e-3}, 2000),
    "basic MSA": ({"method": "msa"}, 80),
}
COLOURS = dict(zip(METHODS, (CLASSES[1], INK, CLASSES[0], CLASSES[4], MUTED), strict=True))


class Tanh(VectorField):
    """tanh(W x + b)."""

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.inner = nn.utils.skip_init(nn.Linear, width, width)
        self.reset_(generator)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(self.inner(x))

    @property
    def group_names(self) -> tuple[str, ...]:
        return ("inner.weight", "inner.bias")

    @property
    def timed(self) -> bool:
        return False

    @torch.no_grad()
    def reset_(self, generator: torch.Generator) -> None:
        self.inner.weight.copy_(torch.randn(self.inner.weight.shape, generator=generator) / WIDTH**0.5)
        self.inner.bias.zero_()


def untrained(seed: int) -> Network:
    """20 layers with controls of their own, between a linear lift and a linear head."""
    generator = torch.Generator().manual_seed(seed)
    times = tuple(k * HORIZON / DEPTH for k in range(DEPTH + 1))
    ode = NeuralODE(Tanh(WIDTH, generator), lift=linear(1, WIDTH, generator), head=linear(WIDTH, 1, generator),
                    times=times, basis=Piecewise(DEPTH), generator=generator)  # fmt: skip
    return Network(ode.unroll())


def points(n: int, shift: float = 0.0) -> Part:
    """Equally spaced points on [-pi, pi], and their sines."""
    x = (torch.arange(n)[:, None] + 0.5 + shift) * (2 * torch.pi / n) - torch.pi
    return Part(x, x.sin())


def one(name: str, seed: int) -> dict[str, Any]:
    """A training: J before every update with the CPU seconds spent, and J at the end on training and other points."""
    more, updates = METHODS[name]
    options = TrainingSection(batch=0, seed=seed, threads=1, checkpoint_seconds=1e9, **more)
    network, problem, part = untrained(seed), Problem.regression(stage_weight=0.0), points(POINTS)
    curve: list[tuple[float, float]] = []  # CPU seconds before an update, J before it
    start, diverged = time.process_time(), ""

    def progress(plan: str, done: int, of: int, info: Info) -> None:
        curve.append((spent[-1], info.objective))
        spent.append(time.process_time() - start)

    spent = [0.0]
    with tempfile.TemporaryDirectory() as folder:
        try:
            fit(network, problem, part, options, plan=Plan("fit", updates=updates), folder=Path(folder),
                progress=progress, stop=lambda plan, done: curve[-1][1] <= ENOUGH)  # fmt: skip
        except DivergenceError as error:
            diverged = str(error).splitlines()[0]
        terms = terms_of(Path(folder) / "history.jsonl") if more.get("method") == "emsa" and seed == 0 else []

    def value(part: Part) -> float:
        with torch.no_grad():
            return float(problem.evaluate(rollout(network, part.x), part.y).total)

    reached = next((i for i, (_, j) in enumerate(curve) if j <= GOAL), None)
    print(name, seed, len(curve), f"J = {value(part):.2e}", f"{spent[-1]:.1f} s", diverged, flush=True)
    return {
        "method": name, "seed": seed, "updates": len(curve), "seconds": spent[-1], "train": _number(value(part)),
        "test": _number(value(points(1000))), "goal_updates": reached,
        "goal_seconds": None if reached is None else curve[reached][0], "diverged": diverged,
        "curve": [[round(t, 2), _number(j)] for t, j in curve], "terms": terms,
    }  # fmt: skip


def _number(j: float) -> float | str:
    return float(f"{j:.4g}") if math.isfinite(j) else str(j)


def table(rows: list[dict[str, Any]]) -> str:
    """The table of README.md."""
    lines = ["| method | seed | updates | J at the end, training points | other points | updates to J <= 1e-3 "
             "| CPU seconds to it | ms an update |", "|---" * 8 + "|"]  # fmt: skip
    for r in sorted(rows, key=lambda r: (list(METHODS).index(r["method"]), r["seed"])):
        end = ("diverged", "diverged") if r["diverged"] else (f"{r['train']:.1e}", f"{r['test']:.1e}")
        goal = ("never", "–") if r["goal_updates"] is None else (r["goal_updates"], f"{r['goal_seconds']:.1f}")
        cells = (r["method"], r["seed"], r["updates"], *end, *goal, f"{1e3 * r['seconds'] / max(r['updates'], 1):.0f}")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


@styled
def draw(record: Record) -> Figure:
    """J against sweeps and against seconds, one line a seed."""
    fig = figure(9.6, 3.9, "y = sin x, 20 residual tanh layers: the maximum principle and Adam")
    axes = fig.subplots(1, 2, sharey=True)
    for r in record["rows"]:
        j = [float(v) for _, v in r["curve"]]
        for ax, x in zip(axes, (range(1, len(j) + 1), [max(t, 1e-2) for t, _ in r["curve"]]), strict=True):
            first = r["seed"] == 0
            ax.plot(x, j, color=COLOURS[r["method"]], lw=1.6 if first else 0.9, alpha=1 if first else 0.6,
                    label=r["method"] if first and ax is axes[0] else None)  # fmt: skip
    for ax, name in zip(axes, ("updates, one sweep forward and one back each", "CPU seconds, one thread"), strict=True):
        ax.axhline(GOAL, color=INK, lw=0.8, ls=(0, (4, 3)))
        ax.set(xscale="log", yscale="log", xlabel=name, ylim=(1e-4, 1e2))
    axes[0].set_ylabel("J, mean squared error")
    fig.legend(loc="outside lower center", ncols=5)
    return fig


def main() -> None:
    """Run what is missing, print the table, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--redraw", action="store_true", help="table and pictures again from the JSON file")
    args = parser.parse_args()
    path = Path(__file__).with_suffix(".json")
    rows = store.read_json(path) if path.exists() else []
    for seed in range(0 if args.redraw else args.seeds):
        for name in args.methods:
            rows = [r for r in rows if (r["method"], r["seed"]) != (name, seed)] + [one(name, seed)]
            store.write_json(path, rows)
    print(table(rows))
    draw({"rows": rows}).savefig(PICTURES / "emsa-sine.png", dpi=130, metadata={"Software": None})
    for r in rows:
        if r["terms"]:
            record = {"name": "E-MSA on a sine", "error_terms": r["terms"]}
            error_terms(record).savefig(PICTURES / "error-terms.png", dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
