"""Two spirals: a neural ODE, its horizon cropped at the turnpike, the rest in as few Euler layers as a budget allows.

    python -m experiments.horizon_crop.spirals [--rows one pieces one-3-turns] [--seeds 5] [--redraw]

A field of width 16 with 32 hidden units (tanh), T = 10, trained with stage costs (gamma = 1 per unit of time) on 20 RK4
steps; its control is the same for all of the depth, or constant on 20 pieces. Its accuracy is that of dopri5 at 1e-6.
Beside the layers found: a plain residual network of the same depth, width and hidden units (h = 1), trained on the
terminal cost alone for as many updates as the ODE. Writes spirals.json beside this file and a picture into
docs/pictures, and prints the tables of README.md.
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
from node_oc.discretization import EULER, RK4, Network, discretize
from node_oc.plots.style import CUT, INK, MUTED, Record, figure, layers, styled
from node_oc.problem import Problem
from node_oc.search import HorizonCrop, Protocol, crop_horizon
from node_oc.search.horizon import grid
from node_oc.seeds import derived_generator
from node_oc.system import DenseSystem
from node_oc.system.ode import Coordinates, DenseVectorField, NeuralODE, Pad, Piecewise
from node_oc.training.heal import heal
from node_oc.trajectory import Solution, Solved, dense_output

WIDTH, HIDDEN, HORIZON, STEPS = 16, 32, 10.0, 20
NEAR = 1.0  # from X*_y; the border between the classes lies 2.08 away from it, and samples start at 2.25 in the mean
MOST = 8  # Euler layers
ROWS = {"one": (1.5, 1, 600), "pieces": (1.5, STEPS, 600), "one-3-turns": (3.0, 1, 1000)}  # turns, J, updates
SEEDS = {"one": 5, "pieces": 2, "one-3-turns": 1}
TOLD = {"one": "one control", "pieces": "20 pieces", "one-3-turns": "one control, 3 turns"}
PLACES, SAMPLES = 201, 2000  # of the curves over time


def accuracy(network: Network, split: Split) -> float:
    """Test accuracy in %."""
    return 100 * (1 - float(sample_losses(network, split.test, split.task).mean()))


def train(row: str, seed: int, split: Split, problem: Problem, options: TrainingSection) -> Network:
    """The trained ODE of a row."""
    pieces, draw = ROWS[row][1], derived_generator(seed, "weights", "ode", STEPS)
    ode = NeuralODE(DenseVectorField(WIDTH, HIDDEN, generator=draw), lift=Pad(2, WIDTH), head=Coordinates(2, WIDTH),
                    horizon=HORIZON, steps=STEPS, basis=Piecewise(pieces), generator=draw)  # fmt: skip
    network = Network(ode, table=RK4)
    trained = discretize(network) if pieces == STEPS else network  # the same ODE; its gradients are taken by hand
    node_oc.fit(trained, problem, split.train, options)
    if trained is not network:
        with torch.no_grad():
            for role, coefficient in enumerate(ode.coefficients):
                coefficient.copy_(torch.stack([trained.system.control(k)[role] for k in range(STEPS)]))
    return network


def one(row: str, seed: int) -> dict[str, Any]:
    """Train, crop, discretise, heal, and train the plain neighbours: one row of the file."""
    turns, _, updates = ROWS[row]
    split, plainly = data.spirals(turns=turns, seed=seed), Problem.classification(2, eps=0.05)
    options = TrainingSection(epochs=updates, min_updates=0, batch=0, learning_rate=1e-2, seed=seed, threads=1)
    start = time.process_time()
    # A price on the controls keeps the field slow enough for the RK4 steps, so that what is trained is the ODE.
    network = train(row, seed, split, replace(plainly, energy=1e-3), options)
    seconds = time.process_time() - start

    def fresh(depth: int) -> Network:
        return Network(DenseSystem(2, 2, depth=depth, width=WIDTH, hidden=HIDDEN, lift="pad", head="coordinates",
                                   generator=derived_generator(seed, "weights", "plain", depth)))  # fmt: skip

    protocol = Protocol(plainly, split, options, SearchSection(budget=0.005))
    crop = crop_horizon(network, protocol, distance=NEAR, most=MOST, fresh=fresh)
    print(row, seed, crop.sentence, flush=True)
    for_fifth = arrival(network, plainly.stage, protocol.selecting.x, protocol.selecting.y)
    solution = Solution(network, split.test.x)
    with torch.no_grad():
        solved = 100 * float((solution.final.argmax(1) == split.test.y).double().mean())
    short = Solved(shorten(network, crop.cropped))
    plain = {}
    for m in {*range(1, MOST + 1), crop.steps or MOST}:
        made = crop.found.plain if m == crop.steps else None
        if made is None:
            made = fresh(m)
            protocol.heal(made, f"plain-{m}", share=1.0)
        plain[str(m)] = accuracy(made, split)
    return {
        "row": row, "seed": seed, "seconds": seconds, "updates": updates,
        "dopri5": solved, "evaluations": solution.statistics.evaluations, "rk4": accuracy(network, split),
        "arrived": crop.arrival.found, "cropped": crop.cropped, "median": crop.arrival.at(0.5),
        "never": crop.arrival.never / len(crop.arrival.times), "fifth": for_fifth.time, "dopri5_cropped":
        accuracy(short, split), "steps": crop.steps, "certified": crop.found.certified_depth,
        "layers": curve(crop, network, split, plainly, options), "plain": plain,
        **over_time(network, plainly, split), "sentence": crop.sentence,
    }  # fmt: skip


def curve(crop: HorizonCrop, network: Network, split: Split, problem: Problem, options: TrainingSection) -> Any:
    """Test accuracies before and after healing for every number of Euler layers on [0, T'], tried or not."""
    tried = {candidate.depth: candidate.network for candidate in crop.found.candidates}
    rows = {}
    for m in range(min(tried), max(MOST, *tried) + 1):
        made = euler(network, crop, m)
        raw = accuracy(made, split)
        if m not in tried:
            made.system.release_()
            heal(made, problem, split.train, options, name=f"horizon-euler-{m}")
            tried[m] = made
        rows[str(m)] = (raw, accuracy(tried[m], split))
    return rows


def euler(network: Network, crop: HorizonCrop, m: int) -> Network:
    """M Euler layers on [0, T'], as they are."""
    jumps = [t for t in network.system.jumps if t < crop.cropped]  # type: ignore[union-attr, attr-defined]
    return discretize(shorten(network, crop.cropped), times=grid(crop.cropped, jumps, m), table=EULER)


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
        "| ODE | seeds | dopri5 on [0, 10] | evaluations | dopri5 on [0, T'] | Euler layers | as they are | healed "
        "| plain, same depth | healed less dopri5 |",
        "|---" * 10 + "|",
    ]  # fmt: skip
    kinds = [row for row in ROWS if any(r["row"] == row for r in rows)]
    for row in kinds:
        of = [r for r in rows if r["row"] == row]
        raw, healed = zip(*(layer(r, r["steps"] or MOST) for r in of), strict=True)
        cells = (
            TOLD[row], len(of), written([r["dopri5"] for r in of]), f"{np.mean([r['evaluations'] for r in of]):.0f}",
            written([r["dopri5_cropped"] for r in of]), ", ".join(f"{r['steps'] or f'> {MOST}'}" for r in of),
            written(raw), written(healed), written([r["plain"][str(r["steps"] or MOST)] for r in of]),
            written([h - r["dopri5"] for h, r in zip(healed, of, strict=True)]),
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    head = " | ".join(f"M = {m}" for m in range(1, MOST + 1))
    lines += ["", f"| ODE | network | {head} |", "|---" * (2 + MOST) + "|"]
    for row in kinds:
        of = [r for r in rows if r["row"] == row]
        for part, name in enumerate(("Euler, as they are", "Euler, healed")):
            lines.append(f"| {TOLD[row]} | {name} | {' | '.join(_mean(of, m, part) for m in range(1, MOST + 1))} |")
        plain = " | ".join(written([r["plain"][str(m)] for r in of], 1) for m in range(1, MOST + 1))
        lines.append(f"| {TOLD[row]} | plain | {plain} |")
    lines += [
        "", "| ODE | seed | T': 95 % there | half | outside at the end | 95 % within a fifth | RK4 less dopri5 "
        "| layers | certified |", "|---" * 9 + "|",
    ]  # fmt: skip
    for r in rows:
        cells = (TOLD[r["row"]], r["seed"], f"{r['cropped']:.2f}" if r["arrived"] else "no", _time(r["median"]),
                 f"{100 * r['never']:.1f} %", _time(r["fifth"]), f"{r['rk4'] - r['dopri5']:+.2f}",
                 r["steps"] or f"> {MOST}", r["certified"] or "none")  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _mean(rows: list[dict[str, Any]], m: int, part: int) -> str:
    """Mean accuracy of the seeds that have M layers; how many those are, where not all."""
    values = [layer(r, m)[part] for r in rows if str(m) in r["layers"]]
    some = f" ({len(values)})" if 0 < len(values) < len(rows) else ""
    return (written(values, 1) if len(values) > 1 else f"{values[0]:.1f}" if values else "") + some


def _time(value: float | str) -> str:
    return f"{float(value):.2f}" if np.isfinite(float(value)) else "no"


def layer(row: dict[str, Any], m: int) -> tuple[float, float]:
    """Accuracies of M layers, before and after healing."""
    return tuple(row["layers"].get(str(m), (np.nan, np.nan)))  # type: ignore[return-value]


@styled
def draw(record: Record) -> Figure:
    """Distance to the turnpike over time with arrivals, and accuracy over layers."""
    rows = [r for r in record["rows"] if r["row"] == "one"]
    fig = figure(9.6, 4.0, "Two spirals: where the ODE may end, and how many layers are left")
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
    ax.set_title(f"{TOLD[rows[0]['row']]}: arrival (bold: seed 0)")
    ax.legend(loc="upper right", bbox_to_anchor=(1, 0.86))


def _over_layers(ax: Axes, rows: list[dict[str, Any]]) -> None:
    m = np.arange(1, MOST + 1)
    for part, (name, colour) in enumerate((("as they are", MUTED), ("healed", CUT))):
        values = np.array([[layer(r, k)[part] for k in m] for r in rows])
        there = m[np.isfinite(values).any(0)]  # there are no fewer layers than pieces before T'
        values = values[:, there - 1]
        ax.plot(there, np.nanmean(values, 0), color=colour, marker="o", ms=4, label=f"Euler on [0, T'], {name}")
        ax.fill_between(there, np.nanmin(values, 0), np.nanmax(values, 0), color=colour, alpha=0.15, lw=0)
    mean, _ = mean_interval(r["dopri5"] for r in rows)
    ax.axhline(mean, color=INK, lw=1.0, ls=(0, (4, 3)), label=f"dopri5 at 1e-6: {mean:.2f} %")
    plain = np.array([[r["plain"][str(k)] for k in m] for r in rows])
    ax.plot(m, plain.mean(0), color="#0072B2", lw=1.2, marker="s", ms=3.5, label="plain networks")
    layers(ax, MOST, "Euler layers")
    ax.set(ylabel="test accuracy, %", ylim=(45, 102))
    ax.set_title(f"{TOLD[rows[0]['row']]}: accuracy, {len(rows)} seeds")
    ax.legend(loc="lower right", fontsize=8.5)


def main() -> None:
    """Run the seeds, print the tables, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--seeds", type=int, help="fewer or more seeds than the table has")
    parser.add_argument("--redraw", action="store_true", help="tables and picture again from the JSON file")
    args = parser.parse_args()
    path = Path(__file__).with_suffix(".json")
    rows = store.read_json(path) if path.exists() else []
    for name in [] if args.redraw else args.rows:
        for seed in range(args.seeds or SEEDS[name]):
            rows = [r for r in rows if (r["row"], r["seed"]) != (name, seed)] + [one(name, seed)]
            rows.sort(key=lambda r: (list(ROWS).index(r["row"]), r["seed"]))
            store.write_json(path, rows)
    rows = store.read_json(path)
    print(table(rows))
    draw({"rows": rows}).savefig(PICTURES / "horizon-crop.png", dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
