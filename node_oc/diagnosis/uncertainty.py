"""Prediction by Monte Carlo: many noisy passes, their mean, and how far they disagree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from node_oc.data.split import Task, onto
from node_oc.diagnosis.loss import VALUES
from node_oc.discretization.driver import Driver
from node_oc.discretization.network import Network, evaluating
from node_oc.discretization.noise import Noise
from node_oc.discretization.rows import RowNoise
from node_oc.errors import ConfigError
from node_oc.seeds import derived_seed

CHUNK = 1024


@dataclass(frozen=True)
class Predictive:
    """What S noisy passes say of every sample, n of them.

    Attributes:
        samples: S.
        mean: mean probabilities (n, K); mean outputs in regression.
        deviation: standard deviation over the passes of the same, (n, K).
        entropy: of the mean probabilities, in nats, (n,): all that is uncertain. None in regression.
        expected_entropy: mean over the passes of the entropy of one, (n,): what would be uncertain without noise.
            None in regression.
    """

    samples: int
    mean: Tensor
    deviation: Tensor
    entropy: Tensor | None = None
    expected_entropy: Tensor | None = None

    @property
    def mutual_information(self) -> Tensor | None:
        """Entropy less expected entropy, in nats, >= 0: how far the passes disagree (BALD, arXiv 1112.5745)."""
        if self.entropy is None or self.expected_entropy is None:
            return None
        return (self.entropy - self.expected_entropy).clamp(min=0)


@torch.no_grad()
def driven(network: Network, x: Tensor, driver: Driver) -> Tensor:
    """Outputs (B, K) of a network whose steps are driven by noise, made for its system; no state is kept."""
    network = network.given(x)
    state = network.system.lift(x)
    for k in range(network.depth):
        state, _ = network.advance(k, state, driver)
    return network.system.head(state)


def passes(
    network: Network, x: Tensor, noise: Noise, samples: int, generator: torch.Generator, *, antithetic: bool = False,
    chunk: int | None = None,
) -> Iterator[Tensor]:  # fmt: skip
    """Outputs (n, K) of one noisy pass after another, in evaluation mode.

    Args:
        network: what predicts.
        x: inputs (n, ..).
        noise: what drives its steps, made for any depth.
        samples: S, the number of passes.
        generator: of any device; one seed is taken from it. The same state of it gives the same bits.
        antithetic: whether every second pass has the mirrored draws of the one before, which takes out of the mean
            what is odd in the noise.
        chunk: samples at a time; as memory allows if None. The draws do not depend on it.

    Raises:
        ConfigError: no pass, an odd number of antithetic ones, or noise that the system cannot take.
    """
    if samples < 1 or (antithetic and samples % 2):
        expected = "an even number, 2 at least" if antithetic else "1 at least"
        raise ConfigError("samples", got=samples, expected=expected,
                          do="Say how many noisy passes: 100 give the mean to a tenth of one's error.")  # fmt: skip
    noise = noise.on(network.system)
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return _passes(network, x, noise, samples, seed, antithetic, chunk)


def _passes(
    network: Network, x: Tensor, noise: Noise, samples: int, seed: int, antithetic: bool, chunk: int | None
) -> Iterator[Tensor]:
    size = chunk or max(32, min(CHUNK, VALUES // max(1, x[:1].numel())))
    anchor = next(network.parameters(), x)
    for index in range(samples):
        pair, mirrored = divmod(index, 2) if antithetic else (index, 0)
        drawn = derived_seed(seed, "pass", pair)
        with evaluating(network):
            outputs = [
                driven(network, onto(part, anchor), RowNoise(noise, drawn, i * size, bool(mirrored)))
                for i, part in enumerate(x.split(size))
            ]
        yield torch.cat(outputs)


def monte_carlo(
    network: Network, x: Tensor, noise: Noise, task: Task = "classification", *, samples: int = 100,
    generator: torch.Generator, antithetic: bool = False, chunk: int | None = None,
) -> Predictive:  # fmt: skip
    """Predict by S noisy passes: their mean, and how uncertain it is.

    In classification the entropy of the mean is what single passes are unsure of, plus what they disagree on: the
    mutual information (Houlsby et al., arXiv 1112.5745; with dropout: Gal and Ghahramani, arXiv 1506.02142).

    Args:
        network: what predicts; without noise it is the prediction in the mean of the increments.
        x: inputs (n, ..), standardised.
        noise: what drives the steps; what the network was trained with, to mean anything.
        task: "classification" or "regression".
        samples: S, 2 at least.
        generator: see :func:`passes`.
        antithetic: see :func:`passes`.
        chunk: see :func:`passes`.

    Raises:
        ConfigError: fewer than 2 passes, an odd number of antithetic ones, or noise that the system cannot take.
    """
    if samples < 2:
        raise ConfigError("samples", got=samples, expected="2 noisy passes at least",
                          do="One pass says nothing of how far passes disagree.")  # fmt: skip
    classify = task == "classification"
    mean = square = expected = torch.zeros(())
    for index, out in enumerate(passes(network, x, noise, samples, generator, antithetic=antithetic, chunk=chunk), 1):
        value = out.double().softmax(1) if classify else out.double()
        change = value - mean  # Welford's way: no difference of large sums
        mean = mean + change / index
        square = square + change * (value - mean)
        if classify:
            expected = expected + (entropy_of(value) - expected) / index
    deviation = (square / (samples - 1)).sqrt()
    return Predictive(samples, mean, deviation, *((entropy_of(mean), expected) if classify else ()))


def entropy_of(probabilities: Tensor) -> Tensor:
    """-sum_i p_i log p_i, in nats, (..., K) to (...); 0 log 0 is 0."""
    return -torch.special.xlogy(probabilities, probabilities).sum(-1)
