"""Error against layers for uniform and adaptive grids, on fields that act in a short window of time.

    python -m experiments.refinement.window [--redraw]

Writes window.json beside this file and docs/pictures/refinement.png, and prints the tables of README.md.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.ticker
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import node_oc as oc
from node_oc import store
from node_oc.plots.style import CUT, INK, MUTED, figure, styled

JSON = Path(__file__).with_suffix(".json")
PICTURE = Path(__file__).parents[2] / "docs" / "pictures" / "refinement.png"
MIDDLE, WIDTH = 0.3, 0.02  # of the window; at a distance of 2.5 widths the field is 0.2 % of what it is inside
SIZE, SAMPLES = 4, 64
DRIFTS = {"window": 0.0, "window and drift": 0.5}  # the second field also acts, weakly, all the time
TABLES = {"euler": oc.EULER, "midpoint": oc.MIDPOINT, "rk4": oc.RK4}
MOST = {"euler": (8192, 1024), "midpoint": (1024, 320), "rk4": (512, 160)}  # layers: uniform, adaptive
SHOWN = 1e-2  # error of x(T) of the grids in the picture
START = 8  # layers of the first adaptive grid
ERRORS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


class Window(oc.VectorField):
    """f = 2 exp(-((t - 0.3)/0.02)^2) / (0.02 sqrt(pi)) B tanh(A x + a) + drift (S x), S skew: a rotation."""

    group_names = ("outer",)

    def __init__(self, drift: float) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.inner, self.bias, self.outer, skew = (
            torch.randn(*shape, generator=g, dtype=torch.float64)
            for shape in ((SIZE, SIZE), (SIZE,), (SIZE, SIZE), (SIZE, SIZE))
        )  # fmt: skip
        self.inner, self.bias, self.outer = map(nn.Parameter, (self.inner, self.bias, self.outer))
        self.skew = drift * (skew - skew.T)

    def forward(self, t: float | Tensor, x: Tensor) -> Tensor:
        t = torch.as_tensor(t, dtype=x.dtype)
        bump = torch.exp(-(((t - MIDDLE) / WIDTH) ** 2)) / (WIDTH * math.sqrt(math.pi))
        return 2 * bump * torch.tanh(x @ self.inner.T + self.bias) @ self.outer.T / math.sqrt(SIZE) + x @ self.skew.T


def network(drift: float, table: oc.Tableau, times: Sequence[float]) -> oc.Network:
    """The field on a grid from 0 to 1."""
    return oc.Network(oc.NeuralODE(Window(drift), times=times), table=table)


def uniform(depth: int) -> list[float]:
    """t_0..t_N of N equal steps."""
    return [k / depth for k in range(depth + 1)]


def measure(name: str, table: str) -> dict[str, Any]:
    """Errors of J and of x(T) against layers: uniform grids, and the grids that `adapt` went through."""
    drift, g = DRIFTS[name], torch.Generator().manual_seed(1)
    x = torch.randn(SAMPLES, SIZE, generator=g, dtype=torch.float64)
    y = torch.zeros_like(x)
    problem = oc.Problem.regression(stage_weight=1.0)

    def outcome(net: oc.Network, solver: oc.Solver | None = None) -> tuple[float, Tensor]:
        with torch.no_grad():
            way = oc.rollout(net, x) if solver is None else oc.Solution(net, x, solver)
            return float(problem.evaluate(way, y).smooth), way.states[-1]

    # 64 intervals: a solver that starts at 0, where nothing happens, would step over the window.
    j, end = outcome(network(drift, oc.RK4, uniform(64)), oc.Solver("dopri8", 1e-11, 1e-11))

    def row(net: oc.Network) -> dict[str, float]:
        value, last = outcome(net)
        return {"layers": net.depth, "J": abs(value - j), "x": float((last - end).norm(dim=1).mean())}

    most, most_adaptive = MOST[table]
    depths = sorted({round(START * 2 ** (i / 4)) for i in range(1 + int(4 * math.log2(most / START)))})
    began = time.perf_counter()
    adapted = oc.adapt(network(drift, TABLES[table], uniform(START)), problem, x, y, tolerance=0.0,
                       max_depth=most_adaptive)  # fmt: skip
    seconds = time.perf_counter() - began
    rounds, grids = [], []
    for one in adapted.rounds:
        grids.append([0.0, *itertools.accumulate(one.h)])
        rounds.append({**row(network(drift, TABLES[table], grids[-1])), "bound": one.bound, "estimate": one.error,
                       "error": j - one.objective})  # fmt: skip
    even = [row(network(drift, TABLES[table], uniform(n))) for n in depths]
    shown = next((i for i, a in enumerate(rounds) if a["x"] <= SHOWN), -1)
    return {"field": name, "table": table, "J": j, "uniform": even, "adaptive": rounds, "seconds of adapt": seconds,
            "shown": grids[shown]}  # fmt: skip


def needed(rows: Sequence[dict[str, Any]], quantity: str, error: float) -> int | None:
    """The fewest layers from which on the error stays within a limit; None where it does not."""
    enough = None
    for row in reversed(rows):
        if row[quantity] > error:
            break
        enough = row["layers"]
    return enough


def tables(results: list[dict[str, Any]]) -> None:
    """Layers needed for each error."""
    print("| field | table | error of | limit | uniform | adaptive | ratio | steps of all looks |")
    print("|---|---|---|---|---|---|---|---|")
    for r in results:
        for quantity, limit in itertools.product(("J", "x"), ERRORS):
            even, ours = (needed(r[way], quantity, limit) for way in ("uniform", "adaptive"))
            if even is None and ours is None:
                continue
            looks = 4 * sum(a["layers"] for a in r["adaptive"] if ours and a["layers"] <= ours)
            ratio = f"{ours / even:.2f}" if ours and even else ""
            said = f"> {r['uniform'][-1]['layers']}" if even is None else even
            mine = f"> {r['adaptive'][-1]['layers']}" if ours is None else ours
            print(f"| {r['field']} | {r['table']} | {quantity} | {limit:.0e} | {said} | {mine} | {ratio} "
                  f"| {looks or ''} |")  # fmt: skip
    print("\n| field | table | layers | J(ODE) - J | estimate | estimate / error | sum of abs / abs error |")
    print("|---|---|---|---|---|---|---|")
    for r in results:
        for a in r["adaptive"][:: max(1, len(r["adaptive"]) // 5)]:
            print(f"| {r['field']} | {r['table']} | {a['layers']} | {a['error']:.2e} | {a['estimate']:.2e} "
                  f"| {a['estimate'] / a['error']:.2f} | {a['bound'] / abs(a['error']):.1f} |")  # fmt: skip


@styled
def draw(record: Any) -> Figure:
    """Errors against layers, one panel a table; below, where the layers are."""
    results = [r for r in record["results"] if r["field"] == "window"]
    fig = figure(10, 6.2, "A field that acts in a short window: layers where they are needed")
    grid = fig.add_gridspec(2, len(results), height_ratios=(3, 1.1))
    for i, r in enumerate(results):
        ax = fig.add_subplot(grid[0, i])
        for way, colour in (("uniform", MUTED), ("adaptive", CUT)):
            for quantity, line in (("x", "-"), ("J", (0, (2, 1.5)))):
                rows = r[way]
                ax.plot([a["layers"] for a in rows], [a[quantity] for a in rows], color=colour, ls=line, marker="o",
                        ms=3, lw=1.5, label=f"{way} grid, {'x(T)' if quantity == 'x' else 'J'}")  # fmt: skip
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.xaxis.set_major_locator(matplotlib.ticker.LogLocator(base=4))
        ax.xaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%d"))
        ax.set_title({"euler": "Euler", "midpoint": "Midpoint", "rk4": "RK4"}[r["table"]])
        ax.set_xlabel("layers N")
        if not i:
            ax.set_ylabel("error against the ODE")
        if i == len(results) - 1:
            ax.legend(loc="upper right")
        below = fig.add_subplot(grid[1, i])
        t = torch.tensor(r["shown"])
        below.stairs((t[1:] - t[:-1]).tolist(), t.tolist(), baseline=None, color=CUT, lw=1.5)
        below.axvspan(MIDDLE - 2.5 * WIDTH, MIDDLE + 2.5 * WIDTH, color=MUTED, alpha=0.15, lw=0)
        below.set_yscale("log", base=2)
        below.set_xlabel("time t")
        below.set_ylabel("step $h_k$" if not i else "")
        below.set_title(f"{len(t) - 1} layers", fontsize=9.5, color=INK, weight="normal")
    return fig


def main() -> None:
    """Measure, write, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redraw", action="store_true", help="tables and picture again from the JSON file")
    if parser.parse_args().redraw:
        results = store.read_json(JSON)
    else:
        results = [measure(name, table) for name in DRIFTS for table in TABLES]
        store.write_json(JSON, results)
    draw({"results": results}).savefig(PICTURE, dpi=150)
    tables(results)


if __name__ == "__main__":
    main()
