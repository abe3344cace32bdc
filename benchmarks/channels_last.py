"""One training step of the convolutional system with its state in channels_last and in NCHW, measured in turns.

python -m benchmarks.channels_last [--steps 20] [--batch 128]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor

from benchmarks import positive
from node_oc import ConvSystem, Network, Problem, rollout


class Contiguous(ConvSystem):
    """The same system with its state in NCHW."""

    def lift(self, x: Tensor) -> Tensor:
        return self.lifting(x.reshape(-1, *self.image)).contiguous()


def main() -> None:
    """Print milliseconds and the median ratio, with and without stage costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=positive, default=20)
    parser.add_argument("--batch", type=positive, default=128)
    args = parser.parse_args()
    x, y = torch.randn(args.batch, 784), torch.randint(10, (args.batch,))
    networks = {kind.__name__: Network(kind((1, 28, 28), 10)) for kind in (Contiguous, ConvSystem)}
    stage = Problem.classification(10)
    for name, problem in (("stage costs", stage), ("terminal cost only", stage.terminal_only())):
        times: dict[str, list[float]] = {kind: [] for kind in networks}
        for turn in range(args.steps + 3):
            for kind, network in networks.items():
                start = time.perf_counter()
                problem.evaluate(rollout(network, x), y).smooth.backward()
                network.zero_grad()
                if turn >= 3:
                    times[kind].append(1e3 * (time.perf_counter() - start))
        ratio = statistics.median(a / b for a, b in zip(times["Contiguous"], times["ConvSystem"], strict=True))
        nchw, last = (statistics.median(times[kind]) for kind in networks)
        print(f"{name}: NCHW {nchw:.0f} ms, channels_last {last:.0f} ms, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
