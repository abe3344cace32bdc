"""One file a peer: every variant is a function from a :class:`Setup` to a :class:`Built`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.task import Arrays, Task

ADAM = {"lr": 1e-3, "betas": (0.9, 0.99), "eps": 1e-8}
"""The optimiser, the same for all."""


class Setup(NamedTuple):
    """What a worker was started with: the task, its arrays, "cpu" or "cuda"."""

    task: Task
    arrays: Arrays
    device: str


class Built(NamedTuple):
    """One variant, ready.

    Attributes:
        loss_and_gradient: J and its gradient, by the names of :data:`benchmarks.task.WEIGHTS`; changes no weight.
        step: one training step: forward, cost, backward, update of every weight, gradients cleared. Returns when the
            work is done, also on a device that works on its own.
        facts: what else is worth a line in the record.
    """

    loss_and_gradient: Callable[[], tuple[float, Arrays]]
    step: Callable[[], None]
    facts: Callable[[], dict[str, Any]] = dict
