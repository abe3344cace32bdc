"""The right-hand side f(t, x; u) of a neural ODE: a module whose parameters are the control."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, cast, get_args

import torch
from torch import Tensor, nn

from node_oc.errors import ConfigError
from node_oc.system.field import ACTIVATIONS, Activation


class VectorField(nn.Module, ABC):
    """f(t, x; u), its parameters being u. States have any shape (B, ...); f has that of x.

    A field of your own is a subclass with ``forward`` and ``group_names``. To write networks with it to files, give it
    ``spec`` too and enter it with :func:`register_field`.
    """

    @abstractmethod
    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """f at time t, a scalar of the type of x, and state x (B, ...)."""

    def at(self, t: float | Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The arguments of :meth:`forward` from a time that may be a number."""
        return torch.as_tensor(t, dtype=x.dtype, device=x.device), x

    @property
    @abstractmethod
    def group_names(self) -> tuple[str, ...]:
        """Names of the parameters that make f zero when they are zero: its last affine map."""

    @property
    def timed(self) -> bool:
        """Whether f depends on t other than through its control."""
        return True

    def reset_(self, generator: torch.Generator) -> None:
        """Draw the parameters anew; those of a field that does not know how stay what they are."""

    @property
    def constrained(self) -> bool:
        """Whether there is an admissible set that the parameters are kept in."""
        return False

    def constrain_(self) -> None:
        """Put the parameters back into the admissible set, in place; every parameter is in it by default."""

    def spec(self) -> dict[str, Any]:
        """JSON-able constructor arguments, "kind" among them: the name that the field is registered by."""
        return {"kind": "custom", "name": type(self).__qualname__}


