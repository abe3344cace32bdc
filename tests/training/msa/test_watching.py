"""Training by the maximum principle leaves its error terms in the history, once an epoch; gradients leave none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from systems import randn

from node_oc.config import TrainingSection
from node_oc.data import Part
from node_oc.discretization import Network
from node_oc.problem import Problem, SoftCrossEntropy
from node_oc.system import DenseSystem, System
from node_oc.system.discrete import DiscreteSystem
from node_oc.training import Plan, fit

PART = Part(randn(12, 3).float(), torch.arange(12) % 2)


CASES = [(lambda: DiscreteSystem(3, 2, layers=("6", "D0.2", "5")), [3, 6]), (lambda: DenseSystem(3, 2, depth=2), [])]


@pytest.mark.parametrize(("system", "recorded"), CASES)
def test_error_terms_come_each_epoch(system: type[System], recorded: list[int], tmp_path: Path) -> None:
    weights = []
    for folder in (None, tmp_path):  # whether they are written changes nothing: not the weights, nor running statistics
        network = Network(system())
        fit(network, Problem(SoftCrossEntropy(2), SoftCrossEntropy(2), 0.0), PART, TrainingSection(batch=4),
            plan=Plan("fit", updates=6), folder=folder)  # fmt: skip
        weights.append(network.state_dict())
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    found = [line for line in lines if "error_terms" in line]
    assert [line["update"] for line in found] == recorded
    assert [line["update"] for line in lines if "objective" in line] == [1, 2, 3, 4, 5, 6]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    for line in found:
        terms = line["error_terms"]
        assert len(terms["decrease"]) == len(terms["gap"]) == network.depth + 2
        assert sum(terms["gap"]) > 0
