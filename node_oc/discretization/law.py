"""Laws of one random number: what a branch is multiplied by, or the noise beside it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from node_oc.errors import ConfigError

Atoms = tuple[tuple[float, ...], tuple[float, ...]]


class Law(ABC):
    """A law of one real number b, with the moments that a weak limit depends on."""

    @property
    @abstractmethod
    def mean(self) -> float:
        """E b."""

    @property
    @abstractmethod
    def variance(self) -> float:
        """E (b - E b)^2."""

    @property
    @abstractmethod
    def third(self) -> float:
        """E (b - E b)^3: 0 for a symmetric law."""

    @abstractmethod
    def draw(self, shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype, mirrored: bool) -> Tensor:
        """Independent draws, on the device of the generator.

        Args:
            shape: how many.
            generator: where they come from: the same state, the same bits.
            dtype: float32 or float64.
            mirrored: the antithetic draws: of the uniform numbers 1 - u where the others are of u.
        """

    @abstractmethod
    def atoms(self, degree: int) -> Atoms:
        """Values and weights whose weighted sums are the exact expectations of polynomials up to this degree."""


@dataclass(frozen=True)
class TwoPoint(Law):
    """``upper`` with probability p, ``lower`` otherwise: Bernoulli noise with any skew.

    Attributes:
        upper, lower: the two values.
        p: probability of the upper one, in (0, 1].

    Raises:
        ConfigError: a probability outside (0, 1], or values that are not finite.
    """

    upper: float
    lower: float
    p: float

    def __post_init__(self) -> None:
        if not 0 < self.p <= 1:
            raise ConfigError("probability", got=self.p, expected="a number in (0, 1]",
                              do="Give the share of the branches, or of their entries, that stays.")  # fmt: skip
        if not (math.isfinite(self.upper) and math.isfinite(self.lower)):
            raise ConfigError("values of a two-point law", got=f"{self.upper} and {self.lower}",
                              expected="finite numbers", do="Correct them.")  # fmt: skip

    @classmethod
    def standard(cls, p: float) -> TwoPoint:
        """Of mean 0 and variance 1; symmetric at p = 1/2, skewness (1 - 2p) / sqrt(p (1 - p)). Needs p < 1."""
        if not 0 < p < 1:
            raise ConfigError("probability of the upper value", got=p, expected="a number in (0, 1)",
                              do="1/2 is symmetric; the nearer to 0 or 1, the more skewed.")  # fmt: skip
        return cls(math.sqrt((1 - p) / p), -math.sqrt(p / (1 - p)), p)

    @property
    def mean(self) -> float:
        return self.p * self.upper + (1 - self.p) * self.lower

    @property
    def variance(self) -> float:
        return self.p * (1 - self.p) * (self.upper - self.lower) ** 2

    @property
    def third(self) -> float:
        return self.p * (1 - self.p) * (1 - 2 * self.p) * (self.upper - self.lower) ** 3

    def draw(self, shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype, mirrored: bool) -> Tensor:
        u = torch.rand(tuple(shape), generator=generator, dtype=dtype, device=generator.device)
        # The values themselves, and no sum of mean and deviation: a branch that is dropped is multiplied by 0.
        return torch.where(1 - u <= self.p if mirrored else u < self.p, self.upper, self.lower).to(dtype)

    def atoms(self, degree: int) -> Atoms:
        if self.p == 1:
            return (self.upper,), (1.0,)
        return (self.upper, self.lower), (self.p, 1 - self.p)


@dataclass(frozen=True)
class Gaussian(Law):
    """Normal numbers.

    Attributes:
        mean_, deviation: E b and its standard deviation.
    """

    mean_: float
    deviation: float

    @property
    def mean(self) -> float:
        return self.mean_

    @property
    def variance(self) -> float:
        return self.deviation**2

    @property
    def third(self) -> float:
        return 0.0

    def draw(self, shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype, mirrored: bool) -> Tensor:
        xi = torch.randn(tuple(shape), generator=generator, dtype=dtype, device=generator.device)
        return xi.mul_(-self.deviation if mirrored else self.deviation).add_(self.mean_)

    def atoms(self, degree: int) -> Atoms:
        nodes, weights = np.polynomial.hermite_e.hermegauss(degree // 2 + 1)
        return tuple((self.mean_ + self.deviation * nodes).tolist()), tuple((weights / weights.sum()).tolist())


@dataclass(frozen=True)
class Uniform(Law):
    """Uniform numbers in [low, high)."""

    low: float
    high: float

    @property
    def mean(self) -> float:
        return (self.low + self.high) / 2

    @property
    def variance(self) -> float:
        return (self.high - self.low) ** 2 / 12

    @property
    def third(self) -> float:
        return 0.0

    def draw(self, shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype, mirrored: bool) -> Tensor:
        u = torch.rand(tuple(shape), generator=generator, dtype=dtype, device=generator.device)
        return (1 - u if mirrored else u).mul_(self.high - self.low).add_(self.low)

    def atoms(self, degree: int) -> Atoms:
        nodes, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
        return tuple((self.mean + (self.high - self.low) / 2 * nodes).tolist()), tuple((weights / 2).tolist())
