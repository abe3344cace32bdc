"""Stop at one depth, every sample alike: what any policy has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from node_oc.errors import ConfigError
from node_oc.policies.policy import Policy, Task, check_exits


@dataclass(frozen=True)
class FixedDepth(Policy):
    """Stop at the first exit at or behind a depth, whatever the sample.

    Args:
        depth: k, one of the exits.
        exits: see :class:`Policy`.
        task: see :class:`Policy`.

    Raises:
        ConfigError: a depth that is no exit, or an unknown task.
    """

    depth: int
    exits: tuple[int, ...]
    task: Task = "classification"

    def __post_init__(self) -> None:
        object.__setattr__(self, "exits", check_exits(self.exits))
        if self.task not in get_args(Task):
            raise ConfigError("task", got=repr(self.task), expected=" or ".join(get_args(Task)), do="Correct it.")
        if self.depth not in self.exits:
            raise ConfigError("fixed depth", got=self.depth, expected=f"one of the exits {list(self.exits)}",
                              do="Name an exit, or add this one.")  # fmt: skip

    def stops(self, k: int, features: Tensor) -> Tensor:
        """Everything at the depth and behind it, bool (B,)."""
        return torch.full(features.shape[:1], k >= self.depth, dtype=torch.bool, device=features.device)

    def spec(self) -> dict[str, Any]:
        """JSON-able."""
        return {"kind": "fixed", "depth": self.depth, "exits": list(self.exits), "task": self.task}
