"""Where a network needs more layers: the error that each step makes in J, and the loop that halves the worst."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from node_oc.discretization.network import Network
from node_oc.discretization.refine import refine
from node_oc.errors import ConfigError
from node_oc.problem.costate import costate_sweep
from node_oc.problem.ocp import Problem
from node_oc.trajectory.rollout import rollout

Train = Callable[[Network], object]


@dataclass(frozen=True)
class Indicators:
    """What each step contributes to J(ODE) - J(network), to leading order in the step sizes.

    Attributes:
        samples: eta of every step and sample, (N, B): the contribution to the J of that sample alone.
    """

    samples: Tensor

    @property
    def steps(self) -> Tensor:
        """eta_k, (N,): the mean over the batch, signed. J is that mean too, so errors of two samples may cancel."""
        return self.samples.mean(1)

    @property
    def spread(self) -> Tensor:
        """The mean over the batch of |eta|, (N,): at least ``steps.abs()``. Nothing cancels between samples."""
        return self.samples.abs().mean(1)

    @property
    def error(self) -> float:
        """The sum of eta_k: an estimate of J(ODE) - J(network). Where steps err in both directions they cancel."""
        return float(self.steps.sum())

    @property
    def bound(self) -> float:
        """The sum of |eta_k|, at least |error|: what a tolerance is compared with. An estimate, not a proof."""
        return float(self.steps.abs().sum())


@torch.no_grad()
def indicators(network: Network, problem: Problem, x: Tensor, target: Tensor) -> Indicators:
    """The error of each step in J, by taking it again in two halves and weighting the difference with the costate.

    With x'' the state behind the two halves (:func:`node_oc.refine`), both from x_k, and a table of order p,

        eta_k = 2^p / (2^p - 1) [ p_{k+1} . (x'' - x_{k+1}) + (running costs of the halves) - (those of the step) ],

    running costs being gamma h l and energy h ||u||^2 by the table's own quadrature. The bracket is the change of
    Ham_k when the step is halved, to first order that of J; halving takes away 1 - 2^-p of a step's error, and the
    factor (Richardson) makes it the whole. Our derivation, after the dual-weighted residuals of Becker and Rannacher
    (Acta Numerica 2001); arXiv 2601.07397 has residuals of a DG(0) method, weighted so, for neural ODEs stepped by
    Euler. The group price is no integral over time, and is left out.

    The costate is taken as it is now, and a step and its halves see the field at a few times only: on a grid that is
    too coarse for the field, the indicator may be blind to it. In float32 an eta is rounded at about 1e-7 |p| |x|.

    Args:
        network: a step whose skip is not the identity is no interval of an ODE, and has eta = 0.
        problem: its terminal, stage and energy costs.
        x: inputs (B, features).
        target: class indices (B,) or regression targets (B, K).

    Raises:
        ConfigError: costs of a whole trajectory.
        DivergenceError: a state or costate that is not finite.
    """
    if problem.path_costs:
        raise ConfigError("problem.path_costs", got=f"{problem.path_costs[0]!r}", expected="none",
                          do="It is no integral over time: leave it out.")  # fmt: skip
    trajectory = rollout(network, x)
    p = costate_sweep(trajectory, problem, target).p
    halvable = [k for k in range(network.depth) if network.system.is_identity(k)]
    fine = refine(network, halvable)
    richardson = 1 / (1 - 2.0**-network.table.order)
    rows, i = [], 0
    for k in range(network.depth):
        if not network.system.is_identity(k):
            rows.append(x.new_zeros(len(x)))
            i += 1
            continue
        middle, first = fine.advance(i, trajectory.states[k])
        after, second = fine.advance(i + 1, middle)
        moved = len(x) * (p[k + 1] * (after - trajectory.states[k + 1])).flatten(1).sum(1)  # a row of p has 1/B
        halves = _running(fine, problem, i, first, target) + _running(fine, problem, i + 1, second, target)
        whole = _running(network, problem, k, trajectory.stages[k], target)
        rows.append(richardson * (moved + halves - whole))
        i += 2
    return Indicators(torch.stack(rows) if rows else x.new_zeros(0, len(x)))


def _running(network: Network, problem: Problem, k: int, stages: Sequence[Tensor], target: Tensor) -> Tensor | float:
    """gamma h_k l + energy h_k ||u||^2 of step k by the table, of every sample, (B,); a number where all have it."""
    system, table = network.system, network.table
    value: Tensor | float = 0.0
    for b, c, node in zip(table.b, table.c, stages, strict=True):
        if b and problem.stage_weight:
            value = value + b * problem.stage_weight * problem.stage(system.readout(node, k)[None], target)[0]
        if b and problem.energy and system.varies_within_steps and k in network.awake:
            energy = sum(float(u.square().sum()) for u in system.control_at(k, c))
            value = value + b * problem.energy * energy  # of a constant control it is the same for step and halves
    return network.h[k] * value


@dataclass(frozen=True)
class Round:
    """One look at the error, and the grid that it was found on.

    Attributes:
        h: step sizes h_k, in units of time.
        indicators: eta_k, batch means, signed.
        objective: J without the group price.
        error: sum of eta_k, the estimate of J(ODE) - J(network).
        bound: sum of |eta_k|.
    """

    h: tuple[float, ...]
    indicators: tuple[float, ...]
    objective: float
    error: float
    bound: float

    @property
    def depth(self) -> int:
        """Number of steps N."""
        return len(self.h)


@dataclass(frozen=True)
class Adapted:
    """What came of refining a network.

    Attributes:
        network: the refined one; the one that was given, where nothing had to be refined.
        rounds: one a grid, from the first to the last.
        tolerance: what was asked for.
        max_depth: the most layers that were allowed.
    """

    network: Network
    rounds: tuple[Round, ...]
    tolerance: float
    max_depth: int

    @property
    def met(self) -> bool:
        """Whether the sum of |eta_k| ended within the tolerance."""
        return self.rounds[-1].bound <= self.tolerance

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        first, last = self.rounds[0], self.rounds[-1]
        layers = f"{first.depth} to {last.depth} layers" if last.depth > first.depth else f"{last.depth} layers"
        if self.met:
            return (
                f"{layers}: the estimated error of J, {last.bound:.3g}, is within the tolerance {self.tolerance:.3g}."
            )
        return (f"{layers}, no more than {self.max_depth} being allowed: the estimated error of J, {last.bound:.3g}, "
                f"is still above the tolerance {self.tolerance:.3g}.")  # fmt: skip


def adapt(
    network: Network, problem: Problem, x: Tensor, target: Tensor, *, tolerance: float, max_depth: int,
    share: float = 0.5, train: Train | None = None,
) -> Adapted:  # fmt: skip
    """Start shallow, halve the steps whose error in J is largest, train, and look again, until the tolerance is met.

    Start shallow, refine where an indicator asks, and converge to the continuous problem if tolerances are met on the
    way: arXiv 2007.02428. Indicator (:func:`indicators`) and marking are our choice: a round halves the fewest steps
    that make up a share of sum |eta_k| (Doerfler, SIAM J. Numer. Anal. 1996), and with each step the neighbours that
    are longer, so that from a uniform grid on neighbours differ by a factor of 2 at most: beside a field that rises
    suddenly a long step would be blind to its beginning, and the error would stay (our measurement).

    |eta_k| is that of the batch mean. The tolerance is one on J, a batch mean; the mean of |eta| over samples would
    ask for layers whose errors J does not see.

    Args:
        network: a shallow one, trained if training is wanted before the first look; it is left as it is.
        problem: whose J the tolerance is about.
        x: inputs (B, features) on which the error is measured.
        target: class indices (B,) or regression targets (B, K).
        tolerance: on sum |eta_k|, in units of J; 0 to go on to ``max_depth``.
        max_depth: the most layers.
        share: of sum |eta_k|, in (0, 1], that the halved steps of a round make up.
        train: trains a refined network in place, before the next look; weights stay as they are if None.

    Raises:
        ConfigError: a negative tolerance, a share outside (0, 1], or fewer layers allowed than there are.
        DivergenceError: a state or costate that is not finite.
    """
    for name, got, right, expected in (
        ("tolerance", tolerance, 0 <= tolerance < float("inf"), "a number >= 0"),
        ("share", share, 0 < share <= 1, "a number in (0, 1]"),
        ("max_depth", max_depth, max_depth >= network.depth, f"at least {network.depth}, the layers that there are"),
    ):
        if not right:
            raise ConfigError(name, got=got, expected=expected, do="Correct the number.")
    rounds: list[Round] = []
    while True:
        found = indicators(network, problem, x, target)
        with torch.no_grad():
            objective = float(problem.evaluate(rollout(network, x), target).smooth)
        rounds.append(Round(network.h, tuple(found.steps.tolist()), objective, found.error, found.bound))
        halved: set[int] = set()
        for k in mark(found.steps, share) if found.bound > tolerance else []:
            wanted = halved | graded(network, k)
            if network.depth + len(wanted) > max_depth:
                break
            halved = wanted
        if not halved:
            return Adapted(network, tuple(rounds), tolerance, max_depth)
        network = refine(network, halved)
        if train is not None:
            train(network)


def graded(network: Network, step: int) -> set[int]:
    """The step, its neighbours that are longer than it, theirs, and so on: these are halved together."""
    h, found, waiting = network.grid.h, set[int](), [step]
    while waiting:
        j = waiting.pop()
        found.add(j)
        waiting += [k for k in (j - 1, j + 1) if k in network.awake and k not in found and h[k] > h[j] * (1 + 1e-9)
                    and network.system.is_identity(k)]  # fmt: skip
    return found


def mark(eta: Tensor, share: float) -> list[int]:
    """The fewest steps k that make up a share of sum |eta_k|, the largest first; none of zero error. Of eta (N,)."""
    size, order = eta.abs().double().sort(descending=True, stable=True)
    enough = size.cumsum(0) >= share * size.sum() * (1 - 1e-12)
    count = int(enough.int().argmax()) + 1 if len(size) else 0
    return [k for k, s in zip(order[:count].tolist(), size.tolist()) if s > 0]
