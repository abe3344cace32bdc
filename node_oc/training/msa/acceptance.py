"""How far a proposal is followed: slopes averaged over updates, and inertia against changes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from node_oc.errors import ConfigError

START = 1e-6  # moving averages start uniform on +-1e-6 (code)


@dataclass(frozen=True)
class MovingAverage:
    """Mean of the slopes G of all updates so far, G_bar <- G_bar + (1 - alpha) (G - G_bar).

    1 - alpha is what is kept, never alpha: 1 - 1e-9 is 1 in float32. After each epoch it is multiplied by ``decay``
    (code), so it is a function of the update alone, and a resumed training has it to the bit.

    Attributes:
        forget: 1 - alpha of the first epoch.
        decay: d, its factor from epoch to epoch.
        epoch: updates in one pass over the samples.

    Raises:
        ConfigError: a number out of its range.
    """

    forget: float = 1e-3
    decay: float = 0.95
    epoch: int = 1

    def __post_init__(self) -> None:
        if not (0 < self.forget <= 1 and 0 < self.decay <= 1 and self.epoch >= 1):
            raise ConfigError("moving average", got=f"forget {self.forget}, decay {self.decay}, epoch {self.epoch}",
                              expected="0 < forget <= 1, 0 < decay <= 1, epoch >= 1", do="Correct it.")  # fmt: skip

    def rate(self, update: int) -> float:
        """1 - alpha of an update, in float64."""
        return self.forget * self.decay ** (update // self.epoch)

    @staticmethod
    def start(like: Tensor, generator: torch.Generator) -> Tensor:
        """Averages before the first update, uniform on +-1e-6."""
        noise = torch.rand(like.shape, generator=generator, dtype=like.dtype)
        return noise.mul_(2 * START).sub_(START).to(like.device)

    def update_(self, mean: Tensor, slope: Tensor, update: int) -> None:
        """Move the average towards the slope of this update, in place."""
        mean.lerp_(slope, self.rate(update))


@dataclass(frozen=True)
class Inertia:
    """tau = rho times the largest mean slope among the weights that do not have the sign of -G_bar (code).

    Those are the weights that the Hamiltonian alone would change: of them, the rule changes the ones with a slope over
    tau. tau is 0 where there are none.

    Attributes:
        rho: in [0, 1]: 0 follows every proposal.

    Raises:
        ConfigError: rho outside of [0, 1].
    """

    rho: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.rho <= 1:
            raise ConfigError("msa_rho", got=self.rho, expected="a number in [0, 1]", do="Correct it.")

    @staticmethod
    def largest(weight: Tensor, slope: Tensor, zeros: bool = True) -> Tensor:
        """max{abs(G_bar) : W has not the sign of -G_bar} of each row; 0 or less where there are none.

        Not a finite number where a slope is not.

        Args:
            weight: W, floats in the set, (.., n).
            slope: G_bar, (.., n).
            zeros: whether 0 is in the set.
        """
        # Where W != 0 that is the product G W, where W = 0 it is abs(G): no masks, which are slow on a CPU.
        product = slope * weight
        top = product.amax(-1)
        if zeros:
            return torch.maximum(top, torch.addcmul(slope, product, weight, value=-1, out=product).abs_().amax(-1))
        return top.add_(product.amin(), alpha=0)  # 0, or nan where a slope is infinite that has not been seen yet
