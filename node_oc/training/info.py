"""What is observed of an update, and what is trained."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from node_oc.discretization.network import Network


@dataclass(frozen=True)
class Info:
    """What is observed of one update: J, its terminal part, gradient norm, learning rate, computed steps.

    Of an adaptive solver also what it did: evaluations of the field, steps accepted and rejected; 0 with a table. And
    the explicit regulariser where one is trained with: an estimate by one probe, which J does not hold; 0 otherwise.
    And of discrete weights the share that is not zero; 0 where there are none.
    """

    objective: float
    terminal: float
    gradient_norm: float
    learning_rate: float
    awake_steps: int
    evaluations: int = 0
    accepted: int = 0
    rejected: int = 0
    regulariser: float = 0.0
    nonzero: float = 0.0


def awake_parameters(network: Network) -> list[nn.Parameter]:
    """What is trained: lift, head and the controls of the awake steps."""
    control, awake = network.system.control, set(network.awake)
    asleep = {p for k in range(network.depth) if k not in awake for p in control(k)}
    asleep -= {p for k in awake for p in control(k)}  # of a control that all steps share
    return [p for p in network.parameters() if p not in asleep]
