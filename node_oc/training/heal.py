"""Heal a cropped network, and train the plain neighbour that it is compared with."""

from __future__ import annotations

from pathlib import Path

from lightning_fabric import Fabric
from torch import Tensor

from node_oc.config import TrainingSection
from node_oc.data.split import Part
from node_oc.discretization.network import Network
from node_oc.problem.ocp import Problem
from node_oc.training.batches import training_updates
from node_oc.training.loop import Plan, Progress, fit

HEALING = 1 / 3  # of the epochs: longer heals gained nothing (theory: "The depth that a budget allows")


def heal(
    network: Network,
    problem: Problem,
    part: Part,
    options: TrainingSection,
    *,
    name: str,
    share: float = HEALING,
    teacher: Tensor | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
    fabric: Fabric | None = None,
) -> None:
    """Train a network for a share of the epochs on the terminal cost alone, in place.

    Full initial learning rate, cosine to 0, training data only: better than healing with stage costs or at a
    third of the rate (our measurement). With ``share=1`` and a fresh network this is plain training.

    Args:
        network: the cropped network.
        problem: its terminal cost and control energy are minimised; stage costs and price are left out.
        part: training samples.
        options: epochs, batch, learning rate, clipping, seed.
        name: names the folder and the batch order.
        share: share of the updates of one whole training.
        teacher: outputs (n, K) of another network on the training samples, which take the place of their targets.
        folder: where the training's own folder goes; nothing is written if None.
        progress: as in :func:`node_oc.fit`.
        fabric: as in :func:`node_oc.fit`.
    """
    updates = max(1, round(share * training_updates(options, len(part))))
    if teacher is not None:
        part, problem = Part(part.x, teacher), problem.distilled()
    fit(network, problem.terminal_only(), part, options, plan=Plan(name, updates),
        folder=folder and folder / name, progress=progress, fabric=fabric)  # fmt: skip
