"""The arithmetic floor: the products of one training step and nothing else, in torch at the same shapes.

Forward once, and the two products of backward, one after the other. Whoever calls one of these products at a time
cannot be faster; who batches or fuses them, or has better ones, can. torch has two sets of dense ones on a CPU: its
BLAS, which every ``nn.Linear`` calls, and oneDNN, which compilers call (and which XLA's are close to).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional as F

from benchmarks.task import Arrays
from benchmarks.workers import Built, Setup
from benchmarks.workers.torch_model import finish

Product = Callable[[], object]


def _both_ways(rows: int, inputs: int, outputs: int, device: str, one_dnn: bool) -> list[Product]:
    """Y = X W', dX = dY W, dW = dY' X; BLAS writes into memory that is already there."""
    x, y = torch.randn(rows, inputs, device=device), torch.randn(rows, outputs, device=device)
    w = torch.randn(outputs, inputs, device=device)
    if one_dnn:
        linear = torch.ops.mkldnn._linear_pointwise  # (a, b) -> a b'
        pairs = ((x, w), (y, w.t()), (y.t(), x.t()))
        return [partial(linear, a, b, None, "none", [], "") for a, b in pairs]
    into = [torch.empty_like(y), torch.empty_like(x), torch.empty_like(w)]
    return [lambda: torch.mm(x, w.t(), out=into[0]), lambda: torch.mm(y, w, out=into[1]),
            lambda: torch.mm(y.t(), x, out=into[2])]  # fmt: skip


def _convolution(setup: Setup, inputs: int, *, first: bool) -> list[Product]:
    task, device = setup.task, setup.device
    layout = torch.channels_last
    x = torch.randn(task.batch, inputs, task.side, task.side, device=device).contiguous(memory_format=layout)
    y = torch.randn(task.batch, task.width, task.side, task.side, device=device).contiguous(memory_format=layout)
    w = torch.randn(task.width, inputs, 3, 3, device=device)
    needed = [not first, True, False]

    def backward() -> object:
        return torch.ops.aten.convolution_backward(y, x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, needed)

    return [lambda: F.conv2d(x, w, padding=1), backward]


def products(setup: Setup, one_dnn: bool = False) -> Built:
    """All products of one step; images are in channels_last."""
    task, device = setup.task, setup.device
    calls: list[Product] = []
    for _ in range(task.depth):
        if task.kind == "dense":
            calls += _both_ways(task.batch, task.width, task.hidden, device, one_dnn)
            calls += _both_ways(task.batch, task.hidden, task.width, device, one_dnn)
        else:
            calls += _convolution(setup, task.width, first=False) + _convolution(setup, task.width, first=False)
    if task.kind == "dense":
        calls += _both_ways((task.depth + 1) * task.batch, task.width, task.classes, device, one_dnn)
    else:
        calls += _convolution(setup, task.colours, first=True)
    anchor = torch.empty(0, device=device)

    def nothing() -> tuple[float, Arrays]:
        return float("nan"), {}

    @torch.no_grad()
    def step() -> None:
        for call in calls:
            call()
        finish(anchor)

    return Built(nothing, step)


VARIANTS = {"products": products, "oneDNN": partial(products, one_dnn=True)}
