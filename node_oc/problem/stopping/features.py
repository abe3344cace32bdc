"""What a readout shows without its label: the information on which a sample may stop."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from node_oc.errors import ConfigError, ShapeError

FEATURES = (
    "entropy",
    "margin",
    "top probability",
    "change of entropy",
    "change of margin",
    "change of top probability",
)
MANY, FEW = 128, 32  # samples and classes from and up to which features are computed class by class
CHANGE_FEATURES = ("size", "change")  # of a regression, which has no entropy


def readout_features(
    readout: Tensor, before: Tensor | None = None, task: Literal["classification", "regression"] = "classification"
) -> Tensor:
    """Features of a readout and of how it changed, (.., B, F); our choice (theory: arXiv 2506.16862 could not be read).

    Classification, F = 6: entropy of softmax(yhat) in nats; margin, the largest logit less the second; the largest
    probability; and the change of each since ``before``, 0 where there is none. Regression, F = 2: the norm of the
    readout and the norm of its change.

    Args:
        readout: yhat_k, (.., B, K).
        before: the readout at the exit before, of the same shape; None at the first exit.
        task: "classification" or "regression".

    Raises:
        ShapeError: two readouts of different shapes.
        ConfigError: a classification with a single output, which has no entropy.
    """
    if before is not None and before.shape != readout.shape:
        raise ShapeError("the readout before", got=tuple(before.shape), expected=tuple(readout.shape),
                         do="Give the readouts of the same samples at two depths.")  # fmt: skip
    readout = readout.to(torch.promote_types(readout.dtype, torch.float32))
    before = None if before is None else before.to(readout.dtype)
    if task == "regression":
        size = readout.norm(dim=-1)
        return torch.stack([size, torch.zeros_like(size) if before is None else (readout - before).norm(dim=-1)], -1)
    if readout.shape[-1] < 2:
        raise ConfigError("features of a readout", got="one output, which has no entropy", expected="2 classes or more",
                          do='Give task="regression": there the changes of the output are looked at.')  # fmt: skip
    now = sureness(readout)
    return torch.cat([now, torch.zeros_like(now) if before is None else now - sureness(before)], -1)


def sureness(readout: Tensor) -> Tensor:
    """Entropy, margin and top probability of readouts (.., B, K), (.., B, 3): the features before their changes."""
    few = readout.dim() < 2 or torch.compiler.is_compiling() or readout.shape[-2] < MANY or readout.shape[-1] > FEW
    if not few:
        return _by_class(readout.mT.contiguous())
    log = readout.log_softmax(-1)
    two = readout.topk(2, dim=-1).values
    entropy = -(log.exp() * log).sum(-1)
    return torch.stack([entropy, two[..., 0] - two[..., 1], log.amax(-1).exp()], -1)


def _by_class(readout: Tensor) -> Tensor:
    """The same from (.., K, B): a quarter of the time for thousands of samples, whose few classes fill no vector."""
    top, place = readout.max(-2, keepdim=True)
    less = readout - top
    weights = less.exp()
    total = weights.sum(-2)
    margin = -less.scatter(-2, place, -torch.inf).amax(-2)
    return torch.stack([total.log() - (weights * less).sum(-2) / total, margin, total.reciprocal()], -1)
