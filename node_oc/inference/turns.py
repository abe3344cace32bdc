"""Times of several ways to do the same, in turns: a slow minute of the machine hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

Clock = Callable[[], float]
WARM = 2  # rounds that are not timed


@dataclass(frozen=True)
class Spread:
    """Median and quartiles over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Of some values."""
        low, median, high = map(float, np.quantile(values, (0.25, 0.5, 0.75)))
        return cls(median, low, high)

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


def in_turns(
    ways: Mapping[str, Callable[[int], object]], rounds: int, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Milliseconds of every way in every round, each round beginning with another one, after two rounds of warm-up.

    Args:
        ways: by name; called with the number of the round.
        rounds: timed rounds.
        clock: seconds; ``time.process_time`` counts processor time alone, for a busy machine.
    """
    found: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(rounds + WARM):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            took = timed(partial(ways[name], turn), clock)
            if turn >= WARM:
                found[name].append(took)
    return found


def timed(call: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Milliseconds of one call, on a GPU until it is done."""
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    if cuda:
        torch.cuda.synchronize()
    start = clock()
    call()
    if cuda:
        torch.cuda.synchronize()
    return 1e3 * (clock() - start)
