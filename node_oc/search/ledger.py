"""Trainings of rivals: each done once, resumable, and what it cost."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from node_oc import store
from node_oc.discretization.network import Network
from node_oc.search.compared import Rival
from node_oc.search.protocol import Protocol
from node_oc.training.batches import training_updates
from node_oc.training.checkpoint import CHECKPOINT


class Ledger:
    """Trains networks by a protocol and keeps account of work and seconds by the name of the training.

    Args:
        protocol: heals and judges; a training that its own folder has is read from there.
        folder: where other trainings go; "compare" in the protocol's folder if None.
    """

    def __init__(self, protocol: Protocol, folder: Path | None = None) -> None:
        self.protocol = protocol
        self.own = copy.copy(protocol)
        self.own.folder = folder or (protocol.folder and protocol.folder / "compare")
        self.spent: dict[str, tuple[float, float]] = {}
        """Training -> work in trainings of one layer for all epochs, and seconds."""

    def train(self, name: str, network: Network, share: float, teacher: Tensor | None = None) -> None:
        """Heal, or with ``share=1`` train plainly, in place; see :meth:`Protocol.heal`."""
        theirs = self.protocol.folder and self.protocol.folder / name / CHECKPOINT
        judge = self.protocol if theirs and theirs.exists() else self.own
        start = time.perf_counter()
        judge.heal(network, name, teacher, share)
        seconds = time.perf_counter() - start
        if judge.folder:  # a resumed training counts what was done before it was interrupted
            file = judge.folder / name / CHECKPOINT  # there is none where there was nothing to train
            seconds = _seconds(file) if file.exists() else 0.0
        whole = training_updates(self.protocol.training, len(self.protocol.split.train))
        self.spent[name] = network.depth * max(1, round(share * whole)) / whole, seconds

    def row(
        self, way: str, network: Network, steps: Iterable[int] | None, trainings: Iterable[str],
        loss: NDArray[np.float64] | None = None,
    ) -> Rival:  # fmt: skip
        """What came of a way, measured on the selecting half; the excess is nan without a reference.

        Args:
            way: its name.
            network: its answer.
            steps: which steps of a deeper network it kept, or None.
            trainings: all that the way needs, each counted once.
            loss: of every sample of the selecting half, where it is known already.
        """
        names = tuple(dict.fromkeys(trainings))
        loss = self.protocol.losses(network) if loss is None else loss
        excess = float(self.protocol.paired(network).mean()) if self.protocol.judged else math.nan
        inside = self.protocol.judged and excess <= self.protocol.budget.limit
        work, seconds = (sum(self.spent[name][i] for name in names) for i in range(2))
        return Rival(way, network.depth, None if steps is None else tuple(steps), network, float(loss.mean()), excess,
                     inside, work, seconds, names)  # fmt: skip


def _seconds(file: Path) -> float:
    tensors, meta = store.load(file)
    return float(store.unflatten(tensors, meta["state"])["seconds"])
