"""Whether the skips and the head of a model treat each sample by itself, as readouts of stacked depths want them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from node_oc.errors import AdoptError
from node_oc.system.adopt.evaluation import Evaluation
from node_oc.system.adopt.piece import Piece
from node_oc.system.adopt.plan import Plan
from node_oc.system.adopt.weights import Weights


@torch.no_grad()
def check_samples(plan: Plan, weights: Weights, leaves: Sequence[Any], states: Sequence[Tensor]) -> None:
    """Try each skip and the head once, with two states stacked and with each of them alone.

    Batch norms that take the statistics of the network's own states do mix samples, and are told apart from the rest;
    what draws random numbers cannot be compared. Nothing is changed.

    Args:
        plan: of the model.
        weights: of the model.
        leaves: its flattened example arguments.
        states: one of the shape of x_k for each k = 0..N.

    Raises:
        AdoptError: one of them mixes samples.
    """
    for training, mode in plan.modes.items():
        tails = [step.tail for step in mode.steps]
        names = [f"the skip of branch {branch.module!r}" for branch in plan.branches]
        for piece, name, state in zip([*tails, mode.heads], [*names, "the head"], states, strict=True):
            if not (piece.tail or piece.random) and _mixes(piece, plan, weights, leaves, state):
                raise AdoptError(
                    f"{name}, in {'training' if training else 'evaluation'} mode",
                    got="a map that mixes the samples of a batch, or has them elsewhere than in dimension 0",
                    expected="each sample by itself: the readouts of all depths are computed in one batch",
                    do="Compute what is common to a batch in a branch, or after the model; write a batch norm as "
                    "nn.BatchNorm1d or 2d, and states with the batch first.",
                )  # fmt: skip


def _mixes(piece: Piece, plan: Plan, weights: Weights, leaves: Sequence[Any], state: Tensor) -> bool:
    two = torch.stack([state, state.flip(0) * 3 - 1])

    def through(states: Tensor) -> Tensor:
        values: Any = {name: weights[name].clone() for name in piece.tensors}  # buffers may be written into
        return Evaluation(plan, values, state.dtype, list(leaves)).stacked([piece], states, states.nbytes)

    try:
        together = through(two)
    except RuntimeError:  # sizes that fit one state alone
        return True
    alone = torch.cat([through(one[None]) for one in two])
    if together.shape != alone.shape:
        return True
    close = torch.finfo(alone.dtype).eps ** 0.5 * float(alone.abs().nan_to_num().amax().clamp_min(1e-30))
    return not torch.allclose(together, alone, rtol=0, atol=close, equal_nan=True)
