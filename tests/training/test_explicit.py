"""Training with the explicit regulariser in place of noise: what is minimised, what is told, what excludes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import node_oc as oc
from node_oc.config import Config, TrainingSection
from node_oc.data import spirals
from node_oc.discretization import Network
from node_oc.discretization.drivers import branch_dropout
from node_oc.errors import ConfigError
from node_oc.problem import Problem
from node_oc.system import DenseSystem
from node_oc.training.loop import Plan, fit


def g(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


OPTIONS = TrainingSection(epochs=1, batch=32, min_updates=0, checkpoint_seconds=0.0, driver="branch_dropout",
                          driver_explicit=True)  # fmt: skip
PART = spirals(train=64, val=2, test=2).train


def small() -> Network:
    return Network(DenseSystem(2, 2, depth=3, width=4, hidden=4, generator=g(0)))


def history(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def test_training_with_it_draws_no_noise_and_resumes_to_the_bit(tmp_path: Path) -> None:
    problem, plan = Problem.classification(2), Plan("p", updates=8)
    whole = small()
    fit(whole, problem, PART, OPTIONS, plan=plan, folder=tmp_path / "whole")

    def interrupt(name: str, done: int, updates: int, info: object) -> None:
        if done == 3:
            raise KeyboardInterrupt

    resumed = small()
    with pytest.raises(KeyboardInterrupt):
        fit(small(), problem, PART, OPTIONS, plan=plan, folder=tmp_path / "cut", progress=interrupt)
    fit(resumed, problem, PART, OPTIONS, plan=plan, folder=tmp_path / "cut")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    plain = small()
    fit(plain, problem, PART, OPTIONS.model_copy(update={"driver": "time", "driver_explicit": False}), plan=plan,
        folder=tmp_path / "plain")  # fmt: skip
    told, other = history(tmp_path / "whole"), history(tmp_path / "plain")
    assert told[0]["objective"] == pytest.approx(other[0]["objective"], rel=1e-6)  # J itself: no noise, no regulariser
    assert all(row["regulariser"] != 0 for row in told)
    assert all(row["regulariser"] == 0 for row in other)
    assert told[-1]["objective"] != other[-1]["objective"]


def test_an_update_descends_along_the_gradient_of_j_and_r() -> None:
    net, problem = small().double(), Problem.classification(2)
    cost = oc.StageCost(net, problem, noise=branch_dropout(0.8), explicit=True, seed=3)
    net.train()
    x, y = PART.x.double(), PART.y
    first, second = cost(x, y), cost(x, y)
    assert cost.objective is not None
    assert cost.regulariser is not None
    assert first != second  # other signs
    total = cost.objective.smooth + cost.regulariser.sum()
    torch.testing.assert_close(second, problem.scale(net) * total)
    again = oc.StageCost(net, problem, noise=branch_dropout(0.8), explicit=True, seed=3)
    assert again(x, y) == first
    second.backward()
    assert all(p.grad is not None for p in net.parameters())
    net.eval()
    assert cost(x, y) == problem.scale(net) * cost.objective.smooth
    assert cost.regulariser is None
    with pytest.raises(ConfigError, match="explicit: got True without noise"):
        oc.StageCost(net, problem, explicit=True)


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        ({}, "training.driver_explicit"),
        ({"training.driver": "gaussian", "training.gradient_checkpointing": True}, "training.gradient_checkpointing"),
        ({"training.driver": "gaussian", "training.precision": "bf16-mixed"}, "training.precision"),
        ({"training.driver": "gaussian", "training.compile": True}, "training.compile"),
        ({"training.driver": "gaussian", "training.solver": "dopri5"}, "training.driver"),
    ],
)
def test_what_excludes_it(overrides: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        Config.load("spirals", {"training.driver_explicit": True, **overrides})
    options = {name.removeprefix("training."): value for name, value in overrides.items()}
    with pytest.raises(ConfigError, match="training"):
        fit(small(), Problem.classification(2), PART, TrainingSection(driver_explicit=True, **options))  # type: ignore[arg-type]


def test_relu_is_told_of_once(recwarn: pytest.WarningsRecorder) -> None:
    net = Network(DenseSystem(2, 2, depth=2, width=3, hidden=3, activation="relu"))
    fit(net, Problem.classification(2), PART, OPTIONS, plan=Plan(updates=3))
    assert len([w for w in recwarn if w.category is oc.NotSmoothWarning]) == 1
