"""Noise whose draws are given: for exact means over atoms, derivatives in the noise, and paths to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from node_oc.discretization.driver import Diffusion, Driver
from node_oc.discretization.network import Network
from node_oc.discretization.noise import Noise, increment_of
from node_oc.errors import ConfigError
from node_oc.system.base import System


@dataclass(frozen=True)
class Held(Driver):
    """A noisy driver with given values of b in place of draws.

    Attributes:
        noise: what the values are values of.
        values: b of each evaluation (k, stage), shaped as :func:`node_oc.discretization.noise.shape_of` says or
            broadcasting to it; stage 0 alone where a step draws once.
    """

    noise: Noise
    values: Mapping[tuple[int, int], float | Tensor]

    @property
    def diffusion(self) -> Diffusion:
        return self.noise.diffusion

    def on(self, system: System) -> Held:
        return replace(self, noise=self.noise.on(system))

    def increment(self, k: int, stage: int, h: float | Tensor, x: Tensor) -> float | Tensor:
        place = (k, stage if self.noise.fresh else 0)
        if place not in self.values:
            raise ConfigError(f"noise {self.noise.name}", got=f"no value for step {k}, stage {place[1]}",
                              expected="one for every evaluation", do="Add it to the values.")  # fmt: skip
        return increment_of(self.noise, self.values[place], h)


def places(network: Network, noise: Noise) -> Iterator[tuple[int, int]]:
    """The evaluations (k, stage) of the awake steps that have draws of their own."""
    for k in network.awake:
        yield from ((k, stage) for stage in range(network.table.stages if noise.fresh else 1))
