"""Costs of a whole trajectory: they add to J, anneal, and are refused where there is no whole trajectory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from systems import randn, stir_
from torch import Tensor

from node_oc.config import Config, TrainingSection
from node_oc.data import Part, digits
from node_oc.discretization import DepthGrid, Network, stochastic_depth
from node_oc.errors import ConfigError
from node_oc.pipeline import make_problem
from node_oc.problem import PathCost, Problem, explicit_regulariser, indicators
from node_oc.problem.stopping import DepthCost, DiminishingReturns
from node_oc.system import DenseSystem
from node_oc.training import Plan, fit
from node_oc.trajectory import Segmented, Solution, Trajectory, rollout

X, Y = randn(6, 2), torch.arange(6) % 3
OPTIONS = TrainingSection(epochs=1, batch=16, min_updates=0, checkpoint_seconds=0.0)
PART = Part(torch.randn(64, 2, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 3)


@dataclass(frozen=True)
class Length(PathCost):
    """Sum of ||x_{k+1} - x_k||^2, times a weight that grows from 1 to 3 in a training."""

    weight: float = 3.0

    def at(self, progress: float) -> Length:
        return Length(1 + 2 * progress)

    def __call__(self, trajectory: Trajectory, target: Tensor) -> Tensor:
        return self.weight * torch.stack([f.square().sum(1).mean() for f in trajectory.increments]).sum()


PROBLEM = replace(Problem.classification(3), path_costs=(Length(),))


def network(seed: int = 0, dtype: torch.dtype = torch.float32) -> Network:
    system = DenseSystem(2, 3, depth=4, width=4, hidden=5, generator=torch.Generator().manual_seed(seed)).to(dtype)
    stir_(system)
    return Network(system, DepthGrid((0.5, 1.0, 0.25, 2.0)))


def test_j_holds_them_and_the_optimiser_its_share() -> None:
    net = network(dtype=torch.float64)
    trajectory = rollout(net, X)
    without, with_ = (problem.evaluate(trajectory, Y) for problem in (replace(PROBLEM, path_costs=()), PROBLEM))
    states = torch.stack(trajectory.states).detach()
    length = float((states[1:] - states[:-1]).square().sum()) / 6
    assert (with_.total - without.total).item() == pytest.approx(3 * length)
    assert with_.smooth == with_.total
    assert PROBLEM.scale(net) == replace(PROBLEM, path_costs=()).scale(net)
    assert PROBLEM.terminal_only().path_costs == PROBLEM.distilled().path_costs == ()
    assert PROBLEM.priced(0.3).path_costs == (Length(),)


def test_they_are_part_of_what_a_problem_is_and_change_with_progress() -> None:
    assert "Length(weight=3.0)" in repr(PROBLEM)
    assert PROBLEM.at(0.5).path_costs == (Length(2.0),)
    assert PROBLEM.at(1.0) == PROBLEM
    returns = replace(PROBLEM, path_costs=(DiminishingReturns(0.5),))
    assert returns.at(0.0) is returns  # nothing to anneal


def test_a_training_anneals_from_the_first_update_to_the_last() -> None:
    seen: list[float] = []

    class Watched(Length):
        def at(self, progress: float) -> Watched:
            seen.append(progress)
            return self

    fit(network(), replace(PROBLEM, path_costs=(Watched(),)), PART, OPTIONS, plan=Plan(updates=5))
    assert seen == [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("cost", [Length(), DepthCost(PROBLEM.terminal, 0.01), DiminishingReturns(0.5)])
def test_an_annealed_training_resumes_to_the_same_bits(cost: PathCost, tmp_path: Path) -> None:
    problem, plan = replace(PROBLEM, path_costs=(cost,)), Plan("p", updates=9)

    def interrupt(name: str, done: int, updates: int, info: object) -> None:
        if done == 4:
            raise KeyboardInterrupt

    fit(whole := network(), problem, PART, OPTIONS, plan=plan, folder=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(network(), problem, PART, OPTIONS, plan=plan, folder=tmp_path / "cut", progress=interrupt)
    fit(resumed := network(), problem, PART, OPTIONS, plan=plan, folder=tmp_path / "cut")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    history = [(tmp_path / name / "history.jsonl").read_bytes() for name in ("whole", "cut")]
    assert history[0] == history[1]


def test_l_depth_under_mixed_precision() -> None:
    """bfloat16 readouts, a regression in float32: nearly the cost that float32 gives."""
    net, problem = network(), replace(PROBLEM, path_costs=(DepthCost(PROBLEM.terminal, 0.01),))
    fit(net, problem, PART, OPTIONS.model_copy(update={"precision": "bf16-mixed"}), plan=Plan(updates=2))
    exact = problem.evaluate(rollout(net, PART.x), PART.y).smooth
    with torch.autocast("cpu", torch.bfloat16):
        mixed = problem.evaluate(rollout(net, PART.x), PART.y).smooth
    assert mixed.item() == pytest.approx(exact.item(), rel=0.02)


def test_what_has_no_whole_trajectory_refuses_them() -> None:
    net = network(dtype=torch.float64)
    for whole in (Segmented(net, X), Solution(net, X)):
        with pytest.raises(ConfigError, match=r"path_costs.*a whole rollout"):
            PROBLEM.evaluate(whole, Y)
    with pytest.raises(ConfigError, match=r"problem\.draws"):
        replace(PROBLEM, draws=2)
    with pytest.raises(ConfigError, match="no integral over time"):
        indicators(net, PROBLEM, X, Y)
    with pytest.raises(ConfigError, match="path_costs"):
        explicit_regulariser(net, stochastic_depth(0.8), PROBLEM, X, Y)


@pytest.mark.parametrize("option", [
    {"compile": True}, {"gradient_checkpointing": True}, {"solver": "dopri5"},
    {"driver": "stochastic_depth", "driver_explicit": True},
])  # fmt: skip
def test_options_without_a_whole_trajectory_are_refused(option: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"training.{list(option)[-1]}.*Length"):
        fit(network(), PROBLEM, PART, OPTIONS.model_copy(update=option))


def test_keys_of_a_configuration_turn_them_on() -> None:
    split = digits()
    assert make_problem(Config.preset("digits"), split).path_costs == ()
    keys = {"problem.depth_cost": 0.02, "problem.depth_temperature": 0.03, "problem.depth_weight": 2.0,
            "problem.returns": 0.6, "problem.returns_weight": 0.2}  # fmt: skip
    problem = make_problem(Config.preset("digits", keys), split)
    assert problem.path_costs == (DepthCost(problem.terminal, 0.02, 0.03, 2.0), DiminishingReturns(0.6, 0.2))
