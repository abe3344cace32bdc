"""A policy: a rule that says, from what the readouts show and without a label, whether a sample stops."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from node_oc.errors import ConfigError, ShapeError
from node_oc.problem.stopping import readout_features

Task = Literal["classification", "regression"]


class Policy(ABC):
    """When a sample stops; a concrete policy is a frozen record that JSON can hold.

    Attributes:
        exits: depths k in 0..N at which it may stop, ascending, N last.
        task: whose readouts it looks at, which decides the features.
    """

    exits: tuple[int, ...]
    task: Task

    @abstractmethod
    def stops(self, k: int, features: Tensor) -> Tensor:
        """Whether each sample stops at exit k < N, bool (B,); at N everything stops, and it is not asked.

        Args:
            k: one of the exits.
            features: of the readout at k, changes since the exit before it, (B, F); see
                :func:`node_oc.problem.stopping.readout_features`.
        """

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Everything that :func:`node_oc.policies.policy_from` needs, JSON-able."""


def check_exits(exits: Sequence[int], depth: int | None = None) -> tuple[int, ...]:
    """Exits as ascending depths.

    Args:
        exits: depths k, ascending, N last.
        depth: N of the network, where it is known.

    Raises:
        ConfigError: no exit, exits out of order, or one at a depth that the model does not have.
    """
    found = tuple(int(k) for k in exits)
    if not found or found != tuple(exits) or found[0] < 0 or any(a >= b for a, b in pairwise(found)):
        raise ConfigError("exits", got=list(exits), expected="depths k >= 0, ascending, each once",
                          do="Name the depths at which a sample may stop, N last.")  # fmt: skip
    if depth is not None and found[-1] != depth:
        raise ConfigError("exits", got=f"{list(found)} for a model of depth {depth}",
                          expected=f"depths in 0..{depth}, the last of them {depth}",
                          do=f"A model of {depth} layers has no exit at {found[-1]}." if found[-1] > depth else
                          f"At depth {depth} everything stops: put it last.")  # fmt: skip
    return found


def all_exits(depth: int, exits: Sequence[int] | None = None) -> tuple[int, ...]:
    """The exits that a user names, with N behind them; every depth 0..N if None.

    Raises:
        ConfigError: see :func:`check_exits`.
    """
    named = list(range(depth + 1) if exits is None else exits)
    return check_exits(named if named and max(named) >= depth else [*named, depth], depth)


def first_stop(policy: Policy, features: Tensor) -> Tensor:
    """Index of the exit at which each sample stops, int64 (n,).

    Args:
        policy: whose exits are looked at.
        features: at every exit, (E, n, F), or at every exit but the last.
    """
    asked = [policy.stops(k, seen) for k, seen in zip(policy.exits[:-1], features)]
    last = torch.ones(features.shape[1], dtype=torch.bool, device=features.device)
    return torch.stack([*asked, last]).to(torch.uint8).argmax(0)


def exit_features(readouts: Tensor, task: Task = "classification") -> Tensor:
    """Features at exits, (E, n, F), from their readouts (E, n, K): changes are those since the exit before."""
    later = readout_features(readouts[1:], readouts[:-1], task)
    return torch.cat([readout_features(readouts[:1], None, task), later])


def stopping_depths(policy: Policy, readouts: Tensor) -> Tensor:
    """The depth k at which each sample stops, int64 (B,).

    Args:
        policy: of a network of depth N.
        readouts: yhat_0..yhat_N, (N+1, B, K), as of :func:`node_oc.rollout`.

    Raises:
        ShapeError: no stack of readouts.
        ConfigError: a policy with exits that this network does not have.
    """
    if readouts.dim() != 3:
        raise ShapeError("readouts", got=tuple(readouts.shape), expected="(N + 1, B, K)",
                         do="Give rollout(network, x).readouts.")  # fmt: skip
    exits = torch.tensor(check_exits(policy.exits, len(readouts) - 1), device=readouts.device)
    return exits[first_stop(policy, exit_features(readouts[exits], policy.task))]
