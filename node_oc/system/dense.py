"""The dense system: constant width, the setting of the theory."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from node_oc.errors import ConfigError, ShapeError
from node_oc.system.base import System
from node_oc.system.dense_field import DenseField
from node_oc.system.field import ACTIVATIONS, Activation, Role, by_role


class Branch(nn.Module):
    """F(x) = W_out act(W_in x + b_in) + b_out; the group of the step is (W_out, b_out)."""

    def __init__(self, width: int, hidden: int, activation: Activation, generator: torch.Generator) -> None:
        super().__init__()
        self.inner = nn.utils.skip_init(nn.Linear, width, hidden)
        self.outer = nn.utils.skip_init(nn.Linear, hidden, width)
        self.activation = activation
        with torch.no_grad():
            self.inner.weight.copy_(torch.randn(hidden, width, generator=generator))
            self.inner.weight.div_(self.inner.weight.norm(dim=1, keepdim=True))
            self.inner.bias.copy_(torch.rand(hidden, generator=generator).mul_(2).sub_(1))
            self.outer.weight.copy_(torch.randn(width, hidden, generator=generator) * (0.1 / math.sqrt(width)))
            self.outer.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(ACTIVATIONS[self.activation](self.inner(x)))


class DenseSystem(System):
    """Residual network of constant width: linear or padding lift, two-layer branches, affine head.

    Args:
        features: number of inputs.
        outputs: size K of a readout.
        depth: number of residual steps N.
        width: state size D.
        hidden: width of a branch.
        activation: "tanh", "relu" or "gelu".
        lift: "linear" (learnt) or "pad" (the input, then zeros).
        head: "linear" (learnt) or "coordinates" (the first K entries of the state).
        row_norm: the norm that every row of W_in is kept at, or 0 for free rows. Fixed rows keep the price
            of a layer from being evaded by large inner weights (theory: "Group", our derivation).
        generator: where the initial weights come from; a generator seeded with 0 if None.

    Raises:
        ShapeError: a padding lift or a coordinate head that does not fit into the state.
        ConfigError: an unknown activation, lift or head, or a size below 1.
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        *,
        depth: int = 20,
        width: int = 32,
        hidden: int = 32,
        activation: Activation = "tanh",
        lift: Literal["linear", "pad"] = "linear",
        head: Literal["linear", "coordinates"] = "linear",
        row_norm: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("activation", activation, get_args(Activation)),
            ("lift", lift, ("linear", "pad")),
            ("head", head, ("linear", "coordinates")),
        ):
            if value not in known:
                raise ConfigError(name, got=repr(value), expected=f"one of {known}", do="Correct the name.")
        for name, size, least in (
            ("depth", depth, 0),
            ("width", width, 1),
            ("hidden", hidden, 1),
            ("row_norm", row_norm, 0),
        ):
            if not size >= least:
                raise ConfigError(name, got=size, expected=f"at least {least}", do="Correct the number.")
        need = max(features if lift == "pad" else 0, outputs if head == "coordinates" else 0)
        if width < need:
            raise ShapeError(
                "system.width", got=width, expected=f"at least {need}",
                do="Widen the state, or use a linear lift and head.",
            )  # fmt: skip
        generator = generator or torch.Generator().manual_seed(0)
        self._spec: dict[str, Any] = {
            "kind": "dense", "features": features, "outputs": outputs, "depth": depth, "width": width,
            "hidden": hidden, "activation": activation, "lift": lift, "head": head, "row_norm": row_norm,
        }  # fmt: skip
        self.width, self.outputs, self.row_norm = width, outputs, row_norm
        self.features = features
        self.lifting = linear(features, width, generator) if lift == "linear" else None
        self.steps = nn.ModuleList(Branch(width, hidden, activation, generator) for _ in range(depth))
        self.reading = linear(width, outputs, generator) if head == "linear" else None
        self.constrain_()

    @property
    def depth(self) -> int:
        return len(self.steps)

    def _step(self, k: int) -> Branch:
        return cast(Branch, self.steps[k])

    def lift(self, x: Tensor) -> Tensor:
        if self.lifting is not None:
            return self.lifting(x)
        return F.pad(x, (0, self.width - self.features))

    def branch(self, k: int, x: Tensor) -> Tensor:
        return self._step(k)(x)

    @property
    def by_hand(self) -> bool:
        return super().by_hand and all(type(step) is Branch for step in self.steps)

    def field(self, steps: Sequence[int], stages: int, roles: Sequence[Role] | None = None) -> DenseField:
        roles = roles or by_role([self.control(k) for k in steps])
        return DenseField(roles, stages, self._spec["activation"])

    def skip(self, k: int, x: Tensor) -> Tensor:
        return x

    def is_identity(self, k: int) -> bool:
        return True

    def head(self, x: Tensor) -> Tensor:
        return self.reading(x) if self.reading is not None else x[..., : self.outputs]

    def group(self, k: int) -> list[nn.Parameter]:
        self.check_step(k)
        outer = self._step(k).outer
        return [outer.weight, outer.bias]

    def control(self, k: int) -> list[nn.Parameter]:
        self.check_step(k)
        return list(self.steps[k].parameters())

    def affine_readout(self) -> tuple[Tensor, Tensor]:
        if self.reading is not None:
            return self.reading.weight, self.reading.bias
        anchor = next(self.parameters(), torch.empty(0))
        return (
            torch.eye(self.outputs, self.width, dtype=anchor.dtype, device=anchor.device),
            torch.zeros(self.outputs, dtype=anchor.dtype, device=anchor.device),
        )

    @torch.no_grad()
    def constrain_(self) -> None:
        if not self.row_norm or not self.steps:
            return
        weights = [self._step(k).inner.weight for k in range(self.depth)]
        norms = torch.stack(weights).norm(dim=-1, keepdim=True).clamp_min_(1e-12).div_(self.row_norm)
        torch._foreach_div_(weights, norms.unbind())

    def release_(self) -> None:
        self.row_norm = self._spec["row_norm"] = 0.0

    def subsystem(self, steps: Sequence[int]) -> DenseSystem:
        for k in steps:
            self.check_step(k)
        spec = {k: v for k, v in self._spec.items() if k != "kind"} | {"depth": 0}
        small = DenseSystem(**spec)
        small._spec["depth"] = len(steps)
        small.lifting, small.reading = copy.deepcopy(self.lifting), copy.deepcopy(self.reading)
        small.steps = nn.ModuleList(copy.deepcopy(self.steps[k]) for k in steps)
        return small

    def insert(self, places: Sequence[int], generator: torch.Generator) -> DenseSystem:
        spec = {k: v for k, v in self._spec.items() if k != "kind"} | {"depth": len(places)}
        fresh = DenseSystem(**spec, generator=generator)
        large = self.subsystem(range(self.depth))
        for p, new in zip(sorted(places, reverse=True), fresh.steps, strict=True):
            large.steps.insert(p, new.to(next(self.parameters(), next(new.parameters()))))
        large._spec["depth"] = len(large.steps)
        return large

    def spec(self) -> dict[str, Any]:
        return dict(self._spec)


def linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """A lift or head: weights of variance 1 / inputs, no offsets at first."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(outputs, inputs, generator=generator) / math.sqrt(inputs))
        layer.bias.zero_()
    return layer
