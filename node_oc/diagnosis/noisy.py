"""What a noise does to a trained network: to its accuracy at every depth, to J, and to what it is sure of."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor

from node_oc.data.split import Part, Task, onto
from node_oc.diagnosis.calibration import Calibration, calibration
from node_oc.diagnosis.turnpike import entry_by_accuracy
from node_oc.diagnosis.uncertainty import entropy_of
from node_oc.discretization.driver import TIME, Driver
from node_oc.discretization.limit import NotSmoothWarning
from node_oc.discretization.network import Network, evaluating
from node_oc.discretization.noise import Noise
from node_oc.discretization.rows import RowNoise
from node_oc.errors import ConfigError
from node_oc.problem.ocp import Problem
from node_oc.problem.regulariser import explicit_regulariser
from node_oc.seeds import derived_generator, derived_seed
from node_oc.trajectory.rollout import rollout

CHUNK = 256


@dataclass(frozen=True)
class Noisy:
    """One network under one noise, on n samples, by S passes in antithetic pairs.

    Attributes:
        noise: what it is called.
        task: whether the metric is an accuracy or a mean squared error.
        samples: n.
        passes: S.
        metric: that of the readout after k layers without noise, k = 0..N: in the mean of the increments.
        noisy_metric: of a single noisy pass, its mean over the passes.
        passes_metric: of the mean prediction of all passes.
        entry, noisy_entry, passes_entry: the layer from which on each stays within the budget; None in regression.
        entry_moves: whether a single pass enters elsewhere and the samples settle it: that a layer between does not
            belong to the later entry is outside a 95 % interval, paired over the samples; None in regression.
        difference: metric of the mean prediction of all passes less that in the mean, at the end.
        difference_half: half a 95 % interval of it, paired over the samples.
        objective: J in the mean, the price left out.
        excess: what noise adds to it, the mean over the passes.
        excess_half: half a 95 % interval of that, over the pairs of passes.
        regulariser: what the explicit regulariser says of it, to leading order.
        regulariser_half: half a 95 % interval of that, over the probes.
        kinks: whether the field has ReLU, in whose kinks the regulariser sees nothing.
        mean_calibration, passes_calibration: of the prediction in the mean, and by all passes; None in regression.
        noisy_nll: negative log-likelihood of a single noisy pass, in nats; None in regression.
        mutual_information: mean over the samples, in nats; None in regression.
        deviation: in regression mean over the samples of the standard deviation over the passes; None else.
    """

    noise: str
    task: Task
    samples: int
    passes: int
    metric: tuple[float, ...]
    noisy_metric: tuple[float, ...]
    passes_metric: tuple[float, ...]
    entry: int | None
    noisy_entry: int | None
    passes_entry: int | None
    entry_moves: bool | None
    difference: float
    difference_half: float
    objective: float
    excess: float
    excess_half: float
    regulariser: float
    regulariser_half: float
    kinks: bool
    mean_calibration: Calibration | None
    passes_calibration: Calibration | None
    noisy_nll: float | None
    mutual_information: float | None
    deviation: float | None

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        ends = self.noisy_metric[-1], self.passes_metric[-1], self.metric[-1]
        if self.task == "classification":
            one, many, mean = (f"{100 * value:.2f} %" for value in ends)
            told = f"a noisy pass is right on {one}, the mean of {self.passes} on {many}, the network alone on {mean}"
        else:
            one, many, mean = (f"{value:.4g}" for value in ends)
            told = f"a noisy pass loses {one}, the mean of {self.passes} loses {many}, the network alone {mean}"
        same = abs(self.difference) <= self.difference_half
        better = (self.difference > 0) == (self.task == "classification")
        told += f" ({'no difference' if same else 'passes are better' if better else 'passes are worse'}); "
        moves = "rises" if self.excess > 0 else "falls"
        told += (f"J = {self.objective:.4g} {moves} by {abs(self.excess):.3g} ± {self.excess_half:.2g}, the explicit "
                 f"regulariser says {self.regulariser:+.3g} ± {self.regulariser_half:.2g}")  # fmt: skip
        told += " (kinks not seen)" if self.kinks else ""
        gap = abs(self.excess - self.regulariser)
        if gap > max(self.excess_half + self.regulariser_half, 0.1 * abs(self.excess)):
            told += ": this noise is not small, the leading order does not tell it"
        if self.entry is not None:
            moved = self.noisy_entry != self.entry
            told += (f"; a noisy pass enters at layer {self.noisy_entry}, not {self.entry}" if moved
                     else f"; the entry stays at layer {self.entry}")  # fmt: skip
            told += f", which {self.samples:,} samples do not settle" if moved and not self.entry_moves else ""
        return f"{self.noise}: {told}."


def noisy(
    network: Network, noise: Noise, problem: Problem, part: Part, task: Task, *, name: str | None = None,
    passes: int = 64, seed: int = 0, budget: float = 0.005, probes: int = 16,
) -> Noisy:  # fmt: skip
    """Drive a trained network by a noise: accuracy with and without it at every depth, J, calibration.

    Args:
        network: any network; it is not changed.
        noise: what drives its steps, without draws.
        problem: whose J is looked at.
        part: samples; all of them are kept in memory at every depth.
        task: "classification" or "regression".
        name: what the noise is called; its own name if None.
        passes: S, an even number, 4 at least: every second pass has the mirrored draws of the one before.
        seed: of the passes and of the regulariser's probes.
        budget: within which a layer counts as good as the last one.
        probes: of the regulariser, 2 at least.

    Raises:
        ConfigError: a number of passes that will not do, or a noise that the system cannot take.
    """
    if passes < 4 or passes % 2:
        raise ConfigError("passes", got=passes, expected="an even number, 4 at least",
                          do="They come in antithetic pairs, whose spread gives the error.")  # fmt: skip
    noise, classify = noise.on(network.system), task == "classification"
    anchor = next(network.parameters(), part.x)
    x = onto(part.x, anchor)
    y = part.y.to(x.device)
    seeds = [derived_seed(seed, "pass", i // 2) for i in range(passes)]
    with evaluating(network), torch.no_grad():
        quiet = list(_pass(network, x, y, problem, None, 0, False))
        readouts, objective = torch.cat([r for r, _ in quiet], 1), _mean(quiet, len(x))
        mean = square = torch.zeros(())
        hits = torch.zeros(())
        costs: list[float] = []
        entropy = nll = 0.0
        for i, drawn in enumerate(seeds):
            found = list(_pass(network, x, y, problem, noise, drawn, bool(i % 2)))
            out = torch.cat([r for r, _ in found], 1)
            costs.append(_mean(found, len(x)))
            hits = hits + _right(out, y, classify)
            value = out.double().softmax(-1) if classify else out.double()
            change = value - mean
            mean = mean + change / (i + 1)
            square = square + (change * (value - mean))[-1]
            if classify:
                entropy += float(entropy_of(value[-1]).mean()) / passes
                nll += float(-value[-1].gather(1, y[:, None]).clamp(min=1e-300).log().mean()) / passes
    still = readouts.double().softmax(-1) if classify else readouts.double()
    curves = [_right(out, y, classify) for out in (readouts, mean)]
    metric, by_passes = (tuple(curve.mean(1).tolist()) for curve in curves)
    hits = hits / passes
    one = tuple(hits.mean(1).tolist())
    apart = (curves[1] - curves[0])[-1]
    pairs = torch.tensor(costs, dtype=torch.float64).reshape(-1, 2).mean(1) - objective
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        regulariser = explicit_regulariser(network, noise, problem, x, y, probes=probes,
                                           generator=derived_generator(seed, "probes"))  # fmt: skip
    entry, noisy_entry, passes_entry = (
        entry_by_accuracy(curve, budget) if classify else None for curve in (metric, one, by_passes)
    )
    later = hits if (noisy_entry or 0) > (entry or 0) else curves[0]
    early, late = sorted((entry or 0, noisy_entry or 0))
    moves = surely_later(later, early, late, budget)
    labels = part.y.cpu().numpy()
    told = [calibration(p[-1].cpu().numpy(), labels) if classify else None for p in (still, mean)]
    kinks = [isinstance(each.message, NotSmoothWarning) for each in seen]
    for each in (w for w, known in zip(seen, kinks, strict=True) if not known):
        warnings.warn(each.message, stacklevel=2)
    return Noisy(
        name or noise.name, task, len(x), passes, metric, one, by_passes, entry, noisy_entry, passes_entry,
        entry_moves=moves if classify else None,
        difference=float(apart.mean()), difference_half=_half(apart),
        objective=objective, excess=float(pairs.mean()), excess_half=_half(pairs),
        regulariser=regulariser.total, regulariser_half=_quantile(probes) * regulariser.error, kinks=any(kinks),
        mean_calibration=told[0], passes_calibration=told[1], noisy_nll=nll if classify else None,
        mutual_information=max(0.0, float(entropy_of(mean[-1]).mean()) - entropy) if classify else None,
        deviation=None if classify else float((square / (passes - 1)).sqrt().mean()),
    )  # fmt: skip


def surely_later(right: Tensor, early: int, late: int, budget: float) -> bool:
    """Whether a layer from ``early`` to before ``late`` loses more than the budget against the last one, surely.

    Args:
        right: how right each sample is after each layer, (N+1, n).
        early: a layer.
        late: another one, not before it; False where it is the same.
        budget: what may be lost. The lower end of the loss's 95 % interval, paired over the samples, is compared.
    """
    return any(float(lost.mean()) - _half(lost) > budget for lost in right[-1] - right[early:late])


def _pass(
    network: Network, x: Tensor, y: Tensor, problem: Problem, noise: Noise | None, seed: int, mirrored: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Readouts (N+1, B, K) and J, price left out, times B, of one chunk after another."""
    for i, (rows, target) in enumerate(zip(x.split(CHUNK), y.split(CHUNK), strict=True)):
        driver: Driver = TIME if noise is None else RowNoise(noise, seed, i * CHUNK, mirrored)
        trajectory = rollout(network, rows, driver=driver)
        yield trajectory.readouts, problem.evaluate(trajectory, target).smooth.double() * len(rows)


def _mean(found: list[tuple[Tensor, Tensor]], samples: int) -> float:
    return float(sum(cost for _, cost in found)) / samples


def _right(readouts: Tensor, y: Tensor, classify: bool) -> Tensor:
    """1 where the class is right, or the squared error; (N+1, n)."""
    if classify:
        return (readouts.argmax(-1) == y).double()
    return (readouts - y).double().square().sum(-1)


def _half(values: Tensor) -> float:
    return _quantile(len(values)) * float(np.std(values.cpu().numpy(), ddof=1)) / math.sqrt(len(values))


def _quantile(n: int) -> float:
    """Standard errors in half a 95 % interval of a mean of n numbers: Student's, because pairs of passes may be few."""
    return float(student.ppf(0.975, n - 1))
