"""The task in plain torch: what the torch peers share, in the form that they ask for (a field of t and x).

Two forms each: weights stacked in one tensor and indexed by the layer, or a list of parameters; the head called for
one state after the other, or once for all of them; Adam as it comes, or fused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.task import BODY, WEIGHTS, Arrays
from benchmarks.workers import ADAM, Built, Setup

Layer = tuple[Tensor, ...]


class Model(nn.Module):
    """Lift, field and head.

    Args:
        setup: the task.
        listed: one parameter for each layer; one stacked parameter, indexed by the layer, otherwise.
        channels_last: memory format of images and convolutions.
    """

    def __init__(self, setup: Setup, *, listed: bool, channels_last: bool = False) -> None:
        super().__init__()
        self.task, self.listed = setup.task, listed
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.outside = nn.ParameterDict()
        self.body = nn.ParameterDict()
        for name in WEIGHTS:
            if name not in setup.arrays:
                continue
            value = torch.tensor(setup.arrays[name], device=setup.device)
            key = name.replace(".", "_")
            if name not in BODY:
                self.outside[key] = nn.Parameter(self._laid(value))
            elif listed:
                self.body[key] = nn.ParameterList(nn.Parameter(self._laid(v).clone()) for v in value)
            else:
                self.body[key] = nn.Parameter(value)
        self.x = self._laid(torch.tensor(setup.arrays["x"], device=setup.device))
        self.y = torch.tensor(setup.arrays["y"], device=setup.device)
        # Looked up once: a ParameterDict takes a microsecond a call.
        self.layers = list(zip(*(self.body[name.replace(".", "_")] for name in BODY))) if listed else []
        self.stacks = () if listed else tuple(self.body[name.replace(".", "_")] for name in BODY)

    def _laid(self, value: Tensor) -> Tensor:
        return value.contiguous(memory_format=self.format) if value.dim() == 4 else value.contiguous()

    def lift(self) -> Tensor:
        """x_0."""
        if self.task.kind == "dense":
            return self.x
        return F.conv2d(self.x, self.outside["lift_weight"], self.outside["lift_bias"], padding=1)

    def layer(self, k: int) -> Layer:
        """Weights of layer k; of the last one at t = T, where a solver that runs backwards starts."""
        k = min(k, self.task.depth - 1)
        return self.layers[k] if self.listed else tuple(stack[k] for stack in self.stacks)

    def field(self, k: int, x: Tensor) -> Tensor:
        """F_k(x)."""
        inner, inner_bias, outer, outer_bias = self.layer(k)
        if self.task.kind == "dense":
            return F.linear(torch.tanh(F.linear(x, inner, inner_bias)), outer, outer_bias)
        inside = torch.relu(F.conv2d(torch.relu(x), inner, inner_bias, padding=1))
        return F.conv2d(inside, outer, outer_bias, padding=1)

    def pooled(self, x: Tensor) -> Tensor:
        """What the affine head reads of a state, (.., D)."""
        return x if self.task.kind == "dense" else torch.relu(x).mean((-2, -1))

    def head(self, pooled: Tensor) -> Tensor:
        """Readouts (.., K)."""
        return F.linear(pooled, self.outside["head_weight"], self.outside["head_bias"])

    def cost(self, states: Sequence[Tensor] | Tensor, *, batched: bool) -> Tensor:
        """J from x_0..x_N, (N+1, B, ...) or a list: h = 1, so that each state counts once, x_N as terminal cost."""
        alpha, y = self.task.smoothing, self.y
        if not batched:
            each = [F.cross_entropy(self.head(self.pooled(x)), y, label_smoothing=alpha) for x in states]
            return torch.stack(each).sum()
        if isinstance(states, Tensor):
            together = self.pooled(states).flatten(0, 1)
        else:
            together = torch.cat([self.pooled(x) for x in states])
        return F.cross_entropy(
            self.head(together), y.repeat(len(states)), label_smoothing=alpha, reduction="sum"
        ) / len(y)

    def gradient(self) -> Arrays:
        """The gradient that backward left, by the names of the task; zeros where it left none."""

        def of(p: Tensor) -> Tensor:
            return (torch.zeros_like(p) if p.grad is None else p.grad).detach().cpu()

        found: Arrays = {}
        for name in WEIGHTS:
            key = name.replace(".", "_")
            if key in self.outside:
                found[name] = of(self.outside[key]).contiguous().numpy()
            elif key in self.body:
                value = torch.stack([of(p) for p in self.body[key]]) if self.listed else of(self.body[key])
                found[name] = value.contiguous().numpy()
        return found


class Whole(nn.Module):
    """The field as solvers want it: f(t, x), for solvers that step over whole layers; t may be a vector.

    Its parameters are the layers' own; lift and head are outside of the solver.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.body = model.body
        self.field: Callable[[int, Tensor], Tensor] = model.field

    def forward(self, t: Tensor, x: Tensor, args: object = None) -> Tensor:
        """F_k(x) with k the whole number nearest to t."""
        return self.field(round((t if t.dim() == 0 else t[0]).item()), x)


class Piecewise(Whole):
    """The same for solvers that choose their own steps: constant in t on [k, k + 1)."""

    def forward(self, t: Tensor, x: Tensor, args: object = None) -> Tensor:
        """F_k(x) with k the largest whole number up to t."""
        return self.field(max(0, math.floor(t.item())), x)


class Seen(Whole):
    """The same for Euler, remembering the states that it was called with: x_0..x_{N-1}, in order.

    It counts its calls, which spares looking at t; :meth:`begin` before every solve.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.states: list[Tensor] = []

    def begin(self) -> None:
        """Forget the last solve."""
        self.states = []

    def forward(self, t: Tensor, x: Tensor, args: object = None) -> Tensor:
        """F_k(x) with k the number of calls so far."""
        self.states.append(x)
        return self.field(len(self.states) - 1, x)


def train(model: Model, objective: Callable[[], Tensor], *, fused: bool) -> Built:
    """A variant from a function that computes J: check and step."""
    parameters = list(model.parameters())
    adam = torch.optim.Adam(parameters, **ADAM, **({"fused": True} if fused else {}))  # type: ignore[arg-type]

    def loss_and_gradient() -> tuple[float, Arrays]:
        adam.zero_grad()
        loss = objective()
        loss.backward()
        found = float(loss.detach()), model.gradient()
        adam.zero_grad()
        return found

    def step() -> None:
        objective().backward()
        adam.step()
        adam.zero_grad()
        finish(model.x)

    return Built(loss_and_gradient, step)


def finish(x: Tensor) -> None:
    """Wait until the device is done."""
    if x.is_cuda:
        torch.cuda.synchronize()
