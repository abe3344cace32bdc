"""Checkpointed memory: a rollout of which the first state of each segment is kept, and the rest computed again."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from node_oc.discretization.controls import Controls
from node_oc.discretization.driver import TIME, Driver
from node_oc.discretization.network import Network
from node_oc.errors import ConfigError
from node_oc.trajectory.rollout import Trajectory, choose, pass_through


class Segmented:
    """A rollout in segments of about sqrt(N) steps, for J alone: its memory grows like sqrt(N) and not like N.

    On the way back every segment is rolled out once more, with the costs of its own readouts: one forward pass is
    paid for. The noise of a driver is the same in both, because its increments are pure functions.

    Args:
        network: what is rolled out.
        x: inputs (B, features).
        cuts: layers at which segments begin, see :func:`cuts_of`; about sqrt(N) of them if None.
        driver: as in :func:`node_oc.rollout`.
        analytic: as in :func:`node_oc.rollout`.
        controls: as in :func:`node_oc.rollout`; they must have been stacked with the same cuts.

    Raises:
        ConfigError: cuts that are no ascending layers 1..N-1.
    """

    def __init__(
        self, network: Network, x: Tensor, cuts: tuple[int, ...] | None = None, *, driver: Driver = TIME,
        analytic: bool | None = None, controls: Controls | None = None,
    ) -> None:  # fmt: skip
        self.network, self.x, self.driver, self.controls = network, x, driver, controls
        self.analytic = analytic
        self.cuts = cuts_of(network) if cuts is None else cuts
        bounds = [0, *self.cuts, network.depth]
        if self.cuts and any(a >= b for a, b in pairwise(bounds)):
            raise ConfigError("cuts", got=list(self.cuts), expected=f"ascending layers 1..{network.depth - 1}",
                              do="Leave them out for segments of about sqrt(N) steps.")  # fmt: skip
        self.bounds = list(pairwise(bounds))
        self._last: Tensor | None = None

    def accumulate(self, cost: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """As :meth:`Trajectory.accumulate`; the readouts are handed over segment by segment."""
        state, parts = self.network.system.lift(self.x), []
        for start, stop in self.bounds:
            state, running, at_end = _checkpoint(self._costs, state, start, stop, cost)
            parts.append(running)
        self._last = state
        return torch.cat(parts), at_end

    @cached_property
    def final(self) -> Tensor:
        """The output H(x_N), (B, K)."""
        if self._last is None:
            self._last = self.network.system.lift(self.x)
            for start, stop in self.bounds:
                (self._last,) = _checkpoint(self._end, self._last, start, stop)
        return self.network.system.head(self._last)

    def _piece(self, state: Tensor, start: int, stop: int) -> Trajectory:
        analytic = choose(self.network, state, self.analytic)
        return pass_through(self.network, state, start, stop, self.driver, analytic, self.controls)

    def _end(self, state: Tensor, start: int, stop: int) -> tuple[Tensor]:
        return (self._piece(state, start, stop).last,)

    def _costs(self, state: Tensor, start: int, stop: int, cost: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
        piece = self._piece(state, start, stop)
        return piece.last, *piece.accumulate(cost)


def _checkpoint(part: Callable[..., tuple[Tensor, ...]], *arguments: object) -> tuple[Tensor, ...]:
    return checkpoint(part, *arguments, use_reentrant=False, preserve_rng_state=False)


def cuts_of(network: Network) -> tuple[int, ...]:
    """Layers at which segments of about sqrt(n) awake steps begin, n the number of awake steps."""
    awake = network.awake
    length = max(1, math.ceil(math.sqrt(len(awake))))
    return tuple(awake[length::length])
