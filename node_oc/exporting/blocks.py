"""A network with exits as blocks, from one exit to the next: what a file can hold, as no sample leaves in one."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from node_oc.inference import EarlyExit
from node_oc.inference.scaled import Scaled
from node_oc.inference.watching import Watch


class Block(nn.Module):
    """From one exit to the next; the samples' own rows alone.

    The first block takes raw inputs and returns (readout (n, K), stop (n,), state, seen); those between take and
    return state and seen; the last takes both and returns readout and stop. ``seen`` is what the policy's next changes
    are changes of.

    Args:
        early: model and policy.
        place: of the exit among the policy's.
    """

    def __init__(self, early: EarlyExit, place: int) -> None:
        super().__init__()
        self.early, self.place = early, place
        self.start = early.exits[place - 1] if place else 0
        self.exit, self.last = early.exits[place], place == len(early.exits) - 1

    def forward(self, x: Tensor, seen: Tensor | None = None) -> tuple[Tensor, ...]:
        """Inputs of the first block, or the state and what was seen."""
        model, network = self.early.model, self.early.network
        state = x if self.place else network.system.lift(self.early.inputs(x))
        for k in range(self.start, self.exit):
            state, _ = network.advance(k, state)
        readout = network.system.readout(state, self.exit)
        told = model.in_units(readout) if isinstance(model, Scaled) else readout
        if self.last:
            return told, torch.ones(readout.shape[0], dtype=torch.bool, device=readout.device)
        watch = Watch(self.early.policy.task, None if seen is None else seen[None])
        stop = self.early.policy.stops(self.exit, watch.features(readout[None])[0])
        return told, stop, state, cast(Tensor, watch.seen)[0]
