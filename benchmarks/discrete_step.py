"""One training step of discrete weights by the maximum principle, beside Adam on the same float network, in turns.

python -m benchmarks.discrete_step [--steps 100] [--batch 100] [--width 2048]

Adam is measured twice: a few lines on torch (forward, backward, fused Adam), and node_oc training the float network.
The inputs are those of MNIST in size: an epoch of 55,000 images is 550 steps. In a round every way makes one step; a
ratio is taken between two times of the same round, and reported as median and quartiles over the rounds; beside it the
ratio of the sums, that of whole epochs. Writes results/discrete_step.json.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import positive
from benchmarks.machine import machine
from benchmarks.turns import Spread, paired
from node_oc import DiscreteSystem, Network, Problem, SquaredHinge, TrainingSection, make_method, store
from node_oc.problem import CrossEntropy
from node_oc.training.loop import make_fabric

FEATURES, CLASSES = 784, 10
WARM = 3  # rounds that are not counted
BAR = 1.3  # of a step by the maximum principle to one of Adam, at most


class FloatSystem(DiscreteSystem):
    """The same chain with real weights."""

    def __init__(self, layers: tuple[str, ...]) -> None:
        super().__init__(FEATURES, CLASSES, layers=layers)
        for step in self.steps:
            outputs, inputs = step.layer.weight.shape
            step.layer = nn.Linear(inputs, outputs, bias=False)

    def discrete(self, k: int) -> list:
        return []

    def control(self, k: int) -> list[nn.Parameter]:
        return list(self.steps[k].parameters())


def by_torch(layers: tuple[str, ...], problem: Problem, options: TrainingSection) -> Callable[[Tensor, Tensor], None]:
    """One step of the bare loop on the same modules."""
    blocks = nn.Sequential(*FloatSystem(layers).steps).train()
    for block in blocks:
        block.layer.forward = lambda x, weight=block.layer.weight: F.linear(x, weight)
    adam = torch.optim.Adam(blocks.parameters(), options.learning_rate, fused=True)

    def step(x: Tensor, y: Tensor) -> None:
        adam.zero_grad()
        problem.terminal(blocks(x)[None], y).mean().backward()
        adam.step()

    return step


def measure(values: str, args: argparse.Namespace) -> dict[str, Any]:
    """Times of every way in turns, in ms a step, and the ratios of MSA to the others."""
    options = TrainingSection(
        learning_rate=1e-3, beta2=0.999, clip=0.0, threads=args.threads, precision=args.precision,
        accelerator="gpu" if args.device == "cuda" else args.device,
    )  # fmt: skip
    fabric, layers = make_fabric(options), (str(args.width),) * args.hidden
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(args.batch, FEATURES, generator=generator).to(args.device)
    y = torch.randint(CLASSES, (args.batch,), generator=generator).to(args.device)
    cost = SquaredHinge() if values == "binary" else CrossEntropy()
    problem = Problem(cost, cost, 0.0)
    networks = {
        "msa": Network(DiscreteSystem(FEATURES, CLASSES, layers=layers, values=values)),
        "adam": Network(FloatSystem(layers)),
    }
    methods = {name: make_method(network.to(args.device).train(), problem, options, 1000, False, fabric)
               for name, network in networks.items()}  # fmt: skip
    times: dict[str, list[float]] = {}
    with closing(methods["msa"]), closing(methods["adam"]):
        steps: dict[str, Callable[[Tensor, Tensor], object]] = {
            name: lambda x, y, method=method: method.step(0, x, y) for name, method in methods.items()
        }
        if args.device == "cpu" and args.precision == "32-true":
            steps["torch"] = by_torch(layers, problem, options)
        for turn in range(args.steps + WARM):
            for name in list(steps)[:: 1 if turn % 2 else -1]:
                took = milliseconds(steps[name], x, y, args)
                if turn >= WARM:
                    times.setdefault(name, []).append(took)
    ratios = {name: paired(times["msa"], each).record() | {"epoch": sum(times["msa"]) / sum(each)}
              for name, each in times.items() if name != "msa"}  # fmt: skip
    return {"values": values, "ms": {name: Spread.of(each).record() for name, each in times.items()}, "ratios": ratios,
            "bar": BAR, "met": all(ratio["median"] <= BAR for ratio in ratios.values())}  # fmt: skip


def milliseconds(step: Callable[[Tensor, Tensor], object], x: Tensor, y: Tensor, args: argparse.Namespace) -> float:
    """Of one step; on an accelerator until it is done."""
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    if args.device == "cuda":
        torch.cuda.synchronize()
    start = clock()
    step(x, y)
    if args.device == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (clock() - start)


def main() -> None:
    """Measure binary and ternary weights, write JSON, print times and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=positive, default=100)
    parser.add_argument("--batch", type=positive, default=100)
    parser.add_argument("--width", type=positive, default=2048)
    parser.add_argument("--hidden", type=positive, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall",
                        help="cpu: time on the processor, of all threads; where other jobs use it too")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "discrete_step.json")
    args = parser.parse_args()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    rows = [measure(values, args) for values in ("binary", "ternary")]
    what = {
        key: getattr(args, key)
        for key in ("steps", "batch", "width", "hidden", "device", "precision", "threads", "clock")
    }
    store.write_json(args.out, {"machine": machine(), "load before": load, **what, "rows": rows})
    print(
        "| weights | MSA, ms | Adam in node_oc, ms | ratio | Adam, bare torch, ms | ratio | |",
        "|---" * 7 + "|",
        sep="\n",
    )
    for row in rows:
        cells = [f"{row['ms']['msa']['median']:.1f}"]
        for name in ("adam", "torch"):
            if name in row["ms"]:
                r = row["ratios"][name]
                cells += [f"{row['ms'][name]['median']:.1f}", f"{r['median']:.2f} ({r['low']:.2f} to {r['high']:.2f})"]
        print(f"| {row['values']} | {' | '.join(cells)} | {'met' if row['met'] else 'missed'}, at most {BAR} |")


if __name__ == "__main__":
    main()
