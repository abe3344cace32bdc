"""Slices of the loss around a network along random directions that know the scale of its weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from node_oc.discretization.network import Network
from node_oc.errors import ConfigError, DataError
from node_oc.problem.ocp import Problem
from node_oc.seeds import derived_generator
from node_oc.trajectory.rollout import rollout

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Landscape:
    """J at w + a d_1, or at w + a d_1 + b d_2, w being the weights of a network.

    Attributes:
        places: the values of a, and of b: lengths in units of the norm that each filter has.
        values: J at them: one row in 1-D, and in 2-D a row for every b; inf or nan where it is.
        objective: J at w.
        seed: of the directions: the same one for all networks that are compared.
    """

    places: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]
    objective: float
    seed: int

    @property
    def dimensions(self) -> int:
        """1 or 2."""
        return 1 if len(self.values) == 1 else 2

    @property
    def rise(self) -> float:
        """Mean of J over the edge of the slice, less J at w: what a step of that length costs."""
        rows = self.values
        edge = [rows[0][0], rows[0][-1]] if len(rows) == 1 else [
            value for i, row in enumerate(rows) for j, value in enumerate(row)
            if i in (0, len(rows) - 1) or j in (0, len(row) - 1)
        ]  # fmt: skip
        return sum(edge) / len(edge) - self.objective

    @property
    def sentence(self) -> str:
        """How far J rises, and whether w is its least point here."""
        least = min(value for row in self.values for value in row)
        way = "falls" if self.rise < 0 else "rises"
        text = f"At {max(self.places):g} times the norm of the filters J {way} by {abs(self.rise):.3g} from "
        text += f"{self.objective:.4g}"
        return text + ("." if least >= self.objective else f"; it is lower somewhere on the slice, {least:.4g}.")

    def record(self) -> dict[str, Any]:
        """As JSON takes it: what :func:`node_oc.plots.landscape.landscape` draws."""
        return asdict(self)


def trained_parameters(network: Network) -> dict[str, Tensor]:
    """Lift, head and controls of the awake steps, by name: what a training of this network moves."""
    asleep = {id(p) for k in range(network.depth) if k not in network.awake for p in network.system.control(k)}
    asleep -= {id(p) for k in network.awake for p in network.system.control(k)}
    return {name: p for name, p in network.named_parameters() if id(p) not in asleep}


def filter_normalised(network: Network, seed: int, number: int = 0) -> dict[str, Tensor]:
    """A random direction whose filters have the norms of the network's own (Li et al., arXiv 1712.09913).

    A filter is one row of a weight matrix, or one output channel of a convolution. Biases, and the weights of
    normalisation layers, have the direction 0, as the authors do it. So the slice does not change where a ReLU branch
    has its inner weights times c and its outer ones over c, which changes no output.

    Args:
        network: whose weights they are; sleeping steps have the direction 0.
        seed: of the directions.
        number: 0, 1, ..: the first, the second one.

    Returns:
        One tensor for each of the :func:`trained_parameters`. It depends on seed, number, name and shape, and on the
        weights in its norms alone: networks of the same shape have the same direction.
    """
    way = {}
    for name, p in trained_parameters(network).items():
        if p.dim() < 2:
            way[name] = torch.zeros_like(p)
            continue
        d = torch.randn(p.shape, generator=derived_generator(seed, "landscape", number, name), dtype=torch.float64)
        d /= d.flatten(1).norm(dim=1).view(-1, *(1,) * (p.dim() - 1))
        way[name] = d.to(p) * p.detach().flatten(1).norm(dim=1).view(-1, *(1,) * (p.dim() - 1))
    return way


def loss_landscape(
    network: Network, problem: Problem, batches: Batches, *, dimensions: int = 1, radius: float = 1.0,
    points: int = 21, seed: int = 0, directions: Sequence[Mapping[str, Tensor]] | None = None,
) -> Landscape:  # fmt: skip
    """A slice of J on given data around a network, along one or two random directions, filter by filter.

    Networks of one shape, given the same seed, are cut along the same directions, each at its own scale. The price is
    left out of J; the rows of fixed norm that a price asks for are left where the slice puts them.

    Args:
        network: any network; it is not changed.
        problem: whose J it is; ``problem.terminal_only()`` for the loss of the output alone.
        batches: (x, target) pairs, each counting with its number of samples.
        dimensions: 1 or 2.
        radius: the slice goes from -radius to radius, in units of the norms of the filters.
        points: odd, on each axis: the middle one is the network.
        seed: of the directions.
        directions: others, by parameter name, in place of :func:`filter_normalised` ones.

    Raises:
        ConfigError: another number of dimensions, an even number of points, a radius that is not positive.
        DataError: no samples.
    """
    for wrong, name, got, expected in (
        (dimensions not in (1, 2), "dimensions", dimensions, "1 or 2"),
        (points < 3 or points % 2 == 0, "points", points, "an odd number, at least 3"),
        (not 0 < radius < float("inf"), "radius", radius, "a finite number > 0"),
        (directions is not None and len(directions) < dimensions, "directions", len(directions or ()),
         f"{dimensions} of them"),
    ):  # fmt: skip
        if wrong:
            raise ConfigError(name, got=got, expected=expected, do="Correct the number.")
    batches = list(batches)
    twin = copy.deepcopy(network).eval()
    ways = directions or [filter_normalised(twin, seed, number) for number in range(dimensions)]
    weights = trained_parameters(twin)
    start = {name: p.detach().clone() for name, p in weights.items()}
    places = tuple(radius * (2 * i / (points - 1) - 1) for i in range(points))

    @torch.no_grad()
    def at(*lengths: float) -> float:
        for name, p in weights.items():
            p.copy_(start[name])
            for length, way in zip(lengths, ways):
                if name in way:
                    p.add_(way[name].to(p), alpha=length)
        return mean_objective(twin, problem, batches)

    others = places if dimensions == 2 else (0.0,)
    values = tuple(tuple(at(a, b) if dimensions == 2 else at(a) for a in places) for b in others)
    return Landscape(places, values, values[len(others) // 2][points // 2], seed)


def mean_objective(network: Network, problem: Problem, batches: Batches) -> float:
    """J less its price, over all samples of the batches. Raises DataError where there are none."""
    total, samples = 0.0, 0
    with torch.no_grad():
        for x, target in batches:
            total += len(target) * float(problem.evaluate(rollout(network, x), target).smooth)
            samples += len(target)
    if not samples:
        raise DataError("batches", got="no samples", expected="at least one (x, target) pair",
                        do="A generator can be read once: make it anew.")  # fmt: skip
    return total / samples
