"""Any torch loss as a stage or terminal cost."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor, nn

from node_oc.problem.cost import Cost, each_sample


class TorchLoss(Cost):
    """Any torch loss as a stage or terminal cost.

    Args:
        loss: a loss module such as ``nn.HuberLoss()``, whose ``reduction`` is replaced by "none"; or a
            function (readout (B, K), target) -> one value a sample, (B,) or (B, ...), averaged over the rest.

    Raises:
        ShapeError: at the first call, if the loss does not return one value a sample.
    """

    least = None

    def __init__(self, loss: nn.Module | Callable[[Tensor, Tensor], Tensor]) -> None:
        if isinstance(loss, nn.Module):
            loss = copy.copy(loss)
            if hasattr(loss, "reduction"):
                loss.reduction = "none"  # type: ignore[assignment]
        self.loss = loss

    @property
    def parameters(self) -> list[Tensor]:
        return list(self.loss.parameters()) if isinstance(self.loss, nn.Module) else []

    def __repr__(self) -> str:
        return f"TorchLoss({getattr(self.loss, '__qualname__', self.loss)})"

    def __call__(self, readout: Tensor, target: Tensor) -> Tensor:
        return each_sample(self.loss, readout, target)
