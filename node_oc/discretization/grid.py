"""The depth grid: an integer k per layer, and the time that belongs to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from node_oc.errors import ConfigError


@dataclass(frozen=True)
class DepthGrid:
    """Step sizes of a network; time is looked up from k, never the reverse.

    Attributes:
        h: h_k = t_{k+1} - t_k for k = 0..N-1, in units of time; all positive.

    Raises:
        ConfigError: a step size that is not a positive finite number.
    """

    h: tuple[float, ...]

    def __post_init__(self) -> None:
        bad = [(k, h) for k, h in enumerate(self.h) if not (math.isfinite(h) and h > 0)]
        if bad:
            raise ConfigError(
                f"step size h_{bad[0][0]}", got=bad[0][1], expected="a positive number",
                do="A residual network has h = 1; a neural ODE of horizon T and depth N has h = T/N.",
            )  # fmt: skip

    @classmethod
    def uniform(cls, depth: int, h: float = 1.0) -> DepthGrid:
        """N = ``depth`` steps of the same size."""
        return cls((float(h),) * depth)

    @property
    def depth(self) -> int:
        """Number of steps N."""
        return len(self.h)

    @property
    def horizon(self) -> float:
        """T = sum of h_k."""
        return sum(self.h)

    @property
    def t(self) -> tuple[float, ...]:
        """t_0 = 0, .., t_N = T, indexed by the layer k."""
        times = [0.0]
        for h in self.h:
            times.append(times[-1] + h)
        return tuple(times)

    def keep(self, steps: Sequence[int]) -> DepthGrid:
        """The grid of a network that keeps these steps, each with its own h_k."""
        return DepthGrid(tuple(self.h[k] for k in steps))
