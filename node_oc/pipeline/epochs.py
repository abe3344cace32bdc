"""What every epoch of a training leaves of its network: the validation metric, and how its discrete weights move."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from node_oc import store
from node_oc.data.split import Part, Task
from node_oc.diagnosis.loss import sample_losses
from node_oc.discretization.network import Network, evaluating
from node_oc.packing.files import discrete_layers
from node_oc.training.loop import Progress
from node_oc.training.method import Info

EPOCHS = "epochs.safetensors"


class Epochs:
    """Watches a training as its ``progress``, and looks at the network at the end of every whole epoch.

    The rows are in a file, with the discrete weights that the last of them saw. A training that is resumed from before
    that row comes to the same bits again, so what is there already is not looked at twice.

    Args:
        network: that is trained.
        part: validation samples.
        task: "classification" or "regression".
        updates: in an epoch.
        path: of the file; a training that starts anew wants none there.
        progress: called as well.

    Attributes:
        rows: one an epoch: ``epoch``, ``update``, ``metric`` (accuracy or loss on the validation samples),
            ``objective`` (J of the last update), ``nonzero`` (of all discrete weights), and by layer ``layers``: its
            share of weights that are not 0, and of those that are not what they were an epoch before.

    Raises:
        StoreError: a damaged file.
    """

    def __init__(
        self, network: Network, part: Part, task: Task, updates: int, path: Path, progress: Progress | None = None
    ) -> None:
        self.network, self.part, self.task, self.updates, self.path = network, part, task, updates, path
        self.progress = progress
        self.rows: list[dict[str, Any]] = []
        if path.exists():
            self.before, meta = store.load(path)
            self.rows = meta["rows"]
        else:
            self.before = self._weights()

    def __call__(self, name: str, update: int, updates: int, info: Info) -> None:
        """After an update of the training."""
        known = self.rows[-1]["update"] if self.rows else 0
        if update > known and update % self.updates == 0:
            self._look(update, info)
        if self.progress:
            self.progress(name, update, updates, info)

    def _look(self, update: int, info: Info) -> None:
        with torch.no_grad(), evaluating(self.network):
            losses = sample_losses(self.network, self.part, self.task)
        mean = float(losses.mean())
        now = self._weights()
        layers = [
            {"name": name, "nonzero": float(weight.count_nonzero()) / weight.numel(),
             "changed": float((weight != self.before[name]).sum()) / weight.numel()} for name, weight in now.items()
        ]  # fmt: skip
        count, size = sum(int(w.count_nonzero()) for w in now.values()), sum(w.numel() for w in now.values())
        self.rows.append({"epoch": update / self.updates, "update": update, "objective": info.objective,
                          "metric": 1 - mean if self.task == "classification" else mean,
                          "nonzero": count / size, "layers": layers})  # fmt: skip
        self.before = now
        self.path.parent.mkdir(parents=True, exist_ok=True)
        store.save(self.path, now, {"rows": self.rows})

    def _weights(self) -> dict[str, Tensor]:
        """The discrete weights as they are now; what a method works on is written down first."""
        found = {}
        for name, layer in discrete_layers(self.network):
            layer.settle_()
            found[name] = layer.weight.detach().cpu().clone()
        return found
