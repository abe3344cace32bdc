"""How fast noisy networks approach their SDEs: slopes by exact moments, and by Monte Carlo on a tanh field.

    python -m experiments.noise.weak_order [--redraw]

Writes weak_order.json beside this file and docs/pictures/weak_order.png, and prints the tables of README.md.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import node_oc as oc
from node_oc import store
from node_oc.plots.weak_order import weak_order as picture

JSON = Path(__file__).with_suffix(".json")
PICTURE = Path(__file__).parents[2] / "docs" / "pictures" / "weak_order.png"
HALVINGS = {"exact": (5, 6, 7, 8, 9), "root": (8, 9, 10, 11, 12), "sampled": (2, 3, 4, 5)}
SAMPLES = 1500
HORIZON = 0.5  # of the tanh field
A = torch.tensor([[-0.6, 0.9], [-0.7, -0.3]], dtype=torch.float64)
B = torch.tensor([[0.2, 0.5], [-0.4, 0.1]], dtype=torch.float64)
X2 = torch.tensor([[1.0, -0.5]], dtype=torch.float64)
X4 = torch.tensor([[1.0, -0.5, 0.3, 0.8]], dtype=torch.float64)
WAY = torch.tensor([1.0, -0.7, 0.5, 0.3], dtype=torch.float64)

KEEP = 0.8
SMALL = {  # enter as h b
    "stochastic depth, p = 0.8": oc.stochastic_depth(KEEP),
    "branch dropout, p = 0.8": oc.branch_dropout(KEEP),
    "shake-shake": oc.shake_shake(),
    "Gaussian of matched variance": oc.branch_dropout(KEEP).matched(),
}
LARGE = {  # enter as sqrt(h) b
    "two-point, symmetric": oc.two_point(0.5),
    "Gaussian": oc.gaussian(0.5, root=True),
    "two-point, p = 0.1": oc.two_point(0.5, p=0.1),
    "two-point, p = 0.1, per sample": oc.two_point(0.5, p=0.1, per="sample"),
}
TABLES = {"midpoint": oc.MIDPOINT, "heun": oc.HEUN, "rk4": oc.RK4}


def linear(matrix: Tensor) -> oc.DenseSystem:
    """x' = matrix x, one step."""
    size = len(matrix)
    system = oc.DenseSystem(size, size, depth=0, width=size, lift="pad", head="coordinates", row_norm=0.0)
    layer = nn.Linear(size, size, bias=False, dtype=torch.float64)
    layer.weight.data.copy_(matrix)
    system.steps.append(layer)
    return system


def dense(activation: str = "tanh", seed: int = 0) -> oc.DenseSystem:
    """One step of a two-layer field, four numbers a state."""
    system = oc.DenseSystem(4, 4, depth=1, width=4, hidden=8, lift="pad", head="coordinates", row_norm=0.0,
                            activation=activation).double()  # type: ignore[arg-type]  # fmt: skip
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in system.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64) * (0.4 if p.dim() > 1 else 0.3))
    return system


def functional(x: Tensor) -> Tensor:
    """sin(w . x) + |x|^2 / 2: no polynomial."""
    return (x * WAY).sum(1).sin() + 0.5 * x.square().sum(1)


def paired(first: oc.DenseSystem, second: oc.DenseSystem, name: str) -> oc.System:
    """Two branches where the driver asks for them."""
    return oc.PairedSystem(first, second) if name == "shake-shake" else first


def exact() -> list[dict[str, Any]]:
    """Moments of degree 1 to 4 on linear fields."""
    rows = []
    for group, drivers, orders in (("exact", SMALL, (1, 2)), ("root", LARGE, (1,))):
        for name, noise in drivers.items():
            for order in orders:
                found = [oc.weak_order(paired(linear(A), linear(B), name), noise, n, X2, order=order,
                                       halvings=HALVINGS[group]).to_dict() for n in (1, 2, 3, 4)]  # type: ignore[arg-type]  # fmt: skip
                rows.append({"part": group, "name": name, "order": order, "moments": found})
    for name, table in TABLES.items():
        for fresh in (False, True):
            mine, other = (oc.stochastic_depth(KEEP, fresh=each) for each in (fresh, not fresh))
            net = oc.Network(linear(A), table=table)
            for limit, against in (("its own", mine), ("the other", other)):
                found = [oc.weak_order(net, mine, n, X2, order=2, against=against,
                                       halvings=HALVINGS["exact"]).to_dict() for n in (1, 2, 3, 4)]  # fmt: skip
                rows.append({"part": "stages", "name": name, "fresh": fresh, "limit": limit, "moments": found})
    return rows


