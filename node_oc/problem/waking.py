"""The first look at sleeping steps: would they pay? The optimality ratio with its own noise (our derivation)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from node_oc.discretization.network import Network
from node_oc.errors import ConfigError, DataError
from node_oc.problem.ocp import Problem
from node_oc.problem.optimality import group_gradients

BEYOND = 2.0  # errors by which a ratio has to exceed 1


@dataclass(frozen=True)
class Look:
    """What a sleeping step promises at first order.

    Attributes:
        step: k.
        squared: unbiased estimate of the squared norm of the gradient of the smooth part of J in the zero group; it
            can be negative.
        error: its standard error, rather too large than too small.
        price: lambda h_k.
    """

    step: int
    squared: float
    error: float
    price: float

    @property
    def ratio(self) -> float:
        """Estimated optimality ratio, 0 where the estimate of its square is negative."""
        return math.sqrt(max(0.0, self.squared)) / self.price

    @property
    def pays(self) -> bool:
        """Whether the ratio is above 1 beyond its error: the squared norm less two errors exceeds the squared price."""
        return self.squared - BEYOND * self.error > self.price**2


def look(
    network: Network, problem: Problem, chunks: Iterable[tuple[Tensor, Tensor]], steps: Sequence[int], price: float,
    population: int | None = None,
) -> list[Look]:  # fmt: skip
    """Look at sleeping steps: whose weights would gain more than a price, beyond the noise of the samples?

    The squared norm of a subsampled gradient is too large by tr Cov / n, so that with few samples everything seems
    to pay. Products of the gradients of *different* chunks have no such bias: their mean estimates the squared norm,
    and leaving one chunk out at a time gives its standard error (jackknife: too large, by up to a half, where
    noise is all there is; our derivation).

    J is the mean over the training samples, and a network that was trained on them has gradients that cancel between
    their chunks. So with ``population`` the chunks count as drawn without replacement from so many samples: tr Cov /
    population is added back, and the error shrinks by sqrt(1 - n/population). If they are all of the samples the
    estimate is exact.

    Args:
        network: at averaged parameters, or the noise of the last iterate is mistaken for promise.
        problem: whose smooth part is differentiated.
        chunks: disjoint (x, target) pairs, equally large, at least three.
        steps: sleeping steps; their groups are zero, their inner weights what they are.
        price: lambda > 0, of a layer.
        population: samples that the chunks are drawn from; None where they are fresh ones.

    Raises:
        ConfigError: a price that is not positive, or a step that is awake.
        DataError: fewer than three chunks, unequal ones, or more samples than the population has.
    """
    if not price > 0:
        raise ConfigError("price of a layer", got=price, expected="a positive number",
                          do="A ratio needs something to be a ratio to.")  # fmt: skip
    steps = list(steps)
    if awake := sorted(set(steps) & set(network.awake)):
        raise ConfigError("steps to look at", got=f"{awake}, which are awake", expected="sleeping steps",
                          do="Only a zero group promises what its gradient says.")  # fmt: skip
    if not steps:
        return []
    gradients, samples, sizes = [], 0, set()
    for x, target in chunks:
        sizes.add(len(x))
        if len(sizes) > 1:
            raise DataError("chunks", got=f"of {sorted(sizes)} samples", expected="equally large ones",
                            do="Leave the remainder out.")  # fmt: skip
        gradients.append(group_gradients(network, problem, [(x, target)], steps))
        samples += len(x)
    n, drawn = len(gradients), 0.0 if population is None else samples / population
    if drawn > 1:
        raise DataError("chunks", got=f"{samples} samples", expected=f"at most {population}",
                        do="Give the size of the set that they are drawn from.")  # fmt: skip
    if n < 3:
        raise DataError("chunks", got=f"{n}", expected="at least three", do="Cut the samples into smaller chunks.")
    looks = []
    for i, k in enumerate(steps):
        g = torch.stack([torch.cat([p.flatten() for p in chunk[i]]) for chunk in gradients]).double()
        gram = g @ g.T
        gram.fill_diagonal_(0.0)
        spread = float(g.sub(g.mean(0)).square().sum()) / (n - 1)  # of the gradient of one chunk
        pairs, rows = gram.sum(), gram.sum(1)
        without = (pairs - 2 * rows) / ((n - 1) * (n - 2))
        error = math.sqrt((n - 1) / n * float((without - without.mean()).square().sum()))
        squared = float(pairs) / (n * (n - 1)) + drawn * spread / n
        looks.append(Look(k, squared, error * math.sqrt(1 - drawn), price * network.h[k]))
    return looks
