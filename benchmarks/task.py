"""What every variant computes: one network, one batch and one J, as numpy arrays with fixed seeds.

The network is x_{k+1} = x_k + h F_k(x_k), k = 0..N-1, h = 1, every layer with weights of its own, and

    J = l(x_N) + sum_k h l(x_k),   l(x) the batch mean of the soft cross-entropy of H(x),

which is node_oc's objective with stage weight 1. Dense: F(x) = W_out tanh(W_in x + b_in) + b_out, H affine.
Convolutional: F(x) = W_out * relu(W_in * relu(x) + b_in) + b_out with 3x3 convolutions after a 3x3 lift, H affine in
the mean of relu(x) over pixels. A worker reads nothing but this file.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

BODY = ("inner.weight", "inner.bias", "outer.weight", "outer.bias")
"""Weights of the layers, each with N in front."""
WEIGHTS = (*BODY, "head.weight", "head.bias", "lift.weight", "lift.bias")
"""Every weight, in the order in which a gradient is laid out; a dense network has no lift."""


@dataclass(frozen=True)
class Task:
    """Sizes of a task.

    Attributes:
        kind: "dense", or "conv" with ``width`` channels.
        batch: samples B of the one batch.
        width: size D of the state, or its channels.
        hidden: width H of a branch; equal to ``width`` where it is convolutional.
        depth: layers N; T = N since h = 1.
        classes: K.
        eps: mass of the target off the true class.
        side: rows and columns of an image; 0 where the network is dense.
        colours: channels of an image before the lift; 0 where the network is dense.
    """

    kind: Literal["dense", "conv"]
    batch: int
    width: int
    hidden: int
    depth: int = 20
    classes: int = 10
    eps: float = 0.1
    side: int = 0
    colours: int = 0

    @property
    def name(self) -> str:
        """The sizes, as the tables call them."""
        if self.kind == "dense":
            return f"({self.batch}, {self.width}, {self.hidden})"
        return f"conv ({self.batch}, {self.width}, {self.side}x{self.side})"

    @property
    def smoothing(self) -> float:
        """``label_smoothing`` of torch for this eps."""
        return self.eps * self.classes / (self.classes - 1)

    @property
    def flops(self) -> float:
        """Floating point operations of the products of one training step: forward once, backward twice."""
        if self.kind == "dense":
            body = 2 * self.batch * self.depth * 2 * self.width * self.hidden
            head = 2 * self.batch * (self.depth + 1) * self.width * self.classes
            return 3.0 * (body + head)
        pixels = self.batch * self.side**2
        lift = 2 * pixels * 9 * self.colours * self.width
        return 3.0 * 2 * pixels * self.depth * 2 * 9 * self.width**2 + 2.0 * lift  # nothing needs d J / d input


DENSE = (Task("dense", 256, 8, 16), Task("dense", 256, 64, 64), Task("dense", 256, 128, 128))
CONV = Task("conv", 64, 16, 16, depth=12, side=16, colours=3)


def make(task: Task, seed: int = 0) -> Arrays:
    """Inputs "x", labels "y" and the initial weights, float32, the same on every machine.

    Outer weights are 0.1 randn / sqrt(fan) so that twenty layers do not explode; rows of the inner ones have norm 1,
    so that node_oc's constraint has nothing to change at first.
    """
    random = np.random.default_rng(seed)
    n, d, hidden = task.depth, task.width, task.hidden
    arrays: Arrays = {}
    taps = (3, 3) if task.kind == "conv" else ()
    if task.kind == "conv":
        x = random.standard_normal((task.batch, task.colours, task.side, task.side))
        arrays["lift.weight"] = random.standard_normal((d, task.colours, 3, 3)) / np.sqrt(9 * task.colours)
        arrays["lift.bias"] = np.zeros(d)
    else:
        x = random.standard_normal((task.batch, d))
    inner = random.standard_normal((n, hidden, d, *taps))
    rows = np.linalg.norm(inner.reshape(n, hidden, -1), axis=2)
    arrays["inner.weight"] = inner / rows.reshape(n, hidden, *(1,) * (inner.ndim - 2))
    arrays["inner.bias"] = random.uniform(-1, 1, (n, hidden))
    fan = d * int(np.prod(taps, dtype=int))
    arrays["outer.weight"] = 0.1 * random.standard_normal((n, d, hidden, *taps)) / np.sqrt(fan)
    arrays["outer.bias"] = 0.01 * random.standard_normal((n, d))
    arrays["head.weight"] = random.standard_normal((task.classes, d)) / np.sqrt(d)
    arrays["head.bias"] = np.zeros(task.classes)
    made = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}
    return made | {"x": x.astype(np.float32), "y": random.integers(task.classes, size=task.batch)}


def save(task: Task, path: Path) -> Path:
    """Write the task and its arrays as one npz file."""
    np.savez(path, task=np.array(json.dumps(asdict(task))), **make(task))  # type: ignore[arg-type]
    return path


def load(path: Path) -> tuple[Task, Arrays]:
    """What :func:`save` wrote."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    return Task(**json.loads(str(arrays.pop("task")))), arrays


def asleep(task: Task, awake: int = 6) -> tuple[int, ...]:
    """The layers of a network that sleep, spread evenly over depth, so that ``awake`` are left."""
    kept = {round((i + 0.5) * task.depth / awake - 0.5) for i in range(awake)}
    return tuple(k for k in range(task.depth) if k not in kept)


def with_zero_branches(arrays: Arrays, layers: tuple[int, ...]) -> Arrays:
    """The same weights, with the branches of these layers exactly zero."""
    changed = {name: array.copy() for name, array in arrays.items()}
    for name in ("outer.weight", "outer.bias"):
        changed[name][list(layers)] = 0
    return changed
