"""The residual system of discrete weights: constant width, identity skips, so that steps can be priced and cropped."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from node_oc.errors import ConfigError
from node_oc.system.base import System
from node_oc.system.dense import linear
from node_oc.system.discrete.chain import NORM
from node_oc.system.discrete.layers import DiscreteLayer, DiscreteLinear, check_set

SMALL = 0.1  # initial gain of a branch, as of the dense system


class DiscreteBranch(nn.Module):
    """F(x) = bn(W_out relu(bn(W_in x))), W discrete; the group of the step is the last norm's gain and offset."""

    def __init__(self, width: int, hidden: int, values: str, generator: torch.Generator) -> None:
        super().__init__()
        self.inner = DiscreteLinear(width, hidden, values, generator=generator)
        self.inner_norm = nn.BatchNorm1d(hidden, **NORM)  # type: ignore[arg-type]
        self.outer = DiscreteLinear(hidden, width, values, generator=generator)
        self.outer_norm = nn.BatchNorm1d(width, **NORM)  # type: ignore[arg-type]
        nn.init.constant_(self.outer_norm.weight, SMALL)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer_norm(self.outer(F.relu(self.inner_norm(self.inner(x)))))


class DiscreteResidualSystem(System):
    """Residual network of constant width whose branches have discrete weights; lift and head are real and affine.

    x_{k+1} = x_k + h_k F_k(x_k) with F_k(x) = bn(W_out relu(bn(W_in x))): skips are the identity, so there are readouts
    and stage costs, and a step whose group is zero is exactly nothing and can be cropped. The group is the last batch
    norm's gain and offset. A norm stands before it, so it needs no fixed rows: the price of a step cannot be evaded by
    weights before it that grow (our derivation).

    ``control(k)`` is the real part of u_k, gains and offsets of both norms; ``discrete(k)`` are the two layers whose
    weights are taken from the set. Control energy counts the real part alone.

    Args:
        features: number of inputs.
        outputs: size K of a readout.
        depth: number of residual steps N.
        width: state size D.
        hidden: width of a branch.
        values: "binary", {-1, 1}, or "ternary", {-1, 0, 1}.
        generator: where the initial weights come from, the discrete ones uniform on the set; a generator seeded with 0
            if None.

    Raises:
        ConfigError: a set that is not known, or a size below 1.
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        *,
        depth: int = 8,
        width: int = 128,
        hidden: int = 128,
        values: str = "ternary",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_set(values)
        if depth < 0 or width < 1 or hidden < 1:
            raise ConfigError("sizes", got=f"depth {depth}, width {width}, hidden {hidden}",
                              expected="depth >= 0, width and hidden >= 1", do="Correct the numbers.")  # fmt: skip
        generator = generator or torch.Generator().manual_seed(0)
        self._spec: dict[str, Any] = {
            "kind": "discrete_residual", "features": features, "outputs": outputs, "depth": depth, "width": width,
            "hidden": hidden, "values": values,
        }  # fmt: skip
        self.lifting = linear(features, width, generator)
        self.steps = nn.ModuleList(DiscreteBranch(width, hidden, values, generator) for _ in range(depth))
        self.reading = linear(width, outputs, generator)

    @property
    def depth(self) -> int:
        return len(self.steps)

    @property
    def coupled(self) -> bool:
        return self.depth > 0

    def lift(self, x: Tensor) -> Tensor:
        return self.lifting(x)

    def branch(self, k: int, x: Tensor) -> Tensor:
        return self.steps[k](x)

    def skip(self, k: int, x: Tensor) -> Tensor:
        return x

    def is_identity(self, k: int) -> bool:
        return True

    def head(self, x: Tensor) -> Tensor:
        return self.reading(x)

    def group(self, k: int) -> list[nn.Parameter]:
        self.check_step(k)
        return list(self._step(k).outer_norm.parameters())

    def control(self, k: int) -> list[nn.Parameter]:
        self.check_step(k)
        return list(self.steps[k].parameters())

    def discrete(self, k: int) -> list[DiscreteLayer]:
        self.check_step(k)
        return [self._step(k).inner, self._step(k).outer]

    def affine_readout(self) -> tuple[Tensor, Tensor]:
        return self.reading.weight, self.reading.bias

    def constrain_(self) -> None:
        """Nothing: a batch norm stands before every group."""

    def release_(self) -> None:
        """Nothing is constrained."""

    def subsystem(self, steps: Sequence[int]) -> DiscreteResidualSystem:
        for k in steps:
            self.check_step(k)
        small = DiscreteResidualSystem(**{k: v for k, v in self._spec.items() if k != "kind"} | {"depth": 0})
        small._spec["depth"] = len(steps)
        small.lifting, small.reading = copy.deepcopy(self.lifting), copy.deepcopy(self.reading)
        small.steps = nn.ModuleList(copy.deepcopy(self.steps[k]) for k in steps)
        return small.train(self.training)

    def insert(self, places: Sequence[int], generator: torch.Generator) -> DiscreteResidualSystem:
        large = self.subsystem(range(self.depth))
        size = self._spec["width"], self._spec["hidden"], self._spec["values"]
        fresh = [DiscreteBranch(*size, generator).to(self.reading.weight).train(self.training) for _ in places]
        for p, new in zip(sorted(places, reverse=True), fresh, strict=True):
            large.steps.insert(p, new)
        large._spec["depth"] = len(large.steps)
        return large

    def spec(self) -> dict[str, Any]:
        return dict(self._spec)

    def _step(self, k: int) -> DiscreteBranch:
        return cast(DiscreteBranch, self.steps[k])
