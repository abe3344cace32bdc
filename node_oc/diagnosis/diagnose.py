"""One question put to a trained network: where do its trajectories go, and from which layer on do they stay?"""

from __future__ import annotations

from dataclasses import dataclass

from node_oc.data.split import Part, Task
from node_oc.diagnosis.profile import Profile, profile
from node_oc.diagnosis.turnpike import Turnpike, entry_by_accuracy, turnpike
from node_oc.discretization.network import Network
from node_oc.problem.ocp import Problem


@dataclass(frozen=True)
class Diagnosis:
    """Answers about one network on one part.

    Attributes:
        profile: one value per layer of every quantity.
        turnpike: entry by distance, with its sentence; None where the stage cost has no minimisers.
        entry_accuracy: the layer from which on the accuracy stays within the budget of the last one's; None
            in regression.
    """

    profile: Profile
    turnpike: Turnpike | None
    entry_accuracy: int | None

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if self.turnpike is None:
            return "No turnpike to look for: the minimisers of the stage cost are unknown or do not exist."
        return self.turnpike.sentence


def diagnose(network: Network, problem: Problem, part: Part, budget: float = 0.005) -> Diagnosis:
    """Diagnose a network, wherever it was trained.

    Args:
        network: any network; it is not changed.
        problem: whose stage cost is looked at, also where its weight was 0 in training.
        part: samples; float targets are taken as regression.
        budget: accuracy within which a layer counts as good as the last one.
    """
    task: Task = "regression" if part.y.is_floating_point() else "classification"
    found = profile(network, problem, part, task)
    by_distance = turnpike(found.distance) if found.distance else None
    by_accuracy = entry_by_accuracy(found.metric, budget) if task == "classification" else None
    return Diagnosis(found, by_distance, by_accuracy)
