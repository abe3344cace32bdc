"""The cost of a language model: the next token, at every depth."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from node_oc.errors import ShapeError
from node_oc.problem.cost import Cost

IGNORED = -100  # a token with this label counts nowhere, as in torch and transformers


class NextToken(Cost):
    """-log p(token t+1 | tokens up to t) in nats, averaged over the tokens of a sequence.

    Called with readouts (M, B, L, V) and labels (B, L), which are shifted here; labels of -100 are left out.
    """

    least = 0.0

    def __repr__(self) -> str:
        return "NextToken()"

    def __call__(self, readout: Tensor, target: Tensor) -> Tensor:
        if readout.dim() != 4 or target.shape != readout.shape[1:3]:
            raise ShapeError("readouts of a language model", got=f"{tuple(readout.shape)}, {tuple(target.shape)}",
                             expected="(depths, B, L, vocabulary) and (B, L)",
                             do="Give the token ids themselves as labels.")  # fmt: skip
        return torch.stack([next_token_loss(logits, target) for logits in readout])


def next_token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The same of one depth: logits (B, L, V), labels (B, L) to (B,)."""
    # The labels are shifted, and not the logits, which would be copied.
    following = F.pad(labels[:, 1:].to(logits.device), (0, 1), value=IGNORED)
    z = logits.to(torch.promote_types(logits.dtype, torch.float32))
    loss = F.cross_entropy(z.flatten(0, 1), following.flatten(), reduction="none", ignore_index=IGNORED)
    return loss.view(following.shape).sum(1) / (following != IGNORED).sum(1).clamp_min(1)
