"""Peak memory of one training step against the number of steps N, plain and checkpointed.

    python -m experiments.neural_ode.memory

Memory is what autograd keeps alive at once: saved tensors, each storage counted once, alive until its part of the
backward pass is done. It is counted, not measured: the figure is the same on every machine. Times are medians, the two
ways in turns.
"""

from __future__ import annotations

import json
import statistics
import time
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from node_oc.discretization import EULER, RK4, Network
from node_oc.problem import Problem, SoftCrossEntropy
from node_oc.system.ode import ConvVectorField, NeuralODE
from node_oc.trajectory import Segmented, rollout

HERE = Path(__file__).parent
DEPTHS = (16, 64, 256, 1024)
BATCH, CHANNELS, SIDE = 64, 8, 8
ROUNDS = 5


class Head(nn.Module):
    """Mean of each channel, then a linear map."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(CHANNELS, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.mean((-2, -1)))


class Kept:
    """Bytes that autograd keeps, now and at most."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.known: dict[int, int] = {}  # storage -> how often it is kept

    def pack(self, tensor: Tensor) -> Any:
        storage = tensor.untyped_storage()
        key, size = storage.data_ptr(), storage.nbytes()
        if key not in self.known:
            self.known[key] = 0
            self.now += size
            self.most = max(self.most, self.now)
        self.known[key] += 1
        box = _Box(tensor)
        weakref.finalize(box, self.free, key, size)
        return box

    def free(self, key: int, size: int) -> None:
        self.known[key] -= 1
        if not self.known[key]:
            del self.known[key]
            self.now -= size


class _Box:
    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def peak(run: Callable[[], None]) -> int:
    """Most bytes that autograd keeps during a step."""
    kept = Kept()
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda box: box.tensor):
        run()
    return kept.most


def step(network: Network, problem: Problem, way: Callable[..., Any], x: Tensor, y: Tensor) -> None:
    """Forward and backward of one batch."""
    torch.autograd.grad(problem.evaluate(way(network, x), y).smooth, list(network.parameters()))


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, y = torch.randn(BATCH, CHANNELS, SIDE, SIDE), torch.arange(BATCH) % 10
    cost = SoftCrossEntropy(10)
    rows = []
    for table, stage_weight in ((EULER, 0.0), (EULER, 1.0), (RK4, 0.0)):
        problem = Problem(cost, cost, stage_weight)
        for depth in DEPTHS:
            if table is RK4 and depth > 256:
                continue
            system = NeuralODE(ConvVectorField(CHANNELS, CHANNELS), head=Head(), steps=depth)
            network = Network(system, table=table)
            plain, checkpointed = (partial(step, network, problem, way, x, y) for way in (rollout, Segmented))
            memory = [peak(way) for way in (plain, checkpointed)]
            seconds: list[list[float]] = [[], []]
            for _ in range(ROUNDS):
                for took, way in zip(seconds, (plain, checkpointed), strict=True):
                    start = time.perf_counter()
                    way()
                    took.append(time.perf_counter() - start)
            one, two = (statistics.median(took) for took in seconds)
            rows.append({"table": table.name, "stage_weight": stage_weight, "N": depth, "plain": memory[0],
                         "checkpointed": memory[1], "memory": memory[1] / memory[0], "time": two / one,
                         "plain_seconds": one})  # fmt: skip
            kept = f"plain {memory[0] / 2**20:8.1f} MiB, checkpointed {memory[1] / 2**20:7.1f} MiB"
            ratio = f"{memory[1] / memory[0]:.3f} of it, in {two / one:.2f} of its time ({one:.2f} s)"
            print(f"{table.name:6} gamma {stage_weight:g}  N {depth:5}  {kept}: {ratio}", flush=True)
    (HERE / "memory.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
