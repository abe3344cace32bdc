"""The Hamiltonian of one step as a function of its group: its subdifferential and its least value, in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class GroupHamiltonian:
    """G . u + energy ||u||^2 + price ||u||: Ham_k / h_k as a function of the group u, less a constant.

    So it is with one stage a step and a branch that is linear in its group (our derivation). Stationarity needs
    the slope at u alone, so it holds for any branch.

    Attributes:
        slope: G, (n,): gradient in the group of gamma l + p_{k+1} . x_{k+1} / h_k, at the group that the step has.
        energy: weight of ||u||^2, at least 0.
        price: lambda, at least 0.
    """

    slope: Tensor
    energy: float
    price: float

    def ratio(self, u: Tensor) -> float:
        """||G + 2 energy u|| / lambda, the optimality ratio; without a price inf, or 0 where that slope is 0."""
        norm = float((self.slope + 2 * self.energy * u).norm())
        return norm / self.price if self.price else math.inf if norm else 0.0

    @cached_property
    def over(self) -> float:
        """max(0, ||G|| - lambda): how steeply the function falls from u = 0; exactly 0 for a ratio there up to 1."""
        if not self.price:
            return float(self.slope.norm())
        return max(0.0, self.ratio(torch.zeros_like(self.slope)) - 1) * self.price

    def value(self, u: Tensor) -> float:
        """G . u + energy ||u||^2 + price ||u||."""
        norm = float(u.norm())
        return float(self.slope @ u) + self.energy * norm**2 + self.price * norm

    def stationarity(self, u: Tensor) -> float:
        """Distance of 0 to the subdifferential at u."""
        norm = u.norm()
        if norm == 0:
            return self.over
        return float((self.slope + (2 * self.energy + self.price / norm) * u).norm())

    @property
    def least(self) -> float:
        """The least value: -max(0, ||G|| - lambda)^2 / (4 energy); without energy 0, or -inf."""
        if not self.over:
            return 0.0
        return -(self.over**2) / (4 * self.energy) if self.energy else -math.inf

    @property
    def minimiser(self) -> Tensor | None:
        """Where it is least: -max(0, ||G|| - lambda) / (2 energy) G / ||G||; None where nothing is."""
        if not self.over:
            return torch.zeros_like(self.slope)
        return -self.over / (2 * self.energy) * self.slope / self.slope.norm() if self.energy else None

    def gap(self, u: Tensor) -> float:
        """Value at u less the least one, at least 0; inf where there is none."""
        return max(0.0, self.value(u) - self.least)
