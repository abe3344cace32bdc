"""How many depths a training step reads where the head is dear."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from node_oc.discretization.network import Network, evaluating
from node_oc.problem.ocp import Problem
from node_oc.system.base import System
from node_oc.trajectory.rollout import rollout


def affordable_draws(system: System | Network, x: Any) -> int | None:
    """How many depths a step can read for the cost of one pass through the network, by operations; None if it is all.

    Then a step with stage costs costs at most two plain ones. Operations are those of torch's counter, matrix products
    and convolutions: a softmax over many words is not among them.

    Args:
        system: whose head is asked about.
        x: a batch of inputs.
    """
    network = system if isinstance(system, Network) else Network(system)
    with evaluating(network), torch.no_grad():
        with FlopCounterMode(display=False) as whole:
            trajectory = rollout(network, x)
        with FlopCounterMode(display=False) as head:
            _ = trajectory.final
    one = head.get_total_flops()
    draws = (whole.get_total_flops() + one) // max(one, 1)
    return None if draws >= network.depth else max(1, int(draws))


def settled(problem: Problem, network: Network, x: Any) -> Problem:
    """The problem with the number of draws that is affordable for batches like this one, where it says "auto"."""
    if problem.draws != "auto" or not problem.stage_weight:
        return problem
    return replace(problem, draws=affordable_draws(network, x))
