"""Stop as soon as the readout is sure enough: the baselines of early exit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from node_oc.errors import ConfigError
from node_oc.policies.policy import Policy, Task, check_exits

Quantity = Literal["entropy", "margin", "confidence", "change"]
# Column of the features, and whether a small value stops.
COLUMNS: dict[Quantity, tuple[int, bool]] = {
    "entropy": (0, True), "margin": (1, False), "confidence": (2, False), "change": (1, True),
}  # fmt: skip


@dataclass(frozen=True)
class Threshold(Policy):
    """Stop where entropy is at most, or margin or largest probability at least, a value that is the same at every exit.

    In regression, where there is no entropy: where the output changed by at most a value since the exit before; there
    nothing stops at the first exit.

    Args:
        quantity: "entropy" (nats), "margin" (of the two largest logits), "confidence" (0..1); "change" in regression.
        value: the threshold.
        exits: see :class:`Policy`.

    Raises:
        ConfigError: an unknown quantity, or no number.
    """

    quantity: Quantity
    value: float
    exits: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "exits", check_exits(self.exits))
        if self.quantity not in COLUMNS or math.isnan(self.value):
            raise ConfigError("threshold", got=f"{self.quantity} {self.value}",
                              expected=f"a number for {' or '.join(get_args(Quantity))}", do="Correct it.")  # fmt: skip

    @property
    def task(self) -> Task:  # type: ignore[override]
        """Change is looked at in regression, the others in classification."""
        return "regression" if self.quantity == "change" else "classification"

    def stops(self, k: int, features: Tensor) -> Tensor:
        """Whether the quantity has reached the threshold, bool (B,)."""
        column, small = COLUMNS[self.quantity]
        seen = features[..., column]
        if self.quantity == "change" and k == self.exits[0]:
            return torch.zeros_like(seen, dtype=torch.bool)
        return seen <= self.value if small else seen >= self.value

    def spec(self) -> dict[str, Any]:
        """JSON-able."""
        return {"kind": "threshold", "quantity": self.quantity, "value": self.value, "exits": list(self.exits)}
