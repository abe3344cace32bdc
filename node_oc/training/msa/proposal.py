"""What minimises the Hamiltonian of a layer over its discrete weights, near those that it has."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from node_oc.errors import ConfigError
from node_oc.system.discrete.layers import SETS


class Proposal(ABC):
    """The exact minimiser over one set of values, entry by entry.

    The Hamiltonian is affine in each weight, so its minimum over a set is found by looking at the slope alone. In our
    sign, p = +dJ/dx, the slope is G = d/dW sum(p . f(x, W)); arXiv 1803.01299 maximises with M = -G.
    """

    @property
    @abstractmethod
    def values(self) -> tuple[int, ...]:
        """The set."""

    def least(self, tau: float) -> float:
        """Where no weight that has not the sign of -G has a slope of at least this one, nothing changes."""
        return tau

    @abstractmethod
    def cost(self, value: Tensor, weight: Tensor, slope: Tensor, tau: float) -> Tensor:
        """What is minimised over ``value``, for each weight: the Hamiltonian's slope, and the price of a change.

        Args:
            value: a candidate w of each weight.
            weight: the weights W that there are.
            slope: moving average of G.
            tau: inertia, at least 0.
        """

    @abstractmethod
    def update_(self, weight: Tensor, slope: Tensor, tau: float) -> None:
        """Replace the weights by the minimiser of ``cost``, in place.

        Args:
            weight: the weights W that there are, floats in the set.
            slope: moving average of G, of the same shape.
            tau: inertia, at least 0.
        """


class Binary(Proposal):
    """argmin over {-1, 1} of G w + (tau/2) (w - W)^2; ties keep W (code: sign(-G) where abs(G) > tau)."""

    values = SETS["binary"]

    def cost(self, value: Tensor, weight: Tensor, slope: Tensor, tau: float) -> Tensor:
        return slope * value + 0.5 * tau * (value - weight).square()

    @torch.no_grad()
    def update_(self, weight: Tensor, slope: Tensor, tau: float) -> None:
        # W changes where it has the sign of G and abs(G) > tau, that is, where G W > tau; no mask, which would be slow.
        flipped = slope * weight
        weight.addcmul_(torch.gt(flipped, tau, out=flipped), weight, value=-2)


class Ternary(Proposal):
    """argmin over {-1, 0, 1} of G w + sparsity w^2 + tau (w - W)^2; ties go to 0 (code, with M = -G).

    Args:
        sparsity: lambda >= 0, the price of a weight that is not zero.

    Raises:
        ConfigError: a price below 0.
    """

    values = SETS["ternary"]

    def __init__(self, sparsity: float = 0.0) -> None:
        if not sparsity >= 0:
            raise ConfigError("sparsity", got=sparsity, expected="a number >= 0", do="Correct the price.")
        self.sparsity = sparsity

    def least(self, tau: float) -> float:
        return tau - self.sparsity  # a weight that is priced may leave for 0 earlier

    def cost(self, value: Tensor, weight: Tensor, slope: Tensor, tau: float) -> Tensor:
        return slope * value + self.sparsity * value.square() + tau * (value - weight).square()

    @torch.no_grad()
    def update_(self, weight: Tensor, slope: Tensor, tau: float) -> None:
        # +1 if M > tau (1 - 2W) + lambda and -1 if M < -tau (1 + 2W) - lambda, that is, with a = 2 tau W - G, the sign
        # of a where abs(a) > tau + lambda, and 0 elsewhere.
        weight.mul_(2 * tau).sub_(slope)
        torch.hardshrink(weight, tau + self.sparsity, out=weight).sign_()


def proposal_of(values: str, sparsity: float, where: str) -> Proposal:
    """The rule for a set of values.

    Args:
        values: name of the set.
        sparsity: price of a weight that is not zero, of the ternary rule.
        where: names the layer, for the message.

    Raises:
        ConfigError: a set without a rule.
    """
    if values == "binary":
        return Binary()
    if values == "ternary":
        return Ternary(sparsity)
    raise ConfigError(f"weights of {where}", got=f"the set {values!r}, without a rule that minimises the Hamiltonian",
                      expected="binary or ternary weights", do="Write a Proposal for the set.")  # fmt: skip
