"""Noise as a driver: one vector field, random increments.

With b_k of mean m and variance s^2, independent for every sample, channel or
unit, a step is x_{k+1} = x_k + h b_k F_k(x_k), or x_{k+1} = x_k + h F_k(x_k) + sqrt(h) b_k G_k(x_k) with m = 0; the
blocks of the network know nothing of it (theory: "Stochastic training as SDE", our derivation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from node_oc.discretization.driver import Diffusion, Driver
from node_oc.discretization.law import Gaussian, Law, TwoPoint
from node_oc.discretization.tableau import Tableau
from node_oc.errors import ConfigError
from node_oc.seeds import derived_seed
from node_oc.system.base import System
from node_oc.system.paired import PairedSystem

Per = Literal["sample", "channel", "unit"]


@dataclass(frozen=True)
class Source:
    """Where draws come from: a seed, and which samples of a whole batch these are.

    Attributes:
        seed: of all layers and stages.
        mirrored: whether these are the antithetic draws.
        rows: (first, stride, samples of the whole batch) where a batch is shared among devices; None for all of it.
    """

    seed: int
    mirrored: bool = False
    rows: tuple[int, int, int] | None = None

    @classmethod
    def of(cls, generator: torch.Generator, rows: tuple[int, int, int] | None = None) -> Source:
        """With a seed of this generator, which moves on."""
        return cls(int(torch.randint(2**62, (), generator=generator, device=generator.device)), rows=rows)

    def draw(self, law: Law, k: int, stage: int, shape: Sequence[int], like: Tensor) -> Tensor:
        """Draws of a law for one evaluation, for the rows that are here."""
        generator = torch.Generator(like.device).manual_seed(derived_seed(self.seed, k, stage))
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        if self.rows is None:
            return law.draw(shape, generator, dtype, self.mirrored).to(like.dtype)
        first, stride, samples = self.rows
        whole = law.draw((samples, *shape[1:]), generator, dtype, self.mirrored)
        return whole[first::stride].to(like.dtype)


@dataclass(frozen=True)
class Noise(Driver):
    """A noisy driver. It draws nothing before :meth:`drawn` has given it a generator.

    Make one with :func:`stochastic_depth`, :func:`branch_dropout`, :func:`two_point`, :func:`gaussian` or
    :func:`shake_shake`.

    Attributes:
        name: as used in the configuration.
        laws: of b_k: one for all steps, or one a step.
        per: what has a number of its own: every sample; every channel of it (dimension 1 of an image's state, the last
            one of a sequence's, so that all tokens share it); or every entry of its state.
        root: whether the noise enters as sqrt(h) b (then b has mean 0) or as h b.
        diffuses: what the noise multiplies; see :attr:`Driver.diffusion`.
        fresh: whether a step of several stages draws for every stage, or once.
        decays: whether the survival probability falls linearly with depth, from 1 before the first step to that of the
            law in the last one: p_k = 1 - (k+1)/N (1 - p) (Huang et al., arXiv 1603.09382).
        source: where draws come from.

    Raises:
        ConfigError: an unknown ``per`` or ``diffuses``, or a law of another mean than 0 where the noise is added to
            the step.
    """

    name: str
    laws: tuple[Law, ...]
    per: Per = "sample"
    root: bool = False
    diffuses: Diffusion = "branch"
    fresh: bool = False
    decays: bool = False
    source: Source | None = None

    def __post_init__(self) -> None:
        if self.per not in ("sample", "channel", "unit"):
            raise ConfigError(f"noise {self.name}: per", got=repr(self.per), expected="sample, channel or unit",
                              do="Say what has a number of its own.")  # fmt: skip
        if self.diffuses not in ("branch", "difference", "second"):
            raise ConfigError(f"noise {self.name}: diffuses", got=repr(self.diffuses),
                              expected="branch, difference or second", do="Say what is noisy.")  # fmt: skip
        if (self.root or self.diffuses != "branch") and any(abs(law.mean) > 1e-12 for law in self.laws):
            raise ConfigError(f"mean of noise {self.name}", got=[law.mean for law in self.laws][:4],
                              expected="0 where it is added to the step and not a factor of it",
                              do="Use a law of mean 0: TwoPoint.standard(p), or Gaussian(0, s).")  # fmt: skip

    @property
    def diffusion(self) -> Diffusion:
        return self.diffuses

    def law(self, k: int) -> Law:
        """The law of step k."""
        if self.decays:
            raise ConfigError(f"noise {self.name}", got="a survival probability that falls with an unknown depth",
                              expected="a driver on a system", do="Use noise.on(system).")  # fmt: skip
        return self.laws[k if len(self.laws) > 1 else 0]

    def mean(self, k: int) -> float:
        """Mean of what multiplies F_k in one unit of time: b̄ = mean(k) F_k."""
        return 1.0 if self.root or self.diffuses != "branch" else self.law(k).mean

    def deviation(self, k: int) -> float:
        """s of step k: the noise of an evaluation has the covariance (h s G)(h s G)^T, with sqrt(h) where ``root``.

        G is F_k, or what ``diffuses`` says: per sample one vector, per channel or unit one for each, zero elsewhere.
        """
        return math.sqrt(self.law(k).variance)

    def calculus(self, table: Tableau) -> Literal["ito", "stratonovich"]:
        """Which integral the weak limit has: Stratonovich where several stages share a draw (our derivation)."""
        return "stratonovich" if table.stages > 1 and not self.fresh else "ito"

    def thinning(self, table: Tableau) -> float:
        """What the covariance of the limit is multiplied by: sum_i b_i^2 where every stage has its own draw."""
        return sum(b * b for b in table.b) if self.fresh else 1.0

    def on(self, system: System) -> Noise:
        if self.diffuses != "branch" and not isinstance(system, PairedSystem):
            raise ConfigError(f"noise {self.name}", got=f"a {type(system).__name__}, whose steps have one branch",
                              expected="a system with two", do="Pair two systems: node_oc.PairedSystem(a, b), or "
                              "system.branches=2.")  # fmt: skip
        if self.diffuses == "difference" and isinstance(system, PairedSystem) and system.mean != (0.5, 0.5):
            raise ConfigError(f"noise {self.name}", got=f"a branch that is {system.mean} of the two",
                              expected="their mean", do="Pair them with mean=(0.5, 0.5).")  # fmt: skip
        if self.decays:
            steps = range(system.depth)
            return replace(self, laws=tuple(_survival(self.laws[0], (k + 1) / system.depth) for k in steps) or
                           self.laws, decays=False)  # fmt: skip
        if len(self.laws) not in (1, system.depth):
            raise ConfigError(f"noise {self.name}", got=f"{len(self.laws)} laws", expected=f"1 or {system.depth}",
                              do="Give one for all steps or one a step.")  # fmt: skip
        return self

    def drawn(self, generator: torch.Generator, rows: tuple[int, int, int] | None = None) -> Noise:
        """The same noise with draws. A generator of any device will do: a seed is all that is taken from it.

        Args:
            generator: where the seed comes from; it moves on, so that the next driver has other draws.
            rows: see :class:`Source`.
        """
        return replace(self, source=Source.of(generator, rows))

    def mirrored(self) -> Noise:
        """The antithetic draws of these ones."""
        source = self._drawn()
        return replace(self, source=replace(source, mirrored=not source.mirrored))

    def matched(self) -> Noise:
        """Gaussian noise of the same mean and variance, everything else alike."""
        laws = tuple(Gaussian(law.mean, math.sqrt(law.variance)) for law in self.laws)
        if self.decays:
            raise ConfigError(f"noise {self.name}", got="a survival probability that falls with depth",
                              expected="laws that are known", do="Use noise.on(system).matched().")  # fmt: skip
        return replace(self, name=f"{self.name}, Gaussian", laws=laws)

    def value(self, k: int, stage: int, x: Tensor) -> float | Tensor:
        """b of one evaluation, see :meth:`Driver.increment`: a number where its law has no variance."""
        law = self.law(k)
        if not law.variance:
            return law.mean
        return self._drawn().draw(law, k, stage if self.fresh else 0, shape_of(self.per, x), x)

    def increment(self, k: int, stage: int, h: float | Tensor, x: Tensor) -> float | Tensor:
        return increment_of(self, self.value(k, stage, x), h)

    def _drawn(self) -> Source:
        if self.source is None:
            raise ConfigError(f"noise {self.name}", got="no generator", expected="draws",
                              do="Use noise.drawn(generator).")  # fmt: skip
        return self.source


@dataclass(frozen=True)
class Mean(Driver):
    """Noise without its noise: every step takes the mean of its increments. Prediction "in the mean"."""

    noise: Noise

    def on(self, system: System) -> Mean:
        return replace(self, noise=self.noise.on(system))

    def increment(self, k: int, stage: int, h: float | Tensor, x: Tensor) -> float | Tensor:
        return self.noise.mean(k) * h


def increment_of(noise: Noise, value: float | Tensor, h: float | Tensor) -> float | Tensor:
    """What the diffusion is multiplied by where the draw has this value; see :attr:`Driver.diffusion`."""
    scaled = value * h**0.5 if noise.root else value * h
    return h + scaled if noise.root and noise.diffuses == "branch" else scaled


def shape_of(per: Per, x: Tensor) -> tuple[int, ...]:
    """Shape of the draws for a state (B, ...)."""
    if per == "unit":
        return tuple(x.shape)
    ones = [1] * (x.dim() - 1)
    if per == "channel" and ones:
        place = -1 if x.dim() == 3 else 0
        ones[place] = x.shape[1:][place]
    return (len(x), *ones)


def _survival(law: Law, share: float) -> Law:
    if not isinstance(law, TwoPoint):
        raise ConfigError("decay", got=law, expected="a survival probability", do="Leave it out.")
    p = 1 - share * (1 - law.p)
    return TwoPoint(1 / p if math.isclose(law.mean, 1) else 1.0, 0.0, p)
