"""The folder of one training: history as JSON lines, and an atomic checkpoint to continue from."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from node_oc import store
from node_oc.errors import StoreError

CHECKPOINT, HISTORY = "checkpoint.safetensors", "history.jsonl"


class TrainingFolder:
    """Reads and writes the checkpoint and the history of one training.

    Args:
        path: the folder; None keeps nothing.
        identity: what the training is (network, problem, options, data); a checkpoint of another is refused.
        writes: whether this process writes (rank zero) or only reads.
    """

    def __init__(self, path: Path | None, identity: dict[str, Any], writes: bool = True) -> None:
        self.path, self.identity, self.writes = path, identity, writes
        self.saved = time.monotonic()
        if path is not None and writes:
            path.mkdir(parents=True, exist_ok=True)

    def load(self) -> dict[str, Any] | None:
        """The state to continue from, or None; the history is cut back to the same moment.

        Raises:
            StoreError: a damaged checkpoint, or one of another training.
        """
        if self.path is None:
            return None
        if not (self.path / CHECKPOINT).exists():
            if self.writes:
                (self.path / HISTORY).unlink(missing_ok=True)
            return None
        tensors, meta = store.load(self.path / CHECKPOINT)
        if meta["identity"] != self.identity:
            wrong = sorted(k for k in self.identity if meta["identity"].get(k) != self.identity[k])
            raise StoreError(
                str(self.path / CHECKPOINT), got=f"a checkpoint of another training ({', '.join(wrong)} differ)",
                expected="one of the same configuration, data and version",
                do="Resume with the configuration that the run was started with, or start a new run.",
            )  # fmt: skip
        if self.writes and (self.path / HISTORY).exists():
            os.truncate(self.path / HISTORY, meta["history_bytes"])
        return store.unflatten(tensors, meta["state"])

    def record(self, entry: dict[str, Any]) -> None:
        """Append one line to the history."""
        if self.path is not None and self.writes:
            with (self.path / HISTORY).open("a") as file:
                file.write(json.dumps(entry) + "\n")

    def due(self, seconds: float) -> bool:
        """Whether the last checkpoint is at least this many seconds old."""
        return self.path is not None and self.writes and time.monotonic() - self.saved >= seconds

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint, atomically."""
        if self.path is None or not self.writes:
            return
        history = self.path / HISTORY
        size = history.stat().st_size if history.exists() else 0
        tensors, skeleton = store.flatten(state)
        store.save(
            self.path / CHECKPOINT,
            tensors,
            {"identity": self.identity, "state": skeleton, "history_bytes": size},
        )
        self.saved = time.monotonic()


def training_work(folder: Path) -> list[dict[str, Any]]:
    """Updates, layer-steps, seconds, compilation and solver of every training in a folder, in the order of their ends.

    Read from the checkpoints, so that a resumed run counts what was done before it was interrupted.
    """
    work = []
    for file in sorted(folder.glob(f"*/{CHECKPOINT}"), key=lambda file: file.stat().st_mtime_ns):
        tensors, meta = store.load(file)
        state = store.unflatten(tensors, meta["state"])
        steps = state["update"] * len(state["spec"]["awake"])
        solver = dict(
            zip(("evaluations", "accepted", "rejected"), state["method"].get("solver", (0, 0, 0)), strict=True)
        )
        work.append({"training": file.parent.name, "updates": state["update"], "layer_steps": steps,
                     "seconds": state["seconds"], "compilation": state["compilation"], "solver": solver,
                     "evaluations": _evaluations(file.with_name(HISTORY))})  # fmt: skip
    return work


def _evaluations(history: Path) -> list[list[int]]:
    """[update, evaluations of the field in it] of an adaptive solver, from a history; empty with a table."""
    lines = [json.loads(line) for line in history.read_text().splitlines()] if history.exists() else []
    return [[line["update"], line["evaluations"]] for line in lines if line.get("evaluations")]


def read_weights(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor], int]:
    """Description, weights and update count of the network in a training folder, finished or not.

    Raises:
        StoreError: no checkpoint yet, or a damaged one.
    """
    tensors, meta = store.load(folder / CHECKPOINT)
    state = store.unflatten(tensors, meta["state"])
    return state["spec"], state["network"], state["update"]
