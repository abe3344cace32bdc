"""Soft stopping: the chance of stopping at each depth, from what going on would gain (our formulation)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from node_oc.errors import ShapeError

RIDGE = 1e-3  # times the number of samples: features have variance 1, so that this much of it counts as noise


def stopping_chances(gain: Tensor, temperature: float) -> Tensor:
    """a_k = sigmoid(gain_k / tau), the chance of stopping at k once there, with a_N = 1: (N+1, B).

    Args:
        gain: Chat_k - Ghat_k for k = 0..N-1, (N, B): what stopping saves against going on.
        temperature: tau, in the units of the gain; 0 for the hard rule, which stops where stopping is no dearer.
    """
    chances = (gain >= 0).to(gain) if temperature == 0 else torch.sigmoid(gain / temperature)
    return torch.cat([chances, chances.new_ones(1, *gain.shape[1:])])


def stopping_law(gain: Tensor, temperature: float) -> Tensor:
    """pi_k = a_k prod_{j<k} (1 - a_j), (N+1, B): how likely a sample stops at k = 0..N. It sums to 1.

    Args:
        gain: as of :func:`stopping_chances`.
        temperature: as of :func:`stopping_chances`.
    """
    # 1 - sigmoid(z) = sigmoid(-z): as a difference it would lose its digits where stopping is nearly sure.
    on = (gain < 0).to(gain) if temperature == 0 else torch.sigmoid(-gain / temperature)
    reached = torch.cat([on.new_ones(1, *gain.shape[1:]), on.cumprod(0)])
    return reached * stopping_chances(gain, temperature)


def stopping_gain(features: Tensor, stopped: Tensor, temperature: float) -> Tensor:
    """Chat_k - Ghat_k for k = 0..N-1, (N, B), regressed on what the readouts show, backwards in depth.

    Ghat_k is the ridge regression of G_k on the features of depth k, Chat_k that of V_{k+1}, what the sample costs
    where it goes on and follows the law from k + 1 on: V_N = G_N, V_k = a_k G_k + (1 - a_k) V_{k+1} (Longstaff and
    Schwartz, Rev. Financ. Stud. 2001, with a soft rule; our formulation). Both have the same features, so that their
    difference is one regression. The costs count as data: a gradient flows through the features alone.

    Args:
        features: of depths 0..N, (N+1, B, F).
        stopped: G_k of every sample, (N+1, B).
        temperature: tau of the law.

    Raises:
        ShapeError: features and costs of different depths or samples.
    """
    if features.shape[:2] != stopped.shape:
        raise ShapeError("costs of stopping", got=tuple(stopped.shape), expected=tuple(features.shape[:2]),
                         do="Give one cost for each row of features.")  # fmt: skip
    with torch.autocast(features.device.type, enabled=False):  # the sums of squares want the digits
        return _backwards(_design(features[:-1]), stopped.detach(), temperature)


def _backwards(design: Tensor, stopped: Tensor, temperature: float) -> Tensor:
    """The recursion over depth, from designs (N, B, 1 + F) and costs (N+1, B)."""
    data, stopped = design.detach(), stopped.to(design.dtype)
    normal = data.mT @ data
    normal.diagonal(dim1=1, dim2=2)[:, 1:].add_(RIDGE * data.shape[1])
    factor = torch.linalg.cholesky(normal)
    value, gains = stopped[-1], []
    for k in reversed(range(len(design))):
        weights = torch.cholesky_solve((data[k].T @ (value - stopped[k]))[:, None], factor[k])[:, 0]
        gains.append(design[k] @ weights)
        stop = stopping_chances(gains[-1].detach()[None], temperature)[0]
        value = value + stop * (stopped[k] - value)
    return torch.stack(gains[::-1]) if gains else stopped[:0]


def _design(features: Tensor) -> Tensor:
    """A column of ones, and the features with mean 0 and variance 1 over the samples of each depth, (N, B, 1 + F)."""
    wide = features.to(torch.promote_types(features.dtype, torch.float32))
    with torch.no_grad():
        mean, spread = wide.mean(1, keepdim=True), wide.std(1, keepdim=True, correction=0)
    return F.pad((wide - mean) / (spread + 1e-6), (1, 0), value=1.0)
