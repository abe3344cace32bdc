"""All questions put to a trained network at once: where do its trajectories go, how fast, and do they stay?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from node_oc.data.split import Part, Task
from node_oc.diagnosis.counting import Control, Counting, control_costs, counting, cuts
from node_oc.diagnosis.decay import Decay, decay
from node_oc.diagnosis.dissipativity import Dissipation, Storage
from node_oc.diagnosis.profile import Profile, observe, profile
from node_oc.diagnosis.turnpike import Turnpike, entry_by_accuracy, turnpike
from node_oc.discretization.network import Network
from node_oc.problem.ocp import Problem


@dataclass(frozen=True)
class Diagnosis:
    """Answers about one network on one part.

    Attributes:
        profile: one value per layer of every quantity.
        turnpike: entry and exit by distance; None where the stage cost has no minimisers.
        entry_accuracy: the layer from which on the accuracy stays within the budget of the last one's; None
            in regression.
        decay: rate of the mean excess; None where the least stage cost is unknown.
        counting: the counting bound; None without stage weight, least values or steps.
        dissipation: the dissipation inequality; None where the stage cost has no distance, or without steps.
    """

    profile: Profile
    turnpike: Turnpike | None
    entry_accuracy: int | None
    decay: Decay | None = None
    counting: Counting | None = None
    dissipation: Dissipation | None = None

    @property
    def sentence(self) -> str:
        """The verdict on the turnpike in words."""
        return self.sentences["turnpike"]

    @property
    def sentences(self) -> dict[str, str]:
        """The verdicts in words, by "turnpike", "decay", "counting" and "dissipation"."""
        missing = {
            "turnpike": "No turnpike to look for: the minimisers of the stage cost are unknown or do not exist.",
            "decay": "No decay rate: the least value of the stage cost is unknown.",
            "counting": "No counting bound: it needs steps, a stage weight above 0, and known least values.",
            "dissipation": "No dissipation inequality to check: no steps, or a stage cost without a distance.",
        }
        found = {name: getattr(self, name) for name in missing}
        return {name: answer.sentence if answer else missing[name] for name, answer in found.items()}

    def record(self) -> dict[str, dict[str, Any]]:
        """Every answer as a JSON-able dictionary, its sentence always among the keys, by the names above."""
        found = {name: getattr(self, name) for name in self.sentences}
        return {name: {**(asdict(found[name]) if found[name] else {}), "sentence": sentence}
                for name, sentence in self.sentences.items()}  # fmt: skip


def diagnose(
    network: Network, problem: Problem, part: Part, budget: float = 0.005, other: Network | None = None,
    storage: Storage | None = None,
) -> Diagnosis:  # fmt: skip
    """Diagnose a network, wherever it was trained.

    Args:
        network: any network; it is not changed.
        problem: what it minimises: J is compared in the counting bound. Its stage cost is looked at also where its
            weight was 0 in training.
        part: samples; float targets are taken as regression.
        budget: accuracy within which a layer counts as good as the last one.
        other: another network of at most the same time T, as a cropped one: with zero steps appended it is
            another control for the counting bound, beside the network's own first M layers.
        storage: S of the dissipation inequality, from states (B, ...) to (B,); 0 if None.

    Raises:
        DataError: no samples, inputs that are not finite, or an ``other`` that takes longer than T.
        DivergenceError: a state that is not finite, with its layer.
    """
    network = network.untied()  # a control that all steps share is seen as the value that it has in each
    whole: Task = "language" if part.y.dim() > 1 else "classification"
    task: Task = "regression" if part.y.is_floating_point() else whole
    seen = observe(network, problem, part, task, storage)
    found, t = seen.profile, network.grid.t
    rest = None
    if problem.stage_weight and network.depth and found.least is not None and problem.terminal.least is not None:
        trained, own = _controls(network, problem, found)
        others = own if other is None else [*own, _control(other, problem, profile(other, problem, part, task))]
        by_distance = seen.alpha is not None and network.table.stages == 1  # else x_k is not what J has seen
        rest = counting(trained, others, problem.stage_weight, found.distance if by_distance else (),
                        seen.alpha if by_distance else None, found.distance_name)  # fmt: skip
    return Diagnosis(
        found,
        turnpike(found.distance, t=t) if found.distance else None,
        entry_by_accuracy(found.metric, budget) if task == "classification" else None,
        decay(found.excess, t) if found.excess else None,
        rest,
        seen.dissipation,
    )


def _control(network: Network, problem: Problem, found: Profile, name: str = "") -> Control:
    least, end = problem.stage.least or 0.0, problem.terminal.least or 0.0
    name = name or f"the other network of {network.depth} layer{'s' * (network.depth != 1)} and zero steps"
    return Control(name, tuple(e - least for e in found.running), found.stage[-1] - least, found.terminal[-1] - end,
                   sum(control_costs(network, problem)), network.h)  # fmt: skip


def _controls(network: Network, problem: Problem, found: Profile) -> tuple[Control, list[Control]]:
    """The network as a control, and its own first M layers with zero steps for every M."""
    trained = _control(network, problem, found, "the network itself")
    end = problem.terminal.least or 0.0
    terminal = [value - end for value in found.terminal]
    return trained, cuts(trained, found.excess or (), terminal, control_costs(network, problem))
