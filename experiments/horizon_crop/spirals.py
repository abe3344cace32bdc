"""Two spirals: a neural ODE, its horizon cropped at the turnpike, the rest in as few Euler layers as a budget allows.

    python -m experiments.horizon_crop.spirals [--turns 1.5 3] [--seeds 5] [--redraw]

One field for all of the depth (width 16, 32 hidden units, tanh), T = 10, trained with stage costs (gamma = 1 per unit
of time) on 20 RK4 steps; its accuracy is that of dopri5 at 1e-6. Beside the layers found: a plain residual network of
the same depth, width and hidden units (h = 1), trained on the terminal cost alone for as many updates as the ODE.
Writes spirals.json beside this file and a picture into docs/pictures, and prints the table of README.md.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import node_oc
from experiments.headline.sets import PICTURES, mean_interval, written
from node_oc import data, store
from node_oc.config import SearchSection, TrainingSection
from node_oc.cropping import shorten
from node_oc.data.split import Split
from node_oc.diagnosis import arrival, sample_losses
from node_oc.diagnosis.arrival import distances
from node_oc.discretization import RK4, Network, discretize
from node_oc.plots.style import CUT, INK, MUTED, Record, figure, layers, styled
from node_oc.problem import Problem
from node_oc.search import HorizonCrop, Protocol, crop_horizon
from node_oc.system import DenseSystem
from node_oc.system.ode import Coordinates, DenseVectorField, NeuralODE, Pad
from node_oc.training.batches import derived_generator
from node_oc.training.heal import heal
from node_oc.trajectory import Solution, Solved, dense_output

WIDTH, HIDDEN, HORIZON, STEPS = 16, 32, 10.0, 20
NEAR = 1.0  # from X*_y; the border between the classes lies 2.08 away from it, and samples start at 2.25 in the mean
MOST = 8  # Euler layers
UPDATES = {1.5: 600, 3.0: 1500}
SEEDS = {1.5: 5, 3.0: 2}
PLACES, SAMPLES = 201, 2000  # of the curves over time


def accuracy(network: Network, split: Split) -> float:
    """Test accuracy in %."""
    return 100 * (1 - float(sample_losses(network, split.test, split.task).mean()))


def one(turns: float, seed: int) -> dict[str, Any]:
    """Train, crop, discretise, heal, and train the plain neighbour: one row."""
    split, plainly = data.spirals(turns=turns, seed=seed), Problem.classification(2, eps=0.05)
    options = TrainingSection(epochs=UPDATES[turns], min_updates=0, batch=0, learning_rate=1e-2, seed=seed, threads=1)
    draw = derived_generator(seed, "weights", "ode", STEPS)
    network = Network(
        NeuralODE(DenseVectorField(WIDTH, HIDDEN, generator=draw), lift=Pad(2, WIDTH), head=Coordinates(2, WIDTH),
                  horizon=HORIZON, steps=STEPS), table=RK4,
    )  # fmt: skip
    start = time.process_time()
    # A price on the controls keeps the field slow enough for the RK4 steps, so that what is trained is the ODE.
    node_oc.fit(network, replace(plainly, energy=1e-3), split.train, options)
    seconds = time.process_time() - start

    def fresh(depth: int) -> Network:
        return Network(DenseSystem(2, 2, depth=depth, width=WIDTH, hidden=HIDDEN, lift="pad", head="coordinates",
                                   generator=derived_generator(seed, "weights", "plain", depth)))  # fmt: skip

    protocol = Protocol(plainly, split, options, SearchSection(budget=0.005))
    crop = crop_horizon(network, protocol, distance=NEAR, most=MOST, fresh=fresh)
    print(turns, seed, crop.sentence, flush=True)
    for_fifth = arrival(network, plainly.stage, protocol.selecting.x, protocol.selecting.y)
    solution = Solution(network, split.test.x)
    with torch.no_grad():
        solved = 100 * float((solution.final.argmax(1) == split.test.y).double().mean())
    short = Solved(shorten(network, crop.cropped))
    plain = {}
    for m in range(1, MOST + 1):
        made = crop.found.plain if m == crop.steps else None
        if made is None:
            made = fresh(m)
            protocol.heal(made, f"plain-{m}", share=1.0)
        plain[str(m)] = accuracy(made, split)
    return {
        "turns": turns, "seed": seed, "seconds": seconds, "updates": UPDATES[turns],
        "dopri5": solved, "evaluations": solution.statistics.evaluations, "rk4": accuracy(network, split),
        "arrived": crop.arrival.found, "cropped": crop.cropped, "median": crop.arrival.at(0.5),
        "never": crop.arrival.never / len(crop.arrival.times), "fifth": for_fifth.time, "dopri5_cropped":
        accuracy(short, split), "steps": crop.steps, "certified": crop.found.certified_depth,
        "layers": curve(crop, network, split, plainly, options), "plain": plain,
        "whole": {str(m): accuracy(discretize(network, m, node_oc.EULER), split) for m in range(1, MOST + 1)},
        **over_time(network, plainly, split), "sentence": crop.sentence,
    }  # fmt: skip


def curve(crop: HorizonCrop, network: Network, split: Split, problem: Problem, options: TrainingSection) -> Any:
    """Test accuracies before and after healing for every number of Euler layers on [0, T'], tried or not."""
    tried = {candidate.depth: candidate.network for candidate in crop.found.candidates}
    rows = {}
    for m in range(1, MOST + 1):
        made = discretize(shorten(network, crop.cropped), m, node_oc.EULER)
        raw = accuracy(made, split)
        if m not in tried:
            made.system.release_()
            heal(made, problem, split.train, options, name=f"horizon-euler-{m}")
            tried[m] = made
        rows[str(m)] = (raw, accuracy(tried[m], split))
    return rows


@torch.no_grad()
def over_time(network: Network, problem: Problem, split: Split) -> dict[str, list[float]]:
    """Median and 95 % quantile of the distance to X*_y, on test samples."""
    x, y = split.test.x[:SAMPLES], split.test.y[:SAMPLES]
    path = dense_output(network, x)
    _, far = distances(network.system, problem.stage, y, path.nodes[0, 0])
    r = [far(path(torch.tensor(HORIZON * i / (PLACES - 1)))) for i in range(PLACES)]
    return {
        "median_distance": [float(d.quantile(0.5)) for d in r],
        "q95_distance": [float(d.quantile(0.95)) for d in r],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The tables of README.md."""
    lines = [
        "| turns | seeds | dopri5 on [0, 10] | evaluations | T' | dopri5 on [0, T'] | Euler layers | raw | healed "
        "| plain, same depth | healed less dopri5 |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for turns in sorted({r["turns"] for r in rows}):
        of = [r for r in rows if r["turns"] == turns]
        raw, healed = zip(*(layer(r, r["steps"] or MOST) for r in of), strict=True)
        less = [h - r["dopri5"] for h, r in zip(healed, of, strict=True)]
        shown = ", ".join(f"{r['steps']}" if r["steps"] else f"> {MOST}" for r in of)
        lines.append(
            f"| {turns:g} | {len(of)} | {written([r['dopri5'] for r in of])} | "
            f"{np.mean([r['evaluations'] for r in of]):.0f} | {written([r['cropped'] for r in of])} | "
            f"{written([r['dopri5_cropped'] for r in of])} | {shown} | {written(raw)} | {written(healed)} | "
            f"{written([r['plain'][str(r['steps'] or MOST)] for r in of])} | {written(less)} |"
        )  # fmt: skip
    lines += [
        "", "| turns | network | " + " | ".join(f"M = {m}" for m in range(1, MOST + 1)) + " |",
        "|---" * (2 + MOST) + "|",
    ]  # fmt: skip
    for turns in sorted({r["turns"] for r in rows}):
        of = [r for r in rows if r["turns"] == turns]
        each = {
            "Euler on [0, 10], as they are": lambda r, m: r["whole"][str(m)],
            "Euler on [0, T'], as they are": lambda r, m: layer(r, m)[0],
            "Euler on [0, T'], healed": lambda r, m: layer(r, m)[1],
            "plain": lambda r, m: r["plain"][str(m)],
        }
        for name, value in each.items():
            cells = " | ".join(written([value(r, m) for r in of], 1) for m in range(1, MOST + 1))
            lines.append(f"| {turns:g} | {name} | {cells} |")
    lines += ["", "| turns | seed | arrived, median and 95 % | never | 95 % within a fifth | RK4 of the training "
              "less dopri5 | layers | certified |", "|---" * 8 + "|"]  # fmt: skip
    for r in rows:
        fifth = f"{r['fifth']:.2f}" if np.isfinite(float(r["fifth"])) else "no"
        when = f"{float(r['median']):.2f}, {r['cropped']:.2f}" if r["arrived"] else f"{float(r['median']):.2f}, no"
        cells = (r["seed"], when, f"{100 * r['never']:.1f} %", fifth, f"{r['rk4'] - r['dopri5']:+.2f}",
                 r["steps"] or f"> {MOST}", r["certified"] or "none")  # fmt: skip
        lines.append(f"| {r['turns']:g} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def layer(row: dict[str, Any], m: int) -> tuple[float, float]:
    """Accuracies of M layers, before and after healing."""
    return tuple(row["layers"][str(m)])  # type: ignore[return-value]


@styled
def draw(record: Record) -> Figure:
    """Distance to the turnpike over time with arrivals, and accuracy over layers."""
    rows = [r for r in record["rows"] if r["turns"] == 1.5]
    fig = figure(9.6, 3.9, "Two spirals: where the ODE may end, and how many layers are left")
    left, right = fig.subplots(1, 2)
    _over_time(left, rows)
    _over_layers(right, rows)
    return fig


def _over_time(ax: Axes, rows: list[dict[str, Any]]) -> None:
    t = np.linspace(0, HORIZON, PLACES)
    for i, r in enumerate(rows):
        shown = {"lw": 1.9, "alpha": 1.0} if i == 0 else {"lw": 0.9, "alpha": 0.35}
        ax.plot(
            t, r["q95_distance"], color="#D55E00", label="95 % of the samples are nearer" if i == 0 else None, **shown
        )
        ax.plot(t, r["median_distance"], color="#0072B2", label="half of them are" if i == 0 else None, **shown)
    ax.axhline(NEAR, color=MUTED, lw=0.8, ls=(0, (4, 3)))
    ax.annotate(f"near: d = {NEAR:g}", (HORIZON, NEAR), xytext=(0, 3), textcoords="offset points", ha="right",
                color=MUTED, fontsize=9)  # fmt: skip
    for key, colour in (("median", "#0072B2"), ("cropped", "#D55E00")):
        ax.plot([float(rows[0][key])], [NEAR], "o", ms=6, color=colour, mec="white", zorder=5)
    ax.axvline(rows[0]["cropped"], color=CUT, lw=1.2, ls=":")
    ax.annotate(f"T' = {rows[0]['cropped']:.2f}", (rows[0]["cropped"], 1), xycoords=("data", "axes fraction"),
                xytext=(5, -12), textcoords="offset points", color=CUT)  # fmt: skip
    ax.set(xlabel="time t", ylabel="distance to $X^*_y$", xlim=(0, HORIZON), ylim=(0, None))
    ax.set_title("arrival (bold: seed 0)")
    ax.legend(loc="upper right", bbox_to_anchor=(1, 0.86))


def _over_layers(ax: Axes, rows: list[dict[str, Any]]) -> None:
    m = np.arange(1, MOST + 1)
    for part, (name, colour) in enumerate((("as they are", MUTED), ("healed", CUT))):
        values = np.array([[layer(r, k)[part] for k in m] for r in rows])
        ax.plot(m, values.mean(0), color=colour, marker="o", ms=4, label=f"Euler layers on [0, T'], {name}")
        ax.fill_between(m, values.min(0), values.max(0), color=colour, alpha=0.15, lw=0)
    whole = np.array([[r["whole"][str(k)] for k in m] for r in rows])
    ax.plot(m, whole.mean(0), color="#CC79A7", lw=1.2, ls="--", label="Euler layers on [0, 10], as they are")
    mean, _ = mean_interval(r["dopri5"] for r in rows)
    ax.axhline(mean, color=INK, lw=1.0, ls=(0, (4, 3)), label=f"dopri5 at 1e-6: {mean:.2f} %")
    plain = np.array([[r["plain"][str(k)] for k in m] for r in rows])
    ax.plot(m, plain.mean(0), color="#0072B2", lw=1.2, marker="s", ms=3.5, label="plain networks")
    layers(ax, MOST, "Euler layers")
    ax.set(ylabel="test accuracy, %", ylim=(45, 102))
    ax.set_title(f"accuracy, {len(rows)} seeds")
    ax.legend(loc="lower right", fontsize=8.5)


def main() -> None:
    """Run the seeds, print the tables, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", nargs="+", type=float, default=[1.5, 3.0], choices=list(UPDATES))
    parser.add_argument("--seeds", type=int, help="fewer or more seeds than the table has")
    parser.add_argument("--redraw", action="store_true", help="tables and picture again from the JSON file")
    args = parser.parse_args()
    path = Path(__file__).with_suffix(".json")
    rows = store.read_json(path) if path.exists() else []
    for turns in [] if args.redraw else args.turns:
        for seed in range(args.seeds or SEEDS[turns]):
            rows = [r for r in rows if (r["turns"], r["seed"]) != (turns, seed)] + [one(turns, seed)]
            rows.sort(key=lambda r: (r["turns"], r["seed"]))
            store.write_json(path, rows)
    rows = store.read_json(path)
    print(table(rows))
    draw({"rows": rows}).savefig(PICTURES / "horizon-crop.png", dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
