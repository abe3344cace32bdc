"""What an update costs with noise, and with the explicit regulariser in its place.

    python -m experiments.noise.step_cost
    python -m experiments.noise.step_cost --redraw

CPU time of this process for s J of a batch forward and back, on the path that a training takes; plain, noisy and
explicit steps in turns, medians. Writes step_cost.json beside this file and the table of README.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from node_oc import store
from node_oc.config import Config
from node_oc.discretization.drivers import branch_dropout
from node_oc.pipeline import load_split, make_network, make_problem
from node_oc.training.driver import drawn, probing
from node_oc.training.objective import Scaled

JSON = Path(__file__).with_suffix(".json")
README = JSON.with_name("README.md")
REPEATS = 30
SETS: dict[str, tuple[str, dict[str, Any], int]] = {
    "spirals, dense, N = 20, D = 8, batch 1,000": ("spirals", {}, 1000),
    "digits, dense, N = 16, D = 32, batch 64": ("digits", {}, 64),
    "digits, convolutional, N = 18, 8 to 32 channels, batch 64": (
        "digits", {"system.kind": "conv", "system.depth": 18}, 64,
    ),
}  # fmt: skip


def cost(preset: str, overrides: dict[str, Any], batch: int) -> dict[str, float]:
    """Milliseconds of each kind of step."""
    config = Config.load(preset, overrides)
    split = load_split(config)
    network, problem = make_network(config, split), make_problem(config, split)
    noise = branch_dropout(0.8).on(network.system)
    scaled = Scaled(network, problem, None, None)
    x, y = split.train.x[:batch], split.train.y[:batch]
    times: dict[str, list[float]] = {"plain": [], "noisy": [], "explicit": []}
    for index in range(REPEATS + 2):
        for kind, found in times.items():
            scaled.driver = drawn(noise if kind == "noisy" else None, 0, index, None)
            scaled.probes = probing(noise, 0, index, None) if kind == "explicit" else None
            start = time.process_time()
            scaled(x, y)[0].backward()
            found.append(1e3 * (time.process_time() - start))
            network.zero_grad()
    return {kind: statistics.median(found[2:]) for kind, found in times.items()}


def tell(record: dict[str, dict[str, float]]) -> str:
    """The table of README.md."""
    lines = ["| network | plain, ms | noisy | explicit |", "|---|---|---|---|"]
    for name, row in record.items():
        lines.append(f"| {name} | {row['plain']:.1f} | {row['noisy'] / row['plain']:.1f} times | "
                     f"{row['explicit'] / row['plain']:.1f} times |")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redraw", action="store_true", help="the table from step_cost.json")
    if not parser.parse_args().redraw:
        torch.set_num_threads(1)
        store.write_json(JSON, {name: cost(*which) for name, which in SETS.items()})
    text, begin, end = README.read_text(), "<!-- cost -->\n", "<!-- end of cost -->"
    table = tell(store.read_json(JSON))
    print(table)
    README.write_text(text.split(begin)[0] + begin + table + "\n" + end + text.split(end)[1])


if __name__ == "__main__":
    main()
