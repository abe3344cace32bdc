"""The branches of some steps with their derivatives by hand: what a sweep over depth needs to know of a system."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Activation = Literal["tanh", "relu", "gelu"]


@dataclass(frozen=True)
class Role:
    """One parameter of every step: W_in, say.

    Attributes:
        rows: one tensor for each step.
        stack: the tensor (n, ...) whose rows they are and that the gradient belongs to; None where each has its own.
    """

    rows: Sequence[Tensor]
    stack: Tensor | None = None

    @property
    def leaves(self) -> Sequence[Tensor]:
        """What gradients are taken in."""
        return self.rows if self.stack is None else (self.stack,)

    def like_leaves(self, gradients: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
        """Gradients of all rows, stacked or one by one, in the form of the leaves."""
        if self.stack is None:
            return gradients.unbind() if isinstance(gradients, Tensor) else gradients
        return (gradients if isinstance(gradients, Tensor) else torch.stack(tuple(gradients)),)


@dataclass(frozen=True)
class Nonlinearity:
    """An activation a = act(z) and its derivative.

    Attributes:
        value: z to a.
        value_: the same in place; None where the derivative needs z.
        pull_: cotangent of a, and a (or z where ``value_`` is None), to the cotangent of z, in place.
    """

    value: Callable[[Tensor], Tensor]
    value_: Callable[[Tensor], Tensor] | None
    pull_: Callable[[Tensor, Tensor], Tensor]

    def keep(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """a, and what ``pull_`` wants of it; z is used up."""
        return (a := self.value_(z), a) if self.value_ else (self.value(z), z)

    def value_of(self, kept: Tensor) -> Tensor:
        """a, from what was kept."""
        return kept if self.value_ else self.value(kept)


def _tanh_(z: Tensor) -> Tensor:
    """2 sigmoid(2z) - 1, which on a CPU takes half the time of torch's tanh and differs by its rounding near 1."""
    return z.tanh_() if z.is_cuda else z.mul_(2).sigmoid_().mul_(2).sub_(1)


_aten = torch.ops.aten
NONLINEARITIES = {
    "tanh": Nonlinearity(torch.tanh, _tanh_, lambda g, a: _aten.tanh_backward.grad_input(g, a, grad_input=g)),
    "relu": Nonlinearity(
        torch.relu, torch.relu_, lambda g, a: _aten.threshold_backward.grad_input(g, a, 0, grad_input=g)
    ),
    "gelu": Nonlinearity(F.gelu, None, lambda g, z: _aten.gelu_backward.grad_input(g, z, grad_input=g)),
}
ACTIVATIONS = {name: act.value for name, act in NONLINEARITIES.items()}


class Field(ABC):
    """The branches of n steps during one forward and one costate sweep, evaluated s times each: e = 0..ns-1.

    A field lives for one rollout. Forward it is asked for values in order; what it needs for the way back it lists in
    ``kept``. Backward it is handed that list again, pulls cotangents back in the opposite order, and at last gives the
    gradients of all weights.

    Attributes:
        roles: the control parameters by role: W_in of all steps, b_in of all steps, ..
        steps, stages: n and s.
        kept: what the forward sweep leaves for the backward one.
    """

    def __init__(self, roles: Sequence[Role], stages: int) -> None:
        self.roles, self.steps, self.stages = tuple(roles), len(roles[0].rows), stages
        self.kept: list[Tensor] = []

    @abstractmethod
    def value(self, e: int, x: Tensor) -> Tensor:
        """F(x) of step e // s, shaped as x."""

    @abstractmethod
    def pull(self, e: int, x: Tensor, g: Tensor, into: Tensor | None) -> None:
        """Add (dF/dx)^T g to ``into``, in place; None where it is not wanted. x is that of ``value``, g shaped as F."""

    @abstractmethod
    def gradients(self, x: Tensor, g: Tensor) -> Sequence[Tensor | Sequence[Tensor]]:
        """(dF/du)^T g of every role, summed over stages and samples; x and g of all evaluations, (ns, B, ...)."""


def by_role(controls: Sequence[Sequence[Tensor]]) -> list[Role]:
    """The parameters of each step, turned into the roles of a field."""
    return [Role(role) for role in zip(*controls, strict=True)]
