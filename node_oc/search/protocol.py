"""What every way of shortening shares: two halves of the validation data, one budget, one way to heal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from node_oc.config import SearchSection, TrainingSection
from node_oc.cropping import crop
from node_oc.data.split import Part, Split
from node_oc.diagnosis.loss import Budget, outputs, sample_losses
from node_oc.discretization.network import Network
from node_oc.errors import ConfigError
from node_oc.problem.ocp import Problem
from node_oc.search.found import Candidate
from node_oc.seeds import derived_generator
from node_oc.system import AdoptedSystem
from node_oc.training.heal import HEALING, heal
from node_oc.training.loop import Progress, make_fabric

LEAST_HALF = 1000  # points; a smaller half cannot certify anything useful


@dataclass
class Protocol:
    """Heals and judges shortened networks, ours and a rival's alike (theory: "The depth that a budget allows").

    Attributes:
        problem: its terminal cost and control energy are what networks are healed and plainly trained with.
        split: training, validation and test samples; the test part is never looked at.
        training: how every network is trained.
        search: the budget, whether crops are healed, and towards what.
        folder: where trainings keep their checkpoints; trained again, they continue there.
        progress: see :func:`node_oc.fit`.
        fabric: see :func:`node_oc.fit`.
        selecting: validation samples that select; all of them where a half would have fewer than 1,000.
        certifying: the other half, or None.
    """

    problem: Problem
    split: Split
    training: TrainingSection = field(default_factory=TrainingSection)
    search: SearchSection = field(default_factory=SearchSection)
    folder: Path | None = None
    progress: Progress | None = None
    fabric: Fabric | None = None
    selecting: Part = field(init=False, repr=False)
    certifying: Part | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.fabric = self.fabric or make_fabric(self.training)
        self.selecting, self.certifying = _halves(self.split.val)
        self._reference: tuple[Network, NDArray[np.float64], Budget] | None = None

    @staticmethod
    def check_own_controls(network: Network) -> None:
        """Raise ConfigError where all steps share one control: then there is no layer to leave out."""
        if isinstance(network.system, AdoptedSystem) and network.system.tied:
            raise ConfigError("a search for the depth", got="branches that share parameters",
                              expected="branches with parameters of their own",
                              do="None of them can be left out alone: untie them in the model.")  # fmt: skip
        if network.system.tied:
            raise ConfigError("a search for the depth", got="steps that share their controls", expected="one a step",
                              do="Search on node_oc.discretize(network), or with node_oc.crop_horizon.")  # fmt: skip

    def judge_by(self, reference: Network) -> None:
        """Measure everything from now on against this trained network."""
        loss = self.losses(reference)
        self._reference = reference, loss, Budget.against(self.search.budget, self.split.task, loss)

    @property
    def judged(self) -> bool:
        """Whether a reference is known."""
        return self._reference is not None

    @property
    def reference(self) -> Network:
        """The network that everything is measured against. Raises ConfigError before :meth:`judge_by`."""
        return self._known()[0]

    @property
    def budget(self) -> Budget:
        """What may be lost against the reference. Raises ConfigError before :meth:`judge_by`."""
        return self._known()[2]

    def losses(self, network: Network) -> NDArray[np.float64]:
        """Loss of every sample of the selecting half, (n,)."""
        return sample_losses(network, self.selecting, self.split.task)

    def paired(self, network: Network) -> NDArray[np.float64]:
        """d of every sample of the selecting half, (n,): see :class:`node_oc.diagnosis.Budget`."""
        _, reference, budget = self._known()
        return budget.paired(self.losses(network), reference)

    def teacher(self, network: Network) -> Tensor | None:
        """What a crop is healed towards: the network's outputs (n, K) on training data; None for the labels."""
        return outputs(network, self.split.train.x).cpu() if self.search.distil else None

    def heal(self, network: Network, name: str, teacher: Tensor | None = None, share: float = HEALING) -> None:
        """Train on the terminal cost alone, rows released, for a share of the epochs, in place.

        With ``share=1`` and a fresh network this is plain training.

        Args:
            network: a crop, or a fresh network.
            name: of the training: its folder and its batch order.
            teacher: see :meth:`teacher`.
            share: share of the updates of one whole training.
        """
        network.system.release_()
        heal(network, self.problem, self.split.train, self.training, name=name, share=share, teacher=teacher,
             folder=self.folder, progress=self.progress, fabric=self.fabric)  # fmt: skip

    def attempt(
        self, source: Network, steps: Sequence[int], name: str, teacher: Tensor | None = None, share: float = HEALING
    ) -> Candidate:  # fmt: skip
        """Keep these steps, heal where the section says so, and measure on the selecting half.

        Args:
            source: what is cut; it is left as it is.
            steps: the steps kept.
            name: of the healing.
            teacher: see :meth:`teacher`.
            share: see :meth:`heal`.
        """
        return self.judge(crop(source, steps=steps), name, teacher, share, steps)

    def judge(
        self, network: Network, name: str, teacher: Tensor | None = None, share: float = HEALING,
        steps: Sequence[int] = (),
    ) -> Candidate:  # fmt: skip
        """Heal a shortened network where the section says so, in place, and measure it on the selecting half.

        Args:
            network: a shorter one than the reference, however that was come by.
            name: of the healing.
            teacher: see :meth:`teacher`.
            share: see :meth:`heal`.
            steps: the steps of another network that it keeps; none where it was made anew.
        """
        excess = raw = float(self.paired(network).mean())
        if self.search.heal:
            self.heal(network, name, teacher, share)
            excess = float(self.paired(network).mean())
        return Candidate(network.depth, tuple(steps), network, raw, excess, excess <= self.budget.limit)

    def _known(self) -> tuple[Network, NDArray[np.float64], Budget]:
        if self._reference is None:
            raise ConfigError("the reference", got="none", expected="a trained network to measure against",
                              do="Call judge_by(network) first.")  # fmt: skip
        return self._reference


def smallest(inside: Callable[[int], bool], low: int, high: int) -> int:
    """The smallest M in (low, high] that is inside, by bisection; ``high`` itself, taken to be, is never asked.

    Depth 0, lift and head alone, is asked last.
    """
    while high - low > 1:
        middle = max(1, (low + high) // 2) if high > 1 else 0
        if inside(middle):
            high = middle
        else:
            low = middle
    return high


def _halves(val: Part) -> tuple[Part, Part | None]:
    half = len(val) // 2
    if half < LEAST_HALF:
        return val, None
    order = torch.randperm(len(val), generator=derived_generator(0, "halves"))
    first, second = order[:half], order[half:]
    return Part(val.x[first], val.y[first]), Part(val.x[second], val.y[second])
