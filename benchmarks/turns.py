"""Who runs when, and what is compared with what: rounds in turns, ratios within a round.

A machine is not equally fast at all times. So in every round every variant runs for a short while, the others blocked,
and a ratio is taken between two times of the same round; the median over the rounds is the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles

BURST = 0.15
"""Seconds that a variant runs in a round, about."""
Run = Callable[[int, int], Sequence[float]]  # steps, steps to warm up -> milliseconds of each


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of some values, and their number."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value; the quartiles are the ends where there are fewer than four."""
        if len(values) < 4:
            return cls(median(values), min(values), max(values), len(values))
        low, middle, high = quantiles(values, n=4, method="inclusive")
        return cls(middle, low, high, len(values))

    def record(self) -> dict[str, float]:
        """As JSON."""
        return asdict(self)


def burst(ms: float) -> tuple[int, int]:
    """Steps of a turn, and steps to warm up before them, for a step of so many milliseconds."""
    return max(3, min(200, round(1e3 * BURST / ms))), 3 if ms < 20 else 1


def play(players: Mapping[str, Run], turns: Mapping[str, tuple[int, int]], rounds: int,
         report: Callable[[int], None] = lambda done: None) -> dict[str, list[float]]:  # fmt: skip
    """Let everyone run in every round; the order is turned round each time.

    Args:
        players: how each variant is run.
        turns: steps and steps to warm up of each.
        rounds: how many.
        report: called with the number of rounds that are done.

    Returns:
        Milliseconds of a step, one for each round: the median of a turn.
    """
    times: dict[str, list[float]] = {key: [] for key in players}
    for turn in range(rounds):
        order = list(players) if turn % 2 == 0 else list(players)[::-1]
        for key in order:
            times[key].append(median(players[key](*turns[key])))
        report(turn + 1)
    return times


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Ratio ours / theirs of each round. One that ran outside of the rounds is compared by the medians."""
    if len(ours) == len(theirs):
        return Spread.of([a / b for a, b in zip(ours, theirs, strict=True)])
    return Spread.of([median(ours) / median(theirs)])
