"""Checkpointed memory: a rollout of which the first state of each segment is kept, and the rest computed again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from node_oc.discretization.controls import Controls
from node_oc.discretization.driver import TIME, Driver
from node_oc.discretization.network import Network
from node_oc.errors import ConfigError
from node_oc.trajectory.rollout import Trajectory, choose, pass_through
from node_oc.trajectory.sweep import check_first_derivative


class Segmented:
    """A rollout in about sqrt(N) segments, for J alone: its memory grows like sqrt(N) and not like N.

    On the way back every segment but the last is rolled out once more, with the costs of its own readouts: nearly one
    forward pass is paid for. The noise of a driver is the same in both, because its increments are pure functions.

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
        self.network, self.x, self.driver, self.controls = network, x, driver.on(network.system), controls
        self.analytic = analytic
        self.cuts = cuts_of(network) if cuts is None else cuts
        bounds = [0, *self.cuts, network.depth]
        whole = all(isinstance(k, int) for k in self.cuts)
        if self.cuts and not (whole and all(a < b for a, b in pairwise(bounds))):
            raise ConfigError("cuts", got=list(self.cuts), expected=f"ascending layers 1..{network.depth - 1}",
                              do="Leave them out for segments of about sqrt(N) steps.")  # fmt: skip
        self.bounds = list(pairwise(bounds))
        self._last: Tensor | None = None

    def control_energy(self) -> Tensor:
        """Sum of h_k ||u_k||^2, see :meth:`Network.control_energy`. Scalar."""
        return self.network.control_energy()

    def accumulate(self, cost: Callable[[Tensor], Tensor], leaves: Sequence[Tensor] = ()) -> tuple[Tensor, Tensor]:
        """As :meth:`Trajectory.accumulate`; the readouts are handed over segment by segment."""

        def costs(piece: Trajectory) -> tuple[Tensor, ...]:
            return piece.last, *piece.accumulate(cost)

        lasts, runnings, at_ends = zip(*self._pass(costs, leaves), strict=True)
        self._last = lasts[-1]
        return torch.cat(runnings), at_ends[-1]

    @property
    def final(self) -> Tensor:
        """The output H(x_N), (B, K)."""
        if self._last is None:
            self._last = list(self._pass(lambda piece: (piece.last,)))[-1][0]
        return self.network.system.head(self._last)

    def _pass(
        self, read: Callable[[Trajectory], tuple[Tensor, ...]], leaves: Sequence[Tensor] = ()
    ) -> Iterator[tuple[Tensor, ...]]:
        """What is read off each segment; the first of it is the state with which the next one begins.

        Args:
            read: what to read.
            leaves: tensors with gradients that ``read`` itself uses.
        """
        network = self.network
        state = network.system.lift(self.x)
        analytic = choose(network, state, self.analytic, self.controls)
        controls = self.controls if analytic else None
        inside = {id(p) for k in range(network.depth) for p in network.system.control(k)}
        ends = [p for p in network.parameters() if id(p) not in inside]
        for start, stop in self.bounds:

            def piece(state: Tensor, start: int = start, stop: int = stop) -> tuple[Tensor, ...]:
                return read(pass_through(network, state, start, stop, self.driver, analytic, controls))

            if stop == network.depth:  # the way back starts with it: forgetting it would save nothing
                yield piece(state)
                return
            awake = [k for k in network.awake if start <= k < stop]
            own: Sequence[Tensor] = [p for k in awake for p in network.system.control(k)]
            known = [*(controls.leaves(awake) if controls else own), *ends, *leaves]
            found = _Again.apply(piece, state, *{id(p): p for p in known}.values())  # tied ones once
            yield found
            state = found[0]


class _Again(torch.autograd.Function):
    """A part of which nothing inside is kept: on the way back it is computed again (Chen et al., arXiv 1604.06174).

    torch.utils.checkpoint does the same for any part; told what the part depends on, this is faster.
    """

    @staticmethod
    def forward(
        ctx: Any, part: Callable[[Tensor], tuple[Tensor, ...]], state: Tensor, *leaves: Tensor
    ) -> tuple[Tensor, ...]:
        device = state.device.type
        ctx.part = part
        ctx.cast = (device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))
        ctx.save_for_backward(state, *leaves)
        return part(state)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        check_first_derivative()
        state, *leaves = ctx.saved_tensors
        state = state.detach().requires_grad_(ctx.needs_input_grad[1])
        with torch.enable_grad(), torch.autocast(*ctx.cast):
            out = ctx.part(state)
        reached = [(value, g) for value, g in zip(out, gradients, strict=True) if value.requires_grad]
        if not reached:
            return (None,) * (2 + len(leaves))
        wanted = [p for p, needed in zip((state, *leaves), ctx.needs_input_grad[1:], strict=True) if needed]
        values, cotangents = zip(*reached, strict=True)
        found = iter(torch.autograd.grad(values, wanted, cotangents, allow_unused=True))
        return None, *(next(found) if needed else None for needed in ctx.needs_input_grad[1:])


def cuts_of(network: Network) -> tuple[int, ...]:
    """Layers at which segments of about 1.5 sqrt(n) awake steps begin, equally long, n the number of awake steps.

    Longer ones than sqrt(n), with which memory is least, because every segment has a cost of its own.
    """
    n = len(network.awake)
    segments = max(1, round(math.sqrt(n) / 1.5))
    return tuple(network.awake[math.ceil(i * n / segments)] for i in range(1, segments))
