"""Stacked states of several depths, so many at a time as fit into memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def in_chunks(
    through: Callable[[Tensor, bool], Tensor], states: Tensor, memory: int, *, own: bool, update: bool
) -> Tensor:  # fmt: skip
    """A function of stacked states by chunks; with gradients, each but the last is computed twice.

    Args:
        through: from states (m, B, ..) to values (m, B, ..), and whether running statistics are updated.
        states: those of several depths, the network's own last.
        memory: bytes of states at a time.
        own: whether each chunk needs the last state, whose statistics normalise the others.
        update: whether running statistics are updated, once, by the last state.
    """
    size = states[0].numel() * states.element_size()
    if len(states) * size <= memory or len(states) == 1:
        return through(states, update)
    last = through(states[-1:], update)

    def chunk(part: Tensor) -> Tensor:
        return through(torch.cat([part, states[-1:]]), False)[:-1] if own else through(part, False)

    run = (lambda part: checkpoint(chunk, part, use_reentrant=False)) if torch.is_grad_enabled() else chunk
    return torch.cat([*(run(part) for part in states[:-1].split(max(1, memory // size))), last])
