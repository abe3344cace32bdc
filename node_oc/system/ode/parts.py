"""Lifts and heads as modules that a file can describe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from node_oc.errors import ConfigError, ShapeError


class Pad(nn.Module):
    """Inputs (B, features), then zeros: states (B, width).

    Args:
        features: number of inputs.
        width: state size D.

    Raises:
        ShapeError: a state that is too narrow.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        if width < features:
            raise ShapeError("width of the state", got=width, expected=f"at least {features}", do="Widen the state.")
        self.features, self.width = features, width

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, self.width - self.features))


class Coordinates(nn.Module):
    """The first entries of the state (.., width): readouts (.., outputs).

    Args:
        outputs: size K of a readout.
        width: state size D.

    Raises:
        ShapeError: a state that is too narrow.
    """

    def __init__(self, outputs: int, width: int) -> None:
        super().__init__()
        if width < outputs:
            raise ShapeError("width of the state", got=width, expected=f"at least {outputs}", do="Widen the state.")
        self.outputs, self.width = outputs, width

    def forward(self, x: Tensor) -> Tensor:
        return x[..., : self.outputs]


PARTS: dict[str, tuple[type[nn.Module], Callable[[Any], dict[str, Any]]]] = {
    "linear": (nn.Linear, lambda m: {"in_features": m.in_features, "out_features": m.out_features,
                                     "bias": m.bias is not None}),
    "pad": (Pad, lambda m: {"features": m.features, "width": m.width}),
    "coordinates": (Coordinates, lambda m: {"outputs": m.outputs, "width": m.width}),
    "identity": (nn.Identity, lambda m: {}),
}  # fmt: skip


def part_spec(module: nn.Module) -> dict[str, Any]:
    """JSON-able description of a lift or head; of one of another kind than these, its name alone."""
    for kind, (known, arguments) in PARTS.items():
        if type(module) is known:
            return {"kind": kind, **arguments(module)}
    return {"kind": "custom", "name": type(module).__qualname__}


def part_from(spec: dict[str, Any]) -> nn.Module:
    """The lift or head of a description. Raises ConfigError on one of another kind."""
    arguments = dict(spec)
    kind = arguments.pop("kind", None)
    if kind not in PARTS:
        raise ConfigError("lift or head", got=spec.get("name", repr(kind)), expected=f"one of {sorted(PARTS)}",
                          do="Build the system in Python and load its state_dict.")  # fmt: skip
    return PARTS[kind][0](**arguments)


def affine(head: nn.Module) -> tuple[Tensor, Tensor]:
    """C (K, D) and b (K,) of a head C x + b. Raises ShapeError where it is of another kind."""
    if type(head) is nn.Linear:
        bias = head.weight.new_zeros(len(head.weight)) if head.bias is None else head.bias
        return head.weight, bias
    if type(head) is Coordinates:
        return torch.eye(head.outputs, head.width), torch.zeros(head.outputs)
    raise ShapeError("readout", got=f"a head {type(head).__name__}", expected="nn.Linear or Coordinates",
                     do="Use the logit distance.")  # fmt: skip
