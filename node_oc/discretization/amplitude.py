"""Noise with an amplitude in front: what its derivatives at amplitude 0 are taken of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from node_oc.discretization.driver import Diffusion, Driver
from node_oc.discretization.law import TwoPoint
from node_oc.discretization.noise import Noise, increment_of
from node_oc.system.base import System


@dataclass(frozen=True)
class Amplified(Driver):
    """Noise around its mean, e times as large: the increment is mean + e (draw - mean).

    Attributes:
        noise: with draws.
        amplitude: e: 1 is the noise itself, 0 its mean, -1 another antithetic one (of any law). A number, a scalar
            tensor, or a tensor (N,) with one for each layer. Autograd finds its gradient on the general path alone:
            ``rollout(.., analytic=False)``.
    """

    noise: Noise
    amplitude: float | Tensor = 1.0

    @property
    def diffusion(self) -> Diffusion:
        return self.noise.diffusion

    def on(self, system: System) -> Amplified:
        return replace(self, noise=self.noise.on(system))

    def increment(self, k: int, stage: int, h: float | Tensor, x: Tensor) -> float | Tensor:
        mean = increment_of(self.noise, self.noise.law(k).mean, h)
        if not self.noise.law(k).variance:
            return mean
        deviation = self.noise.increment(k, stage, h, x) - mean
        layered = isinstance(self.amplitude, Tensor) and self.amplitude.dim()
        e = self.amplitude[k] if layered else self.amplitude  # type: ignore[index]
        return mean + e * deviation


@dataclass(frozen=True)
class Deviated(Driver):
    """No draws: every number b of the noise is its mean, plus its standard deviation times a coordinate of its own.

    Attributes:
        noise: whose means and deviations these are; it needs no draws.
        coordinates: of each layer (s, ...): for each draw of a step (one, or one a stage where the noise is ``fresh``),
            and each channel or unit; all samples share them.
    """

    noise: Noise
    coordinates: Sequence[Tensor]

    @property
    def diffusion(self) -> Diffusion:
        return self.noise.diffusion

    def on(self, system: System) -> Deviated:
        return replace(self, noise=self.noise.on(system))

    def increment(self, k: int, stage: int, h: float | Tensor, x: Tensor) -> float | Tensor:
        law = self.noise.law(k)
        coordinate = self.coordinates[k][stage if self.noise.fresh else 0]
        return increment_of(self.noise, law.mean + math.sqrt(law.variance) * coordinate, h)


def with_signs(noise: Noise) -> Noise:
    """The same mean and covariance with random signs for draws: Hutchinson's probes, of least variance.

    Args:
        noise: on its system, see :meth:`Noise.on`.
    """
    signs = tuple(
        TwoPoint(law.mean + math.sqrt(law.variance), law.mean - math.sqrt(law.variance), 0.5) for law in noise.laws
    )
    return replace(noise, name=f"{noise.name}, signs", laws=signs)
