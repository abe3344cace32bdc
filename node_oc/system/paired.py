"""Two branches a step: for shake-shake, or a drift with a diffusion of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from node_oc.errors import ConfigError
from node_oc.system.base import System
from node_oc.system.conv import ConvSystem
from node_oc.system.dense import DenseSystem

Known = DenseSystem | ConvSystem


class PairedSystem(System):
    """Two branches F1, F2 in every step, of which the branch is a mean: F = a F1 + b F2.

    The second system gives its branches alone; lift, skips and head are those of the first. ``mean=(0.5, 0.5)`` is a
    residual network of two branches, for :func:`node_oc.shake_shake`. With ``mean=(1, 0)`` the first branch is a drift
    and the second a diffusion, which noise reaches alone: ``two_point(diffuses="second")``.

    Args:
        first: the dense or convolutional system whose lift, skips and head these are.
        second: one of the same kind, state and depth. It is taken over: its lift, projections and head are removed.
        mean: (a, b).

    Raises:
        ConfigError: systems of different kinds, depths or states, or of a kind that cannot be paired.
    """

    def __init__(self, first: System, second: System, *, mean: Sequence[float] = (0.5, 0.5)) -> None:
        super().__init__()
        kinds = type(first).__name__, type(second).__name__
        if kinds[0] != kinds[1] or not isinstance(first, Known) or not isinstance(second, Known):
            raise ConfigError("paired systems", got=f"{kinds[0]} and {kinds[1]}",
                              expected="two DenseSystems or two ConvSystems", do="Pair those of one kind.")  # fmt: skip
        if len(mean) != 2 or first is second:
            raise ConfigError("paired systems", got="one system twice" if first is second else f"mean {tuple(mean)}",
                              expected="two systems and two weights", do="Correct them.")  # fmt: skip
        if (a := _state(first)) != (b := _state(second)):
            raise ConfigError("states of the paired systems", got=f"{a} and {b}", expected="the same",
                              do="Give them the same depth, and the same width or stages.")  # fmt: skip
        self.first, self.second = first, second
        self.mean = (float(mean[0]), float(mean[1]))
        second.lifting = None  # its branches alone are part of this system
        second.reading = None
        if isinstance(second, ConvSystem):
            second.projections = nn.ModuleList()

    @property
    def depth(self) -> int:
        return self.first.depth

    def pair(self, k: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """F1 and F2 of step k at a state that is behind its skip."""
        return cast(tuple[Tensor, Tensor], (self.first.steps[k](x), self.second.steps[k](x)))

    def blend(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        """The branch, of its two parts."""
        a, b = self.mean
        return a * pair[0] + b * pair[1] if b else a * pair[0]

    def lift(self, x: Tensor) -> Tensor:
        return self.first.lift(x)

    def branch(self, k: int, x: Tensor) -> Tensor:
        return self.blend(self.pair(k, self.skip(k, x)))

    def split(self, k: int, c: float, x: Tensor) -> tuple[Tensor, Tensor]:
        behind = self.skip(k, x)
        return behind, self.blend(self.pair(k, behind))

    def skip(self, k: int, x: Tensor) -> Tensor:
        return self.first.skip(k, x)

    def is_identity(self, k: int) -> bool:
        return self.first.is_identity(k)

    def head(self, x: Tensor) -> Tensor:
        return self.first.head(x)

    def group(self, k: int) -> list[nn.Parameter]:
        return [*self.first.group(k), *self.second.group(k)]

    def control(self, k: int) -> list[nn.Parameter]:
        return [*self.first.control(k), *self.second.control(k)]

    def affine_readout(self) -> tuple[Tensor, Tensor]:
        return self.first.affine_readout()

    def constrain_(self) -> None:
        self.first.constrain_()
        self.second.constrain_()

    def release_(self) -> None:
        self.first.release_()
        self.second.release_()

    def subsystem(self, steps: Sequence[int]) -> PairedSystem:
        return PairedSystem(self.first.subsystem(steps), self.second.subsystem(steps), mean=self.mean)

    def insert(self, places: Sequence[int], generator: torch.Generator) -> PairedSystem:
        return PairedSystem(*(each.insert(places, generator) for each in (self.first, self.second)), mean=self.mean)

    def spec(self) -> dict[str, Any]:
        return {"kind": "paired", "first": self.first.spec(), "second": self.second.spec(), "mean": list(self.mean)}


def paired_from(first: dict[str, Any], second: dict[str, Any], mean: Sequence[float]) -> PairedSystem:
    """The paired system of a description, with fresh weights. Raises KeyError on kinds that cannot be paired."""
    kinds = {"dense": DenseSystem, "conv": ConvSystem}
    made = [kinds[spec["kind"]](**{key: value for key, value in spec.items() if key != "kind"})
            for spec in (first, second)]  # fmt: skip
    return PairedSystem(*made, mean=mean)


def _state(system: Known) -> tuple[Any, ...]:
    """What two systems must share: the shape of the state at every step."""
    if isinstance(system, DenseSystem):
        return system.width, system.depth
    return tuple(system.spec()["channels"]), system.stage
