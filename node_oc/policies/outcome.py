"""What a policy comes to on some samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from node_oc.errors import ConfigError
from node_oc.policies.policy import Policy, Task, first_stop
from node_oc.policies.readings import Readings
from node_oc.problem.stopping import oracle, stopping_costs


@dataclass(frozen=True)
class Outcome:
    """Where each of n samples stops, and what that loses.

    Attributes:
        policy: what was followed.
        depths: k at which each sample stops, float64 (n,).
        losses: its loss there, (n,).
        reference: loss of the full network, (n,).
        task: "classification" or "regression".
    """

    policy: Policy
    depths: Tensor
    losses: Tensor
    reference: Tensor
    task: Task

    @property
    def depth(self) -> float:
        """Mean depth, in layers."""
        return float(self.depths.mean())

    @property
    def loss(self) -> float:
        """Mean loss; in classification the share of errors."""
        return float(self.losses.mean())

    @property
    def excess(self) -> float:
        """Mean loss less that of the full network; in regression as a share of the latter."""
        over = float((self.losses - self.reference).mean())
        return over if self.task == "classification" else over / max(float(self.reference.mean()), 1e-300)

    def cost(self, c: float) -> float:
        """Mean stopping cost, loss + c depth, at a cost c of a layer."""
        return self.loss + c * self.depth


def follow(policy: Policy, readings: Readings) -> Outcome:
    """What a policy comes to on some samples.

    Raises:
        ConfigError: readings at other exits than the policy has.
    """
    if policy.exits != readings.exits:
        raise ConfigError("exits", got=f"{list(policy.exits)} of the policy, {list(readings.exits)} of the readings",
                          expected="the same", do="Read the network at the policy's exits.")  # fmt: skip
    depths, losses = readings.at(first_stop(policy, readings.features))
    return Outcome(policy, depths, losses, readings.losses[-1], readings.task)


def follow_oracle(readings: Readings, costs: Sequence[float]) -> list[tuple[float, float]]:
    """Mean depth and mean loss of the oracle, which sees the labels, at each cost of a layer; no policy is below."""
    found = []
    for c in costs:
        ways = torch.tensor(readings.exits, dtype=torch.float64).diff() * c
        depths, losses = readings.at(oracle(stopping_costs(readings.losses, ways))[1])
        found.append((float(depths.mean()), float(losses.mean())))
    return found
