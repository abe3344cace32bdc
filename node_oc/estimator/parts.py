"""From rows to the samples that a network is trained on: standardised, their weights beside their targets."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from node_oc.data.split import Part, Scale, Task
from node_oc.estimator.inputs import Rows, weighted_scale
from node_oc.problem.weighted import with_weights


@dataclass(frozen=True)
class Scales:
    """The standardisation learnt on some rows.

    Attributes:
        task: "classification" or "regression".
        x: of the features.
        y: of the target; None in classification.
    """

    task: Task
    x: Scale
    y: Scale | None

    @classmethod
    def of(cls, rows: Rows, task: Task) -> Scales:
        """Weighted means and deviations of these rows."""
        y = weighted_scale(rows.y[:, None], rows.weight) if task == "regression" else None
        return cls(task, weighted_scale(rows.x, rows.weight), y)

    def plain(self, rows: Rows) -> Part:
        """Samples without weights, float64: what a search judges by."""
        y = torch.from_numpy(rows.y)
        target = y.long() if self.y is None else self.y.apply(y[:, None])
        return Part(self.x.apply(torch.from_numpy(rows.x)), target)

    def weighted(self, rows: Rows, scaled: bool = True) -> Part:
        """Samples with their weights beside the targets, see :func:`node_oc.problem.weighted.with_weights`."""
        plain = self.plain(rows)
        return Part(plain.x, with_weights(plain.y, torch.from_numpy(rows.weight), scaled))
