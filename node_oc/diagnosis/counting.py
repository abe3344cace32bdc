"""The counting bound: for how long can the states be far from the minimisers, if J is as low as it should be?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from node_oc.diagnosis.turnpike import check_curve
from node_oc.discretization.network import Network
from node_oc.errors import DataError
from node_oc.problem.ocp import Problem, group_norms

SHARES = (0.5, 0.2, 0.1, 0.05)  # levels shown, of the value at k = 0
ROUNDING = 1e-6  # relative; the means come from float32 networks


@dataclass(frozen=True)
class Control:
    """What an admissible control costs: a network of M steps, by its means over the samples.

    Attributes:
        name: what a sentence calls it.
        running: stage excess of each step, k = 0..M-1, by the table's quadrature (Euler: at x_k), without gamma, h.
        last: stage excess of the last state x_M, at which zero steps that are appended would stay.
        terminal: terminal excess of x_M.
        cost: control cost sum_k h_k r(u_k); zero steps add nothing to it.
        h: h_k, k = 0..M-1.

    Raises:
        DataError: a number that is not finite, or not one positive step size a step.
    """

    name: str
    running: tuple[float, ...]
    last: float
    terminal: float
    cost: float
    h: tuple[float, ...]

    def __post_init__(self) -> None:
        check_curve(f"excess of {self.name}", [*self.running, self.last, self.terminal, self.cost])
        if not all(math.isfinite(h) and h > 0 for h in self.h):
            raise DataError(f"step sizes of {self.name}", got=list(self.h), expected="positive finite numbers",
                            do="Give DepthGrid.h of the network.")  # fmt: skip
        if len(self.h) != len(self.running):
            raise DataError(f"steps of {self.name}", got=f"{len(self.h)} step sizes and {len(self.running)} values",
                            expected="one of each a step", do="Give one stage excess for each h_k.")  # fmt: skip

    def above_least(self, gamma: float, horizon: float) -> float:
        """J less its least value, with zero steps appended up to time ``horizon``.

        gamma sum_{k<M} h_k excess_k + gamma (T - t_M) excess_M + terminal excess + control cost: arXiv 2506.21453,
        theorem on SubResNet-M, with h_k and gamma per unit of time (our derivation). It holds with projecting skips
        too: the readout goes through the remaining skips.

        Raises:
            DataError: a network that takes longer than ``horizon``.
        """
        rest = horizon - sum(self.h)
        if rest < -1e-9 * horizon:
            raise DataError(f"time of {self.name}", got=sum(self.h), expected=f"at most {horizon:g}",
                            do="Compare with a network of no more steps.")  # fmt: skip
        ran = sum(h * e for h, e in zip(self.h, self.running, strict=True))
        return gamma * ran + gamma * max(rest, 0.0) * self.last + self.terminal + self.cost


@dataclass(frozen=True)
class Level:
    """One row: the time spent at or above a level, beside what the bound allows.

    Attributes:
        of: what has the level, "excess" or the name of a distance.
        level: excess e or distance d.
        measured: sum of h_k over the steps k < N at or above it, in units of time.
        bound: B / (gamma e), or B / (gamma alpha(d)).
    """

    of: str
    level: float
    measured: float
    bound: float


@dataclass(frozen=True)
class Counting:
    """The counting bound beside the measured time.

    Attributes:
        verdict: "holds"; "violated" where it is owed and exceeded, which optimality arithmetic excludes, so the
            numbers contradict each other; "not owed" where J is above that of the other control.
        objective: J of the trained network above its least value.
        other: name of the control of least J among the others.
        bound: B, its J above the least value.
        others: name and J above the least value of every other control.
        levels: measured time and bound at several levels of the excess, then of the distance.
        sentence: the verdict in words.
    """

    verdict: Literal["holds", "violated", "not owed"]
    objective: float
    other: str
    bound: float
    others: tuple[tuple[str, float], ...]
    levels: tuple[Level, ...]
    sentence: str

    @property
    def owed(self) -> bool:
        """Whether J of the trained network is at most B."""
        return self.verdict != "not owed"

    @property
    def gap(self) -> float:
        """J of the trained network less B: above 0, the bound is not owed."""
        return self.objective - self.bound


def counting(
    trained: Control, others: Sequence[Control], gamma: float, distance: Sequence[float] = (),
    rate: Callable[[float], float] | None = None, distance_name: str = "distance",
) -> Counting:  # fmt: skip
    """The counting bound (our derivation): where J(trained) <= B, gamma sum_k h_k excess_k <= B.

    So the time spent at an excess >= e is at most B/(gamma e), and at a distance >= d at most B/(gamma alpha(d)),
    alpha convex with excess >= alpha(distance), as :meth:`node_oc.SoftCrossEntropy.dissipation_rate`: for a
    control that reaches the minimisers the same for every N. All levels are judged; those at half, a fifth, a tenth
    and a twentieth of the value at k = 0 are shown.

    Args:
        trained: the network that is judged, all N steps.
        others: other admissible controls, of at most its time T; the one of least J gives B.
        gamma: weight of the stage cost per unit of time, > 0.
        distance: mean distance at k = 0..N-1, or longer; none to judge the excess alone.
        rate: alpha; needed with a distance.
        distance_name: what the rows call it.

    Raises:
        DataError: no other control, no step, gamma that is not positive, a value that is not finite, a distance
            without alpha or with too few layers, or a control that takes longer than the trained one.
    """
    n, horizon = len(trained.h), sum(trained.h)
    if not others or not n or not 0 < gamma < math.inf:
        raise DataError("counting bound", got=f"{len(others)} other controls, {n} steps, gamma = {gamma}",
                        expected="at least one control, one step, gamma > 0",
                        do="Ask it of a network that was trained with stage costs.")  # fmt: skip
    curves = [("excess", trained.running, lambda e: e)]
    if len(distance):
        check_curve(distance_name, distance)
        if rate is None or len(distance) < n:
            raise DataError(distance_name, got=f"{len(distance)} layers, alpha = {rate}", expected=f"{n} layers, alpha",
                            do="Give alpha with excess >= alpha(distance) and one value a step.")  # fmt: skip
        curves.append((distance_name, tuple(distance[:n]), rate))
    objective = trained.above_least(gamma, horizon)
    totals = tuple((other.name, other.above_least(gamma, horizon)) for other in others)
    name, bound = min(totals, key=lambda pair: pair[1])

    def row(what: str, values: Sequence[float], alpha: Callable[[float], float], level: float) -> Level | None:
        worth = alpha(level) if level > 0 else 0.0
        if worth <= 0:
            return None
        measured = sum(h for h, value in zip(trained.h, values, strict=True) if value >= level)
        return Level(what, level, measured, bound / (gamma * worth))

    # The measured time jumps at the measured values only, so judging those judges every level.
    judged = [row(*curve, value) for curve in curves for value in sorted(set(curve[1]))]
    exceeded = [r for r in judged if r and r.measured > r.bound * (1 + ROUNDING) + ROUNDING]
    shown = [row(*curve, share * curve[1][0]) for curve in curves for share in SHARES]
    levels = tuple(r for r in shown if r)
    fifth = row(*curves[0], SHARES[1] * trained.running[0])
    owed = objective <= bound + ROUNDING * abs(bound)
    verdict: Literal["holds", "violated", "not owed"] = "not owed"
    below = min(*trained.running, trained.last, trained.terminal, trained.cost)
    if owed:
        verdict = "violated" if exceeded or below < -ROUNDING else "holds"
    told = _sentence(verdict, objective, name, bound, exceeded, fifth, horizon)
    return Counting(verdict, objective, name, bound, totals, levels, told)


def _sentence(
    verdict: str, objective: float, name: str, bound: float, exceeded: list[Level], near: Level | None, horizon: float
) -> str:
    lasts = ""
    if near:
        lasts = f"; an excess of {near.level:.3g} or more lasts for {near.measured:g} of {horizon:g} units of time"
    if verdict == "not owed":
        return (f"Counting bound not owed: J is {objective:.4g} above its least value, {objective - bound:.3g} more "
                f"than with {name} ({bound:.4g}){lasts}.")  # fmt: skip
    if verdict == "violated" and not exceeded:
        return "Counting bound violated: a cost lies below its least value, so that value is wrong."
    if verdict == "violated":
        worst = max(exceeded, key=lambda r: r.measured / max(r.bound, 1e-300))
        return (f"Counting bound violated: {worst.of} at least {worst.level:.3g} for {worst.measured:g} units of time, "
                f"but at most {worst.bound:.3g} by J of {name}. These numbers contradict each other: a least value or "
                f"alpha is wrong, or they are not of one network.")  # fmt: skip
    told = f"Counting bound holds: J is {objective:.4g} above its least value, with {name} {bound:.4g}"
    if near is None:
        return f"{told}."
    empty = ", which is more than there are and says nothing" if near.bound > horizon else ""
    return f"{told}{lasts}, by the bound at most {near.bound:.3g}{empty}."


def cuts(trained: Control, stage: Sequence[float], terminal: Sequence[float], costs: Sequence[float]) -> list[Control]:
    """The trained network cut at M with zero steps appended, for every M = 0..N-1: controls at no extra training.

    Args:
        trained: the network, all N steps.
        stage: stage excess at x_k, k = 0..N.
        terminal: terminal excess of the readout of layer k, k = 0..N.
        costs: control cost h_k r(u_k) of each step, k = 0..N-1.

    Raises:
        DataError: a number that is not finite.
    """
    names = ["lift, head and zero steps"]
    names += [f"its own first {m} layer{'s' * (m != 1)} and zero steps" for m in range(1, len(trained.h))]
    return [
        Control(names[m], trained.running[:m], stage[m], terminal[m], sum(costs[:m]), trained.h[:m])
        for m in range(len(trained.h))
    ]


@torch.no_grad()
def control_costs(network: Network, problem: Problem) -> tuple[float, ...]:
    """h_k r(u_k) of each step, (N,): energy of the awake steps and price of every group, as J counts them."""
    r = [0.0] * network.depth
    for k in network.awake if problem.energy else ():
        r[k] += problem.energy * sum(float(p.double().square().sum()) for p in network.system.control(k))
    if problem.group_price:
        r = [a + problem.group_price * norm for a, norm in zip(r, group_norms(network).tolist(), strict=True)]
    return tuple(h * a for h, a in zip(network.h, r, strict=True))
