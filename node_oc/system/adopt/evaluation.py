"""Pieces of a plan, evaluated with the tensors and the inputs that they read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from node_oc.errors import ConfigError
from node_oc.system.adopt.chunks import in_chunks
from node_oc.system.adopt.inputs import leaves_of, repeated
from node_oc.system.adopt.piece import Piece
from node_oc.system.adopt.plan import Plan
from node_oc.system.adopt.weights import Weights


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Calls pieces of a plan.

    Attributes:
        plan: whose pieces.
        weights: parameters, buffers and constants by name.
        dtype: of the example's main input.
        inputs: the flattened arguments of the model for the batch at hand, where some pieces read them.
    """

    plan: Plan
    weights: Weights
    dtype: torch.dtype
    inputs: list[Any] | None = None

    def leaves(self, x: Any) -> list[Any]:
        """The flattened arguments of the model, checked; see :func:`~node_oc.system.adopt.inputs.leaves_of`."""
        return leaves_of(x, self.plan.in_spec, self.plan.expected, self.plan.main, self.dtype)

    def first(self, piece: Piece, x: Any) -> Tensor:
        """The lift: from the model's inputs to x_0."""
        leaves = self.leaves(x)
        return piece.function(*self._tensors(piece), *(leaves[i] for i in piece.inputs))[0]

    def values(self, piece: Piece, x: Tensor) -> tuple[Tensor, ...]:
        """All that a piece computes from one state."""
        return piece.function(x, *self._tensors(piece), *self._read(piece, x))

    def value(self, piece: Piece, x: Tensor) -> Tensor:
        """What a piece with one target computes from one state."""
        return self.values(piece, x)[0]

    def stacked(self, pieces: Sequence[Piece], states: Tensor, memory: int, update: bool = False) -> Tensor:
        """States (m, B, ..) of several depths through some pieces, one after the other, in chunks.

        Args:
            pieces: tails, or pieces without a batch norm in training mode.
            states: the network's own last.
            memory: bytes of states at a time.
            update: whether running statistics are updated.
        """

        def through(part: Tensor, update: bool) -> Tensor:
            x = part.flatten(0, 1)
            for piece in pieces:
                tail = (len(part), update) if piece.tail else ()
                x = piece.function(x, *tail, *self._tensors(piece), *self._read(piece, x, len(part)))[0]
            return x.unflatten(0, (len(part), -1))

        return in_chunks(through, states, memory, own=any(piece.tail for piece in pieces), update=update)

    def _tensors(self, piece: Piece) -> list[Tensor]:
        return [self.weights[name] for name in piece.tensors]

    def _read(self, piece: Piece, x: Tensor, depths: int | None = None) -> list[Any]:
        """The inputs that a piece reads, repeated where several depths are stacked in its state."""
        if not piece.inputs:
            return []
        if self.inputs is None:
            raise ConfigError("a branch that reads the model's inputs", got="no input at hand",
                              expected="system.given(x)", do="Use node_oc.rollout, which asks for it.")  # fmt: skip
        if depths is None:  # one state; or several, one behind the other, where its rows are samples
            depths = max(1, x.shape[0] // self.inputs[self.plan.main].shape[0]) if self.plan.by_sample else 1
        values = [self.inputs[i] for i in piece.inputs]
        return repeated(values, [self.plan.expected[i] for i in piece.inputs], depths)
