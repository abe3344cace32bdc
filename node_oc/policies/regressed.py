"""A policy whose decisions are regressions on what the readouts show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from node_oc.errors import ConfigError
from node_oc.policies.hinges import Hinges
from node_oc.policies.policy import Policy, Task, check_exits
from node_oc.policies.threshold import COLUMNS
from node_oc.problem.stopping import CHANGE_FEATURES, FEATURES

Method = Literal["look-ahead", "continuation"]


def guarded(features: Tensor, guard: float | Tensor | None, task: Task) -> Tensor:
    """Whether samples may stop as far as the guard goes, bool (n,) from features (n, F); see :class:`Regressed`.

    Args:
        features: of a readout.
        guard: a margin, or a change; several of them, (C, 1), give (C, n); None where all may.
        task: see :class:`Policy`.
    """
    if guard is None:
        return torch.ones_like(features[..., 0], dtype=torch.bool)
    column, small = COLUMNS["margin" if task == "classification" else "change"]
    seen = features[..., column]
    return seen <= guard if small else seen >= guard


@dataclass(frozen=True)
class Regressed(Policy):
    """Stop at the first exit where going on is expected to save less than it costs.

    Attributes:
        method: how the regressions were found: :func:`look_ahead` or :func:`continuation`.
        exits: see :class:`Policy`.
        rules: what is expected to be saved by going on, less what that costs, one for each exit but the last.
        costs: c of the way from each exit to the next, for which they were found, (E-1,).
        guard: a sample stops only where its margin is at least this as well; where, in regression, its output changed
            by at most this. Regressions say little of rare harm, so this is how a policy is made more careful.
        task: see :class:`Policy`.

    Raises:
        ConfigError: parts that do not fit one another.
    """

    method: Method
    exits: tuple[int, ...]
    rules: tuple[Hinges, ...]
    costs: tuple[float, ...]
    guard: float | None = None
    task: Task = "classification"

    def __post_init__(self) -> None:
        object.__setattr__(self, "exits", check_exits(self.exits))
        rules = tuple(rule if isinstance(rule, Hinges) else Hinges(*rule) for rule in self.rules)
        object.__setattr__(self, "rules", rules)
        ways, guard = len(self.exits) - 1, 0.0 if self.guard is None else float(self.guard)
        sizes = {rule.features for rule in rules}
        wide = len(FEATURES if self.task == "classification" else CHANGE_FEATURES)
        if self.method not in get_args(Method) or self.task not in get_args(Task) or math.isnan(guard):
            raise ConfigError("policy", got=f"{self.method!r} for {self.task!r}, guard {self.guard}",
                              expected=f"one of {get_args(Method)} for one of {get_args(Task)}, a number or None",
                              do="Correct it.")  # fmt: skip
        if len(rules) != ways or len(self.costs) != ways or not sizes <= {wide}:
            raise ConfigError("policy", got=f"{len(rules)} rules and {len(self.costs)} costs, of {sizes} features",
                              expected=f"{ways} of both, of {wide} features", do="Fit it again.")  # fmt: skip

    def stops(self, k: int, features: Tensor) -> Tensor:
        """Whether going on is expected not to pay, bool (B,)."""
        return (self.rules[self.exits.index(k)](features) <= 0) & guarded(features, self.guard, self.task)

    def spec(self) -> dict[str, Any]:
        """JSON-able."""
        return {"kind": "regressed", "method": self.method, "exits": list(self.exits),
                "rules": [rule.spec() for rule in self.rules], "costs": list(self.costs), "guard": self.guard,
                "task": self.task}  # fmt: skip