def sampled() -> list[dict[str, Any]]:
    """The tanh field in dimension 4, against both solvers; and the ReLU one."""
    rows = []
    cases = [(name, noise, "tanh", order, solver) for name, noise in SMALL.items() for order in (1, 2)
             for solver in ("own", "torchsde")]  # fmt: skip
    cases += [(name, SMALL[name], "relu", order, "own") for name in list(SMALL)[:2] for order in (1, 2)]
    for name, noise, activation, order, solver in cases:
        began = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", oc.NotSmoothWarning)  # that is what is looked at
            net = oc.Network(paired(dense(activation), dense(activation, 1), name), oc.DepthGrid((HORIZON,)))
            found = oc.weak_order(net, noise, functional, X4,
                                  order=order, halvings=HALVINGS["sampled"], samples=SAMPLES, solver=solver)  # type: ignore[arg-type]  # fmt: skip
        rows.append({"name": name, "activation": activation, "order": order, "solver": solver,
                     "seconds": time.process_time() - began, **found.to_dict()})  # fmt: skip
        print(name, activation, solver, found.sentence, flush=True)
    return rows


def slope(result: dict[str, Any]) -> str:
    """A slope, or that there is none."""
    return "not resolved" if result["slope"] is None else f"{result['slope']:.3f}"


def tables(record: dict[str, Any]) -> None:
    """The tables of README.md."""
    print("\n| noise | SDE of order | E x | E x⊗x | third | fourth |\n|---|---|---|---|---|---|")
    for r in record["exact"]:
        if r["part"] != "stages":
            root = " (as √h b)" if r["part"] == "root" else ""
            print(f"| {r['name']}{root} | {r['order']} | " + " | ".join(map(slope, r["moments"])) + " |")
    print("\n| table | draws | against the limit of | E x | E x⊗x | third | fourth |\n|---|---|---|---|---|---|---|")
    for r in record["exact"]:
        if r["part"] == "stages":
            draws = ("each stage", "each step")
            mine = draws[not r["fresh"]]
            limit = mine if r["limit"] == "its own" else draws[r["fresh"]]
            print(f"| {r['name']} | {mine} | {limit} | " + " | ".join(map(slope, r["moments"])) + " |")
    print("\n| field | noise | SDE of order | solved by | slope | 99 % interval | error at the largest h | at the "
          "smallest h | its noise | its bias | s |\n|---|---|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    for r in record["sampled"]:
        interval = "" if r["slope"] is None else f"[{r['low']:.3f}, {r['high']:.3f}]"
        print(f"| {r['activation']} | {r['name']} | {r['order']} | {r['solver']} | {slope(r)} | {interval} "
              f"| {r['errors'][0]:.2e} | {r['errors'][-1]:.2e} | {r['noise'][-1]:.0e} | {r['bias'][-1]:.0e} "
              f"| {r['seconds']:.0f} |")  # fmt: skip


def panels(record: dict[str, Any]) -> dict[str, Any]:
    """What the picture shows: the second moment, the third one of large noise, and the tanh field."""
    small = [{"name": f"{r['name']}, order {r['order']}", "group": r["name"], "line": "-" if r["order"] == 2 else ":",
              **r["moments"][1]}
             for r in record["exact"] if r["part"] == "exact"]  # fmt: skip
    large = [{"name": r["name"], **r["moments"][2]} for r in record["exact"] if r["part"] == "root"]
    field = [{**r, "name": f"{r['name']}, order {r['order']}", "group": r["name"],
              "line": "-" if r["order"] == 2 else ":"}
             for r in record["sampled"] if r["activation"] == "tanh" and r["solver"] == "own"]  # fmt: skip
    return {"name": "Noisy networks against their SDEs: the error of means", "panels": [
        {"title": "h b: second moment, linear field, exact", "orders": (1, 2), "curves": small},
        {"title": "√h b: third moment, linear field, exact", "orders": (0.5, 1), "curves": large},
        {"title": "h b: tanh field, Monte Carlo", "orders": (1, 2), "curves": field},
    ]}  # fmt: skip


def main() -> None:
    """Measure, write, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redraw", action="store_true", help="tables and picture again from the JSON file")
    if parser.parse_args().redraw:
        record = store.read_json(JSON)
    else:
        record = {"exact": exact(), "sampled": sampled()}
        store.write_json(JSON, record)
    picture(panels(record)).savefig(PICTURE, dpi=130)
    tables(record)


if __name__ == "__main__":
    main()
