"""What a module costs: parameters, FLOPs, latency, memory."""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from node_oc.discretization.network import evaluating
from node_oc.system.base import System

WARM = 10  # calls that are not timed
PRODUCTS = [SDPBackend.MATH]  # attention as matrix products: the counter does not know the fused one of a CPU
LEAST_WARM, LEAST = 1, 5  # where the time is up: calls that are not timed, and calls that are


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
        memory: bytes that one call of each batch size has in use at its peak, beside parameters, buffers and input; see
            :func:`peak_memory`.
    """

    parameters: int
    bytes: int
    flops: int
    latency: dict[int, Latency]
    memory: dict[int, int]


@torch.no_grad()
def measure(
    modules: Mapping[str, nn.Module], x: Tensor, batches: tuple[int, ...] = (1, 256), calls: int = 60,
    seconds: float = math.inf,
) -> dict[str, Measure]:  # fmt: skip
    """Measure several modules in turns, so that a drift of the machine's speed hits all alike.

    Args:
        modules: by name; put into evaluation mode for the time.
        x: samples (n, D), on the modules' device, repeated to the batch sizes.
        batches: batch sizes of the latency.
        calls: timed calls of each module and batch size, after ten calls of warm-up.
        seconds: that each batch size may take for all modules; fewer calls are then timed, but at least five after one
            of warm-up.
    """
    times: dict[str, dict[int, list[float]]] = {name: {b: [] for b in batches} for name in modules}
    training = {name: module.training for name, module in modules.items()}
    for module in modules.values():
        module.eval()
    for size in batches:
        batch = _repeated(x, size)
        end, warm = time.perf_counter() + seconds, WARM
        for turn in range(calls + WARM):
            if time.perf_counter() > end:
                warm = min(warm, max(turn, LEAST_WARM))
                if turn >= warm + LEAST:
                    break
            for name, module in modules.items():
                times[name][size].append(1e3 * _time(module, batch))
        for name in modules:
            del times[name][size][:warm]
    result = {}
    for name, module in modules.items():
        flops = count_flops(module, x)
        memory = {b: peak_memory(module, _repeated(x, b)) for b in batches}
        tensors = [*module.parameters(), *module.buffers()]
        latency = {b: Latency(*map(float, np.quantile(times[name][b], (0.5, 0.95)))) for b in batches}
        result[name] = Measure(
            sum(p.numel() for p in module.parameters()), sum(t.numel() * t.element_size() for t in tensors),
            flops, latency, memory,
        )  # fmt: skip
        module.train(training[name])
    return result


@torch.no_grad()
def count_flops(module: nn.Module, x: Tensor) -> int:
    """Floating-point operations for the first of some samples (n, D), by torch's own counter.

    It counts matrix products, convolutions and attention, a multiply-add as two; nothing that acts entry by entry.
    """
    with evaluating(module), sdpa_kernel(PRODUCTS), FlopCounterMode(display=False) as counter:
        module(x[:1])
    return int(counter.get_total_flops())


@torch.no_grad()
def branch_flops(system: System, x: Tensor) -> tuple[int, ...]:
    """The same for each branch of a system alone, (N,), at the states of the first of some samples (n, D)."""
    found = []
    with evaluating(system):
        given = system.given(x[:1])
        state = given.lift(x[:1])
        for k in range(system.depth):
            with sdpa_kernel(PRODUCTS), FlopCounterMode(display=False) as counter:
                given.branch(k, state)
            found.append(int(counter.get_total_flops()))
            state = sum(given.split(k, 0.0, state), torch.zeros_like(state[:0]).sum())
    return tuple(found)


@torch.no_grad()
def peak_memory(module: nn.Module, batch: Tensor) -> int:
    """Bytes in use at the peak of one call, in evaluation mode, without a gradient.

    On CUDA what torch's allocator hands out beyond what was in use before the call. Elsewhere the storages that torch's
    operators return, while they live: what a kernel allocates for itself alone is not seen. Parameters, buffers and
    the input, which are there before, do not count.

    Args:
        module: any.
        batch: its input.
    """
    with evaluating(module):
        if batch.is_cuda:
            torch.cuda.synchronize(batch.device)
            torch.cuda.reset_peak_memory_stats(batch.device)
            before = torch.cuda.memory_allocated(batch.device)
            module(batch)
            return int(torch.cuda.max_memory_allocated(batch.device) - before)
        known = {t.untyped_storage()._cdata for t in [*module.parameters(), *module.buffers(), batch]}
        with _Storages(known) as seen:
            module(batch)
    return seen.peak


class _Storages(TorchDispatchMode):
    """Bytes of the storages that operators return, while they live."""

    def __init__(self, known: set[int]) -> None:
        super().__init__()
        self.known, self.now, self.peak = set(known), 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in pytree.tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._enter(leaf.untyped_storage())
        return out

    def _enter(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self.known:
            return
        self.known.add(storage._cdata)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._leave, storage._cdata, storage.nbytes())

    def _leave(self, name: int, size: int) -> None:
        self.known.discard(name)
        self.now -= size


def _repeated(x: Tensor, size: int) -> Tensor:
    return x.repeat(-(-size // len(x)), *(1,) * (x.dim() - 1))[:size]


def _time(module: nn.Module, batch: Tensor) -> float:
    cuda = batch.is_cuda
    if cuda:
        torch.cuda.synchronize(batch.device)
    start = time.perf_counter()
    module(batch)
    if cuda:
        torch.cuda.synchronize(batch.device)
    return time.perf_counter() - start
