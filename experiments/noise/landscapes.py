"""Loss landscapes of the study's networks, as arXiv 1812.00174 looks at them: noisy against plain training, same axes.

    python -m experiments.noise.landscapes --data DIRECTORY
    python -m experiments.noise.landscapes --redraw

Filter-normalised slices (arXiv 1712.09913) of J of the 200 training samples, and the largest eigenvalue of its Hessian
in the weights, of networks that experiments.noise.study has trained (read from its folder; trained again where they are
not there). Slices in one direction for every seed, in two for the first. Writes landscapes.json beside this file and
pictures into docs/pictures.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.headline.sets import PICTURES, written
from experiments.noise.study import MODES, Case, trained
from experiments.noise.study_table import LEVEL, differences, fill, holm, p_value
from node_oc import store
from node_oc.diagnosis import largest_curvature, loss_landscape
from node_oc.plots.landscape import landscape

JSON = Path(__file__).with_name("landscapes.json")
SETS = ("digits-200", "mnist-200")
NAMES = {"digits-200": "digits", "mnist-200": "MNIST"}
TWO = ("none", "stochastic depth", "branch dropout")  # of which slices in two directions are made
DIRECTIONS = 3  # in one dimension, over which the rise is averaged


def one(case: Case, data: Path | None, root: Path) -> dict[str, Any]:
    """Eigenvalue and slices of one network."""
    split = case.split(data)
    network = trained(case, split, root)
    problem, batches = case.problem(case.config(), split), [(split.train.x, split.train.y)]
    curvature = largest_curvature(network, problem, batches, tolerance=1e-2, products=100)
    slices = [loss_landscape(network, problem, batches, radius=0.5, points=21, seed=i) for i in range(DIRECTIONS)]
    least = (problem.terminal.least or 0.0) * (1 + problem.stage_weight * network.depth)
    row = {**case.key, "curvature": curvature.value, "residual": curvature.residual, "resolved": curvature.resolved,
           "J": slices[0].objective, "least": least, "rise": sum(s.rise for s in slices) / len(slices),
           "slice": slices[0].record()}  # fmt: skip
    if case.seed == 0 and case.mode in TWO:
        row["plane"] = loss_landscape(network, problem, batches, dimensions=2, radius=0.5, points=15).record()
    return row


def tell(rows: list[dict[str, Any]]) -> str:
    """Eigenvalues and rises, and their paired differences to training without noise."""
    places = [(name, mode) for name in SETS for mode in MODES
              if any(row["set"] == name and row["mode"] == mode for row in rows)]  # fmt: skip
    lines = ["| set | trained with | largest eigenvalue | less none | p, Holm | rise of J at half a norm | less none "
             "| p, Holm |", "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    less = {key: {(n, m): differences([r for r in rows if r["set"] == n], m, "none", key) for n, m in places}
            for key in ("curvature", "rise")}  # fmt: skip
    noisy = [place for place in places if place[1] != "none"]
    p = {key: dict(zip(noisy, holm([p_value(less[key][place]) for place in noisy]), strict=True)) for key in less}
    for name, mode in places:
        cells = []
        for key in ("curvature", "rise"):
            cells.append(written([r[key] for r in rows if (r["set"], r["mode"]) == (name, mode)], 3))
            cells.append("" if mode == "none" else written(less[key][name, mode], 3))
            found = p[key].get((name, mode))
            cells.append("" if found is None else f"{found:.2g}" if found >= LEVEL else f"**{found:.2g}**")
        lines.append(f"| {name} | {mode} | " + " | ".join(cells) + " |")
    bad = sum(not row["resolved"] for row in rows)
    return "\n".join([*lines, "", f"{len(rows) - bad} of {len(rows)} eigenvalues are resolved to 1 %."])


def draw(rows: list[dict[str, Any]]) -> None:
    """The pictures, by the library's own function."""
    for name in SETS:
        these = [row for row in rows if row["set"] == name]
        lines = [_mean([row for row in these if row["mode"] == mode]) for mode in MODES
                 if any(row["mode"] == mode for row in these)]  # fmt: skip
        title = f"{name}: J of the training samples, mean of {len({row['seed'] for row in these})} seeds"
        figure = landscape({"landscapes": lines, "title": title})
        figure.axes[0].set_ylabel("J less the least that it can be")
        figure.savefig(PICTURES / f"noise-slices-{name}.png", dpi=110)
    planes = [{**row["plane"], "name": f"{NAMES[name]}, {row['mode']}", "curvature": row["curvature"]} for name in SETS
              for row in rows if "plane" in row and row["set"] == name]  # fmt: skip
    title = "J of the 200 training samples, seed 0"
    landscape({"landscapes": planes, "title": title}).savefig(PICTURES / "noise-planes.png", dpi=110)


def _mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The slice of the networks of all seeds, J less the least that it can be."""
    heights = np.mean([row["slice"]["values"][0] for row in rows], axis=0) - rows[0]["least"]
    return {"places": rows[0]["slice"]["places"], "values": [heights.tolist()], "name": rows[0]["mode"],
            "curvature": float(np.mean([row["curvature"] for row in rows]))}  # fmt: skip


def main() -> None:
    """Make the rows that are missing, print the table, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", type=Path, help="folder with MNIST")
    parser.add_argument("--folder", type=Path, default=Path("runs/noise"), help="trainings")
    parser.add_argument("--redraw", action="store_true", help="table and pictures again from landscapes.json")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = store.read_json(JSON) if JSON.exists() else []
    torch.set_num_threads(1)
    for case in [] if args.redraw else [Case(name, "stage", 0.8, mode, seed) for seed in range(args.seeds)
                                        for name in args.sets for mode in args.modes]:  # fmt: skip
        if not any(all(row[key] == value for key, value in case.key.items()) for row in rows):
            rows.append(one(case, args.data, args.folder))
            store.write_json(JSON, rows)
    print(tell(rows))
    fill("landscapes", tell(rows))
    draw(rows)


if __name__ == "__main__":
    main()
