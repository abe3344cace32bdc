"""The error estimate of an epoch's last update, where a network is trained by the maximum principle."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from node_oc.config import TrainingSection
from node_oc.discretization.network import Network
from node_oc.problem.error_estimate import ErrorEstimate
from node_oc.problem.ocp import Problem
from node_oc.training.batches import batches_per_epoch


def watched(
    network: Network, problem: Problem, options: TrainingSection, update: int, batch: tuple[Any, Tensor], samples: int,
    most: int, updates: int,
) -> ErrorEstimate | None:  # fmt: skip
    """Sweeps before the update if its terms are to be recorded, None otherwise; costs two forward sweeps and one back.

    Of E-MSA, MSA and discrete MSA on one device, at the last update of an epoch, and of at most so many epochs. Not
    with path costs, which belong to no layer.

    Args:
        network: before the update.
        problem: whose J.
        options: ``method``, ``batch``.
        update: number of the update that comes, from 0.
        batch: (x, target) that it will see.
        samples: in the training set.
        most: records that a training leaves.
        updates: of the whole training.
    """
    maximum_principle = options.method != "gradient" or any(network.system.discrete(k) for k in network.awake)
    length = batches_per_epoch(samples, options.batch)
    epoch, place = divmod(update + 1, length)
    if (
        not maximum_principle
        or problem.path_costs
        or options.devices > 1
        or place
        or epoch % max(1, updates // length // most)
    ):
        return None
    return ErrorEstimate(network, problem, *batch)
