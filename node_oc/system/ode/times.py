"""The times t_0 = 0 .. t_N = T of a grid, checked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from node_oc.errors import ConfigError

ROUNDING = 1e-5  # of a horizon: a trained one is a float32


def checked_times(times: Sequence[float]) -> tuple[float, ...]:
    """The same times. Raises ConfigError unless they ascend from 0."""
    times = tuple(map(float, times))
    if len(times) < 2 or times[0] != 0 or not all(a < b < float("inf") for a, b in pairwise(times)):
        raise ConfigError("times", got=list(times[:5]), expected="t_0 = 0 < t_1 < .. < t_N = T",
                          do="Give a positive horizon and at least one step.")  # fmt: skip
    return times


def times_of(horizon: float | None, steps: int, times: Sequence[float] | None) -> tuple[float, ...]:
    """Given times, or those of so many equal steps to a horizon, 1 if None.

    Raises:
        ConfigError: times that do not ascend from 0, or end elsewhere than at the horizon; no number of steps.
    """
    if times is None:
        if not isinstance(steps, int) or steps < 1:
            raise ConfigError(
                "steps", got=steps, expected="a whole number, at least one step", do="Correct the number."
            )
        horizon = 1.0 if horizon is None else horizon
        return checked_times([horizon * k / steps for k in range(steps + 1)])
    times = checked_times(times)
    return times if horizon is None else ending(times, horizon)


def ending(times: Sequence[float], end: float) -> tuple[float, ...]:
    """Times that end at T, to the last bit.

    Raises:
        ConfigError: times that do not ascend from 0, or end elsewhere.
    """
    times = checked_times(times)
    if not abs(times[-1] - end) <= ROUNDING * end:
        raise ConfigError("times", got=f"an end at {times[-1]:g}", expected=f"T = {end:g}",
                          do="Give times from 0 to the horizon.")  # fmt: skip
    return (*times[:-1], end)
