"""Two CPU processes train the network that one process trains."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from node_oc import pipeline
from node_oc.config import Config

SMALL = {
    "system.depth": 4, "data.train": 200, "data.val": 400, "data.test": 300, "data.turns": 0.5,
    "training.epochs": 20, "training.min_updates": 0,
}  # fmt: skip


@pytest.mark.parametrize("driver", ["time", pytest.param("branch_dropout", marks=pytest.mark.long)])
def test_two_processes_train_the_network_that_one_trains(tmp_path: Path, driver: str) -> None:
    """With noise too: each process has the draws of its own rows of the batch."""
    options = {**SMALL, "training.driver": driver}
    pipeline.run(Config.preset("spirals", options), tmp_path / "one", only_fit=True)
    command = [sys.executable, "-m", "node_oc.cli", "fit", "spirals", "--out", str(tmp_path / "two")]
    for key, value in {**options, "training.devices": 2}.items():
        command += ["--set", f"{key}={value}"]
    subprocess.run(command, check=True, timeout=120)
    assert json.loads((tmp_path / "two" / "run.json").read_text())["finished"]
    one, two = (pipeline.read_network(tmp_path / name) for name in ("one", "two"))
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=2e-3)
