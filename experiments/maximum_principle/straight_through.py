"""The networks of this folder by other means: real weights, or real ones that are rounded on their way forward."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from node_oc.data import Part, Split
from node_oc.problem import CrossEntropy, SquaredHinge
from node_oc.system.discrete.architecture import blocks_of

WAYS = ("float", "binary", "ternary")
RATES = (1e-3, 3e-6)  # of Adam, in the first update and in the last; exponential in between
THRESHOLD = 0.7  # of the mean size of a layer's weights


class Rounding(torch.autograd.Function):
    """Real weights to binary or ternary ones; the gradient goes back as it came."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, way: str) -> Tensor:
        """Round."""
        if way == "binary":
            return torch.copysign(w.new_ones(()), w)
        return w.sign() * (w.abs() > THRESHOLD * w.abs().mean())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Straight through."""
        return gradient, None


class StraightThrough(nn.Module):
    """A linear map or convolution without bias, its weights rounded unless the way is "float".

    Args:
        shape: (outputs, inputs), or (outputs, inputs, kernel, kernel).
        way: one of WAYS.
    """

    def __init__(self, shape: tuple[int, ...], way: str) -> None:
        super().__init__()
        self.way, real, fans = way, way == "float", (shape[0] + shape[1]) * math.prod(shape[2:])
        self.faster = 1.0 if real else math.sqrt(fans / 1.5)  # of Adam's step: shadow weights live on [-1, 1]
        limit = math.sqrt(6 / fans) if real else 1.0
        self.shadow = nn.Parameter(torch.empty(shape).uniform_(-limit, limit))

    def weight(self) -> Tensor:
        """What the layer multiplies with."""
        return self.shadow if self.way == "float" else Rounding.apply(self.shadow, self.way)

    def forward(self, x: Tensor) -> Tensor:
        """The linear map of its input."""
        w = self.weight()
        return F.linear(x.flatten(1), w) if w.dim() == 2 else F.conv2d(x, w, padding=w.shape[-1] // 2)


def network(layers: Sequence[str], way: str, features: int, image: Sequence[int] = (), outputs: int = 10) -> nn.Module:
    """The chain of node_oc's DiscreteSystem with these layers in their place."""
    blocks, shape = blocks_of(layers, outputs), tuple(image) or (features,)
    parts: list[nn.Module] = [nn.Unflatten(1, shape)] if image else []
    for block in blocks:
        if block.kernel:
            parts += [StraightThrough((block.outputs, shape[0], block.kernel, block.kernel), way),
                      nn.MaxPool2d(block.pool), nn.BatchNorm2d(block.outputs, eps=1e-4)]  # fmt: skip
            shape = (block.outputs, *(side // block.pool for side in shape[1:]))
        else:
            parts += [StraightThrough((block.outputs, math.prod(shape)), way), nn.BatchNorm1d(block.outputs, eps=1e-4)]
            shape = (block.outputs,)
        parts.append(nn.ReLU())
    return nn.Sequential(*parts[:-1])


@torch.no_grad()
def accuracy(net: nn.Module, part: Part, precision: str) -> float:
    """In %, with running statistics."""
    net.eval()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
        batches = zip(part.x.split(500), part.y.split(500), strict=True)
        right = sum(int((net(x).argmax(1) == y).sum()) for x, y in batches)
    net.train()
    return 100 * right / len(part)


def train(
    make: Callable[[], nn.Module], way: str, split: Split, seed: int, epochs: int, batch: int, precision: str
) -> dict[str, Any]:
    """One row: accuracies in %, share of non-zero weights, and seconds, after every epoch.

    Squared hinge loss where weights are binary, cross-entropy otherwise. Adam; of shadow weights a step that is larger
    by the layer's size, and a clipping to [-1, 1].
    """
    torch.manual_seed(seed)
    net, cost = make(), SquaredHinge() if way == "binary" else CrossEntropy()
    layers = [part for part in net.modules() if isinstance(part, StraightThrough)]
    shadows = [layer.shadow for layer in layers]
    groups = [{"params": [layer.shadow], "scale": layer.faster} for layer in layers]
    others = [
        p for part in net.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm) for p in part.parameters()
    ]
    optimiser = torch.optim.Adam([*groups, {"params": others, "scale": 1.0}], fused=True)
    per_epoch = len(split.train) // batch
    updates, done = epochs * per_epoch, 0
    row: dict[str, Any] = {"way": way, "seed": seed, "epochs": epochs, "precision": precision, "validation": [],
                           "test": [], "nonzero": [], "seconds": []}  # fmt: skip
    for _ in range(epochs):
        start, order = time.perf_counter(), torch.randperm(len(split.train))
        for chosen in order[: per_epoch * batch].view(per_epoch, batch):
            for group in optimiser.param_groups:
                group["lr"] = group["scale"] * RATES[0] * (RATES[1] / RATES[0]) ** (done / updates)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
                z = net(split.train.x[chosen])
            optimiser.zero_grad()
            cost(z.float()[None], split.train.y[chosen]).mean().backward()
            optimiser.step()
            if way != "float":
                for shadow in shadows:
                    shadow.data.clamp_(-1, 1)
            done += 1
        row["seconds"].append(time.perf_counter() - start)
        row["validation"].append(accuracy(net, split.val, precision))
        row["test"].append(accuracy(net, split.test, precision))
        weights = [layer.weight().detach() for layer in layers]
        row["nonzero"].append(sum(int(w.count_nonzero()) for w in weights) / sum(w.numel() for w in weights))
        print(way, seed, *(f"{key} {each[-1]:.3f}" for key, each in row.items() if isinstance(each, list)), flush=True)
    return row
