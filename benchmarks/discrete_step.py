"""One training step of discrete weights by the maximum principle, beside Adam on the same float network, in turns.

python -m benchmarks.discrete_step [--steps 20] [--batch 100] [--width 2048]

Adam is measured twice: a few lines on torch (forward, backward, fused Adam), and node_oc training the float network.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import closing

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import positive
from node_oc import DiscreteSystem, Network, Problem, SquaredHinge, TrainingSection, make_method
from node_oc.problem import CrossEntropy
from node_oc.training.loop import make_fabric

FEATURES, CLASSES = 784, 10


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


def main() -> None:
    """Print milliseconds a step, and the median ratios to Adam, for binary and ternary weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=positive, default=20)
    parser.add_argument("--batch", type=positive, default=100)
    parser.add_argument("--width", type=positive, default=2048)
    parser.add_argument("--hidden", type=positive, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--threads", type=positive, default=1)
    args = parser.parse_args()
    options = TrainingSection(
        learning_rate=1e-3, beta2=0.999, clip=0.0, threads=args.threads, precision=args.precision,
        accelerator="gpu" if args.device == "cuda" else args.device,
    )  # fmt: skip
    fabric, layers = make_fabric(options), (str(args.width),) * args.hidden
    x, y = torch.randn(args.batch, FEATURES, device=args.device), torch.randint(10, (args.batch,), device=args.device)
    for values, cost in (("binary", SquaredHinge()), ("ternary", CrossEntropy())):
        problem = Problem(cost, cost, 0.0)
        networks = {
            "msa": Network(DiscreteSystem(FEATURES, CLASSES, layers=layers, values=values)),
            "adam": Network(FloatSystem(layers)),
        }
        methods = {name: make_method(network.to(args.device).train(), problem, options, 1000, False, fabric)
                   for name, network in networks.items()}  # fmt: skip
        with closing(methods["msa"]), closing(methods["adam"]):
            steps: dict[str, Callable[[Tensor, Tensor], object]] = {
                name: lambda x, y, method=method: method.step(0, x, y) for name, method in methods.items()
            }
            if args.device == "cpu" and args.precision == "32-true":
                steps["torch"] = by_torch(layers, problem, options)
            times: dict[str, list[float]] = {name: [] for name in steps}
            for turn in range(args.steps + 3):
                for name, step in steps.items():
                    if args.device == "cuda":
                        torch.cuda.synchronize()
                    start = time.perf_counter()
                    step(x, y)
                    if args.device == "cuda":
                        torch.cuda.synchronize()
                    if turn >= 3:
                        times[name].append(1e3 * (time.perf_counter() - start))
        parts = [f"{name} {statistics.median(each):.1f} ms" for name, each in times.items()]
        ratios = [
            f"to {name} {statistics.median(a / b for a, b in zip(times['msa'], times[name], strict=True)):.2f}"
            for name in times if name != "msa"
        ]  # fmt: skip
        print(f"{values}: {', '.join(parts)}; ratio {', '.join(ratios)}")


if __name__ == "__main__":
    main()
