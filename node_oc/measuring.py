"""What a module costs: parameters, FLOPs, latency, memory."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Latency:
    """Median and 95 % quantile of the time of one call, milliseconds."""

    p50: float
    p95: float


@dataclass(frozen=True)
class Measure:
    """Costs of one module.

    Attributes:
        parameters: number of trained values.
        bytes: memory of parameters and buffers.
        flops: floating-point operations for one sample (a multiply-add counts two), torch's own counter.
        latency: per batch size, on the module's device with torch's current threads.
    """

    parameters: int
    bytes: int
    flops: int
    latency: dict[int, Latency]


@torch.no_grad()
def measure(
    modules: dict[str, nn.Module], x: Tensor, batches: tuple[int, ...] = (1, 256), calls: int = 60
) -> dict[str, Measure]:
    """Measure several modules in turns, so that a drift of the machine's speed hits all alike.

    Args:
        modules: by name; put into evaluation mode for the time.
        x: samples (n, D), repeated to the batch sizes.
        batches: batch sizes of the latency.
        calls: timed calls of each module and batch size, after ten calls of warm-up.
    """
    times: dict[str, dict[int, list[float]]] = {name: {b: [] for b in batches} for name in modules}
    training = {name: module.training for name, module in modules.items()}
    for module in modules.values():
        module.eval()
    for size in batches:
        batch = x.repeat(-(-size // len(x)), *(1,) * (x.dim() - 1))[:size]
        for turn in range(calls + 10):
            for name, module in modules.items():
                seconds = _time(module, batch)
                if turn >= 10:
                    times[name][size].append(1e3 * seconds)
    result = {}
    for name, module in modules.items():
        with FlopCounterMode(display=False) as counter:
            module(x[:1])
        tensors = [*module.parameters(), *module.buffers()]
        latency = {b: Latency(*map(float, np.quantile(times[name][b], (0.5, 0.95)))) for b in batches}
        result[name] = Measure(
            sum(p.numel() for p in module.parameters()), sum(t.numel() * t.element_size() for t in tensors),
            counter.get_total_flops(), latency,
        )  # fmt: skip
        module.train(training[name])
    return result


def _time(module: nn.Module, batch: Tensor) -> float:
    cuda = batch.is_cuda
    if cuda:
        torch.cuda.synchronize(batch.device)
    start = time.perf_counter()
    module(batch)
    if cuda:
        torch.cuda.synchronize(batch.device)
    return time.perf_counter() - start
