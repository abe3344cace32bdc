"""The difference of two means, of a noisy network and of an SDE, by Monte Carlo."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from node_oc.diagnosis.moments import Functional
from node_oc.diagnosis.paths import Paths
from node_oc.diagnosis.sampling import Estimate, estimate, variate
from node_oc.discretization.held import Held, places
from node_oc.discretization.limit import LimitSDE
from node_oc.discretization.network import Network
from node_oc.discretization.noise import Noise, shape_of
from node_oc.seeds import derived_generator
from node_oc.trajectory.rollout import rollout

SHARE = 16  # the network has so many times more samples: they are cheap, and of skewed draws more is left


@dataclass(frozen=True)
class Sampling:
    """How means are sampled.

    Attributes:
        paths: how the SDE is solved.
        pieces: its steps in one step of the network.
        pairs: of draws and their mirrored ones, for each input, of the SDE; of the network 16 times as many.
        seed: of all draws.
        level: a number that tells these draws from others of the same seed.
    """

    paths: Paths
    pieces: int
    pairs: int
    seed: int
    level: int = 0


def sampled(
    network: Network, noise: Noise, sde: LimitSDE, functional: Functional, x: Tensor, how: Sampling
) -> tuple[float, float, float]:
    """E phi(x_N) - E phi(X(T)), its standard error, and how much it changed when the step of the solver was halved.

    Args:
        network: the noisy one, float64.
        noise: on its system.
        sde: what it is compared with.
        functional: phi.
        x: inputs (B, features); the means are over them too.
        how: see :class:`Sampling`.
    """
    ours = [_network(network, noise, functional, x[i : i + 1], how, i) for i in range(len(x))]
    theirs = [_sde(sde, functional, x[i : i + 1], how, i) for i in range(len(x))]
    error = sum(a.mean - b.mean for a, (b, _) in zip(ours, theirs, strict=True)) / len(x)
    square = sum(a.error**2 + b.error**2 for a, (b, _) in zip(ours, theirs, strict=True))
    return error, math.sqrt(square) / len(x), sum(change for _, change in theirs) / len(x)


def _network(network: Network, noise: Noise, functional: Functional, x: Tensor, how: Sampling, i: int) -> Estimate:
    state = network.given(x).system.lift(x)
    one = shape_of(noise.per, state)[1:]
    size = math.prod(one)
    drawn = [(k, stage) for k, stage in places(network, noise) if noise.law(k).variance]
    fixed: dict[tuple[int, int], float | Tensor] = {(k, stage): noise.law(k).mean
                                                    for k, stage in places(network, noise)}  # fmt: skip

    def outcome(z: Tensor) -> Tensor:
        values = {place: noise.law(place[0]).mean + part.unflatten(1, one)
                  for place, part in zip(drawn, z.split(size, 1), strict=True)}  # fmt: skip
        held = Held(noise, {**fixed, **values})
        return functional(rollout(network, x.expand(len(z), *x.shape[1:]), driver=held, analytic=False).last)

    def draw(chunk: int, samples: int) -> tuple[Tensor, Tensor]:
        like = state.expand(samples, *state.shape[1:])
        first = noise.drawn(derived_generator(how.seed, "network", how.level, i, chunk))

        def numbers(each: Noise) -> Tensor:
            parts = [torch.as_tensor(each.value(k, stage, like)).flatten(1) - noise.law(k).mean for k, stage in drawn]
            return torch.cat(parts, 1)

        return numbers(first), numbers(first.mirrored())

    variance = torch.tensor([noise.law(k).variance for k, _ in drawn], dtype=torch.float64).repeat_interleave(size)
    if not drawn:
        with torch.no_grad():
            return Estimate(float(outcome(torch.zeros(1, 0, dtype=torch.float64))), 0.0)
    return estimate(outcome, variate(outcome, variance).of, draw, SHARE * how.pairs)[0]


def _sde(sde: LimitSDE, functional: Functional, x: Tensor, how: Sampling, i: int) -> tuple[Estimate, float]:
    """E phi(X(T)), and how much it changed when the step was halved, on the same Brownian paths.

    The control variate is that of the longer steps: it has mean 0 all the same, and the mirrored paths take care of
    what is linear in the difference.
    """
    state = sde.network.given(x).system.lift(x)
    motions = math.prod(shape_of(sde.noise.per, state)[1:])
    shape = (len(sde.network.awake), how.pieces, how.paths.numbers, motions)
    half = (shape[0], how.pieces // 2, *shape[2:])

    def outcome(z: Tensor) -> Tensor:
        starts = state.repeat(len(z), *(1 for _ in state.shape[1:]))
        return functional(how.paths.end(sde, starts, z.unflatten(1, half if z.shape[1] == math.prod(half) else shape)))

    def coarse(z: Tensor) -> Tensor:
        return how.paths.coarse(z.unflatten(1, shape)).flatten(1)

    def draw(chunk: int, samples: int) -> tuple[Tensor, Tensor]:
        g = derived_generator(how.seed, "sde", how.level, i, chunk)
        z = torch.randn(samples, math.prod(shape), generator=g, dtype=torch.float64)
        return z, -z

    def coarsely(chunk: int, samples: int) -> tuple[Tensor, Tensor]:
        z = coarse(draw(chunk, samples)[0])
        return z, -z

    c = variate(outcome, torch.ones(math.prod(half), dtype=torch.float64))
    fine, values = estimate(outcome, lambda z: c.of(coarse(z)), draw, how.pairs)
    return fine, abs(float((values - estimate(outcome, c.of, coarsely, how.pairs)[1]).mean()))
