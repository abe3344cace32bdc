"""The explicit regulariser against Monte Carlo, on a trained spirals net and a trained digits net.

    python -m experiments.noise.regulariser [--calls 100] [--sets spirals digits]
    python -m experiments.noise.regulariser --redraw

The noise is e times as large as it is named: increment = mean + e (draw - mean), e halved nine times. Writes
regulariser.json beside this file and the tables of README.md between its marks; --redraw writes the tables alone. A few
minutes on one core.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from node_oc import store
from node_oc.config import Config
from node_oc.discretization import Network
from node_oc.discretization.amplitude import Amplified
from node_oc.discretization.drivers import branch_dropout, gaussian, stochastic_depth, two_point
from node_oc.discretization.noise import Noise
from node_oc.pipeline import load_split, make_network, make_problem
from node_oc.problem import Problem, explicit_regulariser
from node_oc.problem.regulariser import in_amplitudes
from node_oc.training.loop import fit
from node_oc.trajectory import rollout

JSON = Path(__file__).with_suffix(".json")
README = JSON.with_name("README.md")
AMPLITUDES = tuple(0.5**i for i in range(10))
SHOWN = (0, 2, 4, 6, 8)  # of them, in the table
SAMPLES, COPIES = 200, 4
NOISES = {
    "branch dropout, keep 0.8": (branch_dropout(0.8), 3),
    "stochastic depth, keep 0.8": (stochastic_depth(0.8, inverted=True), 3),
    "two-point, symmetric, s = 0.5": (two_point(0.5), 4),
    "Gaussian, s = 0.5": (gaussian(0.5), 4),
}
BOOTSTRAPS = 400


def trained(name: str) -> tuple[Network, Problem, torch.Tensor, torch.Tensor]:
    """A network trained without noise, in float64, and the samples on which J is taken."""
    config = Config.preset(name, {"training.threads": 1})
    split = load_split(config)
    network, problem = make_network(config, split), make_problem(config, split)
    fit(network, problem, split.train, config.training)
    return network.double(), problem, split.train.x[:SAMPLES].double(), split.train.y[:SAMPLES]


def measured(
    network: Network, problem: Problem, x: torch.Tensor, y: torch.Tensor, noise: Noise, calls: int, symmetric: bool
) -> dict[str, Any]:
    """Of every call the gains J(e) - J(0) of every e, and the first two derivatives of J(e) at 0, by autograd.

    A call is a mean over COPIES draws, and their mirror images where the law is symmetric. The derivatives are the
    control variates: that of first order has mean 0, that of second order 2 R. The same draws serve every e.
    """
    signs = (1, -1) if symmetric else (1,)
    x, y = x.repeat(COPIES, *(1,) * (x.dim() - 1)), y.repeat(COPIES)
    generator = torch.Generator().manual_seed(0)
    rows = []
    for _ in range(calls):
        drawn = noise.drawn(generator)
        e = torch.zeros((), dtype=x.dtype, requires_grad=True)
        objective, (slope,) = in_amplitudes(network, Amplified(drawn, e), [e], problem, x, y)
        (second,) = torch.autograd.grad(slope, e)
        with torch.no_grad():
            gains = [
                sum(float(problem.evaluate(rollout(network, x, driver=Amplified(drawn, sign * size)), y).smooth)
                    for sign in signs) / len(signs) - float(objective.smooth.detach()) for size in AMPLITUDES
            ]  # fmt: skip
        rows.append([0.0 if symmetric else float(slope.detach()), float(second), *gains])
    return {"objective": float(objective.smooth.detach()), "rows": rows}


def row_of(found: dict[str, Any], exact: float, order: int) -> dict[str, Any]:
    """Means, standard errors and the slope of what is left, its 99 % interval by bootstrap over calls."""
    rows, sizes = np.array(found["rows"]), np.array(AMPLITUDES)
    slope, second, gains = rows[:, :1], rows[:, 1:2], rows[:, 2:]
    near = (gains - sizes * slope) / sizes**2  # its mean is R and what is left
    left = gains - sizes * slope - sizes**2 * second / 2  # its mean is what R leaves out of the gain
    error = 1 / math.sqrt(len(rows))
    means, errors = left.mean(0), left.std(0, ddof=1) * error
    resolved = np.flatnonzero(np.abs(means) > 4 * errors)
    use = resolved[-3:]  # the smallest three that are resolved
    answer: dict[str, Any] = {
        "exact": exact, "objective": found["objective"], "order": order,
        "monte_carlo": near.mean(0).tolist(), "monte_carlo_error": (near.std(0, ddof=1) * error).tolist(),
        "left": means.tolist(), "left_error": errors.tolist(), "slope": None, "slope_interval": None,
    }  # fmt: skip
    if len(use) >= 3:
        random = np.random.default_rng(0)
        fits = []
        for pick in [np.arange(len(rows)), *random.integers(len(rows), size=(BOOTSTRAPS, len(rows)))]:
            fits.append(np.polyfit(np.log(sizes[use]), np.log(np.abs(left[pick][:, use].mean(0))), 1)[0])
        low, high = np.quantile(fits[1:], [0.005, 0.995])
        answer |= {"slope": float(fits[0]), "slope_interval": [float(low), float(high)]}
        answer["slope_over"] = sizes[use].tolist()
    return answer


def tables(record: dict[str, Any]) -> str:
    """The tables of README.md."""
    sizes = " | ".join(f"e = 1/{2**i}" for i in SHOWN)
    lines = [
        f"| net | noise | R | J(0) | {sizes} | slope of what is left, at e | theory |",
        "|---|---|---|---|" + "---|" * (len(SHOWN) + 2),
    ]
    for row in record["rows"]:
        cells = [
            f"{100 * (row['monte_carlo'][i] / row['exact'] - 1):+.1f} ± "
            f"{100 * row['monte_carlo_error'][i] / row['exact']:.1f}" for i in SHOWN
        ]  # fmt: skip
        slope = "not resolved"
        if row["slope"] is not None:
            low, high = row["slope_interval"]
            slope = f"{row['slope']:.2f} [{low:.2f}, {high:.2f}], 1/{1 / row['slope_over'][-1]:g}"
        lines.append(f"| {row['net']} | {row['noise']} | {row['exact']:.4g} | {row['objective']:.4g} | "
                     f"{' | '.join(cells)} | {slope} | {row['order']} |")  # fmt: skip
    lines += ["", f"Seconds: {', '.join(f'{name} {value:.0f}' for name, value in record['seconds'].items())}."]
    return "\n".join(lines)


def redraw() -> None:
    """The tables of README.md again, from the JSON."""
    begin, end = "<!-- regulariser -->\n", "<!-- end of regulariser -->"
    record = store.read_json(JSON)
    before, rest = README.read_text().split(begin)
    README.write_text(before + begin + tables(record) + "\n" + end + rest.split(end)[1])  # type: ignore[arg-type]


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100, help=f"of {COPIES} draws each")
    parser.add_argument("--sets", nargs="+", default=["spirals", "digits"], help="which nets; the rows of others stay")
    parser.add_argument("--redraw", action="store_true", help="the tables of README.md alone")
    options = parser.parse_args()
    if options.redraw:
        redraw()
        return
    torch.set_num_threads(1)
    record: dict[str, Any] = store.read_json(JSON) if JSON.exists() else {"rows": [], "seconds": {}}
    record |= {"amplitudes": AMPLITUDES, "copies": COPIES, "samples": SAMPLES}
    for net in options.sets:
        record["rows"] = [row for row in record["rows"] if row["net"] != net]
        start = time.process_time()
        network, problem, x, y = trained(net)
        record["seconds"][f"training {net}"] = time.process_time() - start
        start, known = time.process_time(), {}
        for name, (noise, order) in NOISES.items():
            if noise.per not in known:  # s = 0.5, mean 1 and h = 1 in all of them: the same covariance, the same R
                known[noise.per] = explicit_regulariser(network, noise, problem, x, y, probes=None).total
            row = row_of(measured(network, problem, x, y, noise, options.calls, order == 4), known[noise.per], order)
            record["rows"].append({"net": net, "noise": name, "calls": options.calls, **row})
            print(tables(record).splitlines()[-3], flush=True)
            store.write_json(JSON, record)
        record["seconds"][f"measuring {net}"] = time.process_time() - start
        record["rows"].sort(key=lambda row: str(row["net"]), reverse=True)
        store.write_json(JSON, record)
    redraw()


if __name__ == "__main__":
    main()
