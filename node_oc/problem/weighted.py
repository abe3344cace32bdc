"""Samples that count more or less than others: a cost that finds each sample's weight beside its target."""

from __future__ import annotations

import torch
from torch import Tensor

from node_oc.errors import DataError
from node_oc.problem.cost import Cost


class Weighted(Cost):
    """Another cost, times the weight of each sample.

    The target (B, M+1) carries the weights in its last column: see :func:`with_weights`. Because their mean over the
    training samples is 1, J of a whole set is the weighted mean of the costs, and a weight of 2 is a repeated row.

    Args:
        cost: the cost of one sample.
        indices: whether its targets are class indices (B,) rather than (B, M).
    """

    def __init__(self, cost: Cost, indices: bool) -> None:
        self.cost, self.indices = cost, indices

    def __repr__(self) -> str:
        return f"Weighted({self.cost!r}, indices={self.indices})"

    def __call__(self, readout: Tensor, target: Tensor) -> Tensor:
        plain = target[:, 0].long() if self.indices else target[:, :-1]
        return self.cost(readout, plain) * target[:, -1]

    @property
    def least(self) -> float | None:
        """That of the wrapped cost: the least mean over samples whose weights have mean 1."""
        return self.cost.least


def with_weights(target: Tensor, weight: Tensor, scaled: bool = True) -> Tensor:
    """Targets with the weights beside them, as :class:`Weighted` wants them.

    Args:
        target: class indices (n,) or targets (n, M).
        weight: at least 0, not all 0, (n,); its type is that of the result.
        scaled: whether they are scaled to mean 1; not where the samples are a few of a stream, whose mean is unknown.

    Returns:
        (n, M+1); class indices are exact in it up to 2^24 classes in float32.

    Raises:
        DataError: weights that are negative, not finite, or zero throughout.
    """
    if not (bool(torch.isfinite(weight).all()) and bool((weight >= 0).all()) and bool((weight > 0).any())):
        raise DataError("weights", got="negative ones, NaN, or zero throughout",
                        expected="finite numbers >= 0, one > 0",
                        do="Drop the samples that shall not count.")  # fmt: skip
    columns = target[:, None] if target.dim() == 1 else target
    beside = weight / weight.mean() if scaled else weight
    return torch.cat([columns.to(weight), beside[:, None]], 1)