class DenseVectorField(VectorField):
    """f = W_out act(W_in x + b_in) + b_out; with ``time``, W_in has a column for t.

    Args:
        width: state size D.
        hidden: hidden units.
        activation: "tanh", "relu" or "gelu".
        time: whether f depends on t itself.
        row_norm: the norm that rows of W_in are kept at while a price is at work; 0 for free rows.
        generator: where the weights come from; a generator seeded with 0 if None.

    Raises:
        ConfigError: an unknown activation.
    """

    def __init__(
        self, width: int, hidden: int, activation: Activation = "tanh", *, time: bool = False, row_norm: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if activation not in get_args(Activation):
            raise ConfigError("activation", got=repr(activation), expected=f"one of {get_args(Activation)}",
                              do="Correct the name.")  # fmt: skip
        self._spec = {"kind": "dense", "width": width, "hidden": hidden, "activation": activation, "time": time,
                      "row_norm": row_norm}  # fmt: skip
        self.activation, self.row_norm, self.time = activation, row_norm, time
        self.inner = nn.utils.skip_init(nn.Linear, width + time, hidden)
        self.outer = nn.utils.skip_init(nn.Linear, hidden, width)
        self.reset_(generator or torch.Generator().manual_seed(0))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        if self.time:
            x = torch.cat([x, t.expand_as(x[..., :1])], -1)
        return self.outer(ACTIVATIONS[self.activation](self.inner(x)))

    @property
    def group_names(self) -> tuple[str, ...]:
        return "outer.weight", "outer.bias"

    @property
    def timed(self) -> bool:
        return self.time

    @torch.no_grad()
    def reset_(self, generator: torch.Generator) -> None:
        """Rows of W_in of norm 1, biases in [-1, 1], outer weights of 0.1 / sqrt(D), as in :class:`DenseSystem`."""
        inner, outer = self.inner, self.outer
        inner.weight.copy_(torch.randn(inner.weight.shape, generator=generator))
        inner.weight.div_(inner.weight.norm(dim=1, keepdim=True))
        inner.bias.copy_(torch.rand(inner.bias.shape, generator=generator).mul_(2).sub_(1))
        outer.weight.copy_(torch.randn(outer.weight.shape, generator=generator) * (0.1 / math.sqrt(len(outer.weight))))
        outer.bias.zero_()

    @property
    def constrained(self) -> bool:
        return self.row_norm > 0

    @torch.no_grad()
    def constrain_(self) -> None:
        if self.row_norm:
            weight = self.inner.weight
            weight.div_(weight.norm(dim=1, keepdim=True).clamp_min_(1e-12).div_(self.row_norm))

    def spec(self) -> dict[str, Any]:
        return dict(self._spec)


class ConvVectorField(VectorField):
    """f = conv(act(conv(x))) with 3 x 3 kernels and zero padding, on states (B, channels, rows, columns).

    Args:
        channels: of the state.
        hidden: channels in between.
        activation: "tanh", "relu" or "gelu".
        generator: where the weights come from; a generator seeded with 0 if None.

    Raises:
        ConfigError: an unknown activation.
    """

    def __init__(
        self, channels: int, hidden: int, activation: Activation = "relu", *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        if activation not in get_args(Activation):
            raise ConfigError("activation", got=repr(activation), expected=f"one of {get_args(Activation)}",
                              do="Correct the name.")  # fmt: skip
        self._spec = {"kind": "conv", "channels": channels, "hidden": hidden, "activation": activation}
        self.activation = activation
        self.inner = nn.utils.skip_init(nn.Conv2d, channels, hidden, 3, padding=1)
        self.outer = nn.utils.skip_init(nn.Conv2d, hidden, channels, 3, padding=1)
        self.reset_(generator or torch.Generator().manual_seed(0))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.outer(ACTIVATIONS[self.activation](self.inner(x)))

    @property
    def group_names(self) -> tuple[str, ...]:
        return "outer.weight", "outer.bias"

    @property
    def timed(self) -> bool:
        return False

    @torch.no_grad()
    def reset_(self, generator: torch.Generator) -> None:
        """Kernels of norm sqrt(2) at the inside, a tenth of that scale at the outside, no biases."""
        for conv, size in ((self.inner, 1.0), (self.outer, 0.1)):
            scale = size * math.sqrt(2 / conv.weight[0].numel())
            conv.weight.copy_(torch.randn(conv.weight.shape, generator=generator) * scale)
            cast(Tensor, conv.bias).zero_()

    def spec(self) -> dict[str, Any]:
        return dict(self._spec)


def check_field(field: VectorField) -> None:
    """Raise ConfigError unless the parameters of a field can be a control."""
    names, every = dict(field.named_parameters()), dict(field.named_parameters(remove_duplicate=False))
    if not names:
        raise ConfigError("field", got=f"a {type(field).__name__} without parameters", expected="some: the control",
                          do="Give it one, a factor of 1 for instance.")  # fmt: skip
    if shared := sorted(set(every) - set(names)):
        raise ConfigError("field", got=f"{shared[0]}, another parameter's tensor", expected="parameters of their own",
                          do="Use one submodule in both places, or one parameter.")  # fmt: skip
    if unknown := sorted(set(field.group_names) - set(names)):
        raise ConfigError("group_names", got=unknown, expected=f"some of {sorted(names)}",
                          do="Name the parameters of the last affine map.")  # fmt: skip


FIELDS: dict[str, type[VectorField]] = {"dense": DenseVectorField, "conv": ConvVectorField}


def register_field(kind: str, field: type[VectorField]) -> None:
    """Make a field of your own known to files by the "kind" in its ``spec``.

    Args:
        kind: its name there.
        field: the class; the rest of the spec are its arguments.

    Raises:
        ConfigError: the name is taken by another class.
    """
    if FIELDS.setdefault(kind, field) is not field:
        raise ConfigError("kind of field", got=repr(kind), expected=f"none of {sorted(FIELDS)}",
                          do="Choose another name.")  # fmt: skip


def field_from(spec: dict[str, Any]) -> VectorField:
    """The field of a description, with fresh weights. Raises ConfigError on an unknown kind."""
    arguments = dict(spec)
    kind = arguments.pop("kind", None)
    if kind not in FIELDS:
        raise ConfigError("kind of field", got=repr(kind), expected=f"one of {sorted(FIELDS)}",
                          do="Give it a spec and enter it: node_oc.register_field(kind, type(field)).")  # fmt: skip
    return FIELDS[kind](**arguments)
