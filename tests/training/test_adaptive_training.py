"""Training through an adaptive solver, and of controls that all steps share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from systems import randn
from torch import nn

from node_oc.config import Config, TrainingSection
from node_oc.data import Part
from node_oc.discretization import RK4, Controls, Network
from node_oc.errors import ConfigError
from node_oc.problem import Problem
from node_oc.record.solver import solver, table_error
from node_oc.system.ode import DenseVectorField, Fourier, NeuralODE, Pad
from node_oc.training.checkpoint import training_work
from node_oc.training.loop import fit
from node_oc.trajectory import Solution, Solver, rollout

X = randn(60, 2).float()
PART = Part(X, (X[:, 0] * X[:, 1] > 0).long())
PROBLEM = Problem.classification(2)
OPTIONS = TrainingSection(epochs=3, min_updates=12, batch=20, learning_rate=0.02, threads=1)


def net(steps: int = 2, **options: bool) -> Network:
    system = NeuralODE(
        DenseVectorField(4, 8), lift=Pad(2, 4), head=nn.Linear(4, 2), steps=steps, basis=Fourier(3), **options
    )
    with torch.no_grad():
        for i, p in enumerate(system.parameters()):
            p.copy_(p if p.dim() == 0 else 0.4 * randn(*p.shape, seed=i))
    return Network(system, table=RK4)


def value(network: Network) -> float:
    with torch.no_grad():
        return float(PROBLEM.evaluate(rollout(network, PART.x), PART.y).total)


@pytest.mark.parametrize("options", [
    {}, {"gradient_checkpointing": True}, {"solver": "dopri5", "tolerance": 1e-3},
    {"solver": "bosh3", "tolerance": 1e-3, "adjoint": True},
    {"solver": "dopri5", "tolerance": 1e-3, "gradient_checkpointing": True},
])  # fmt: skip
def test_shared_controls_and_the_horizon_are_trained_by_every_method(options: dict) -> None:
    network = net(learn_horizon=True)
    before, start = value(network), {n: p.detach().clone() for n, p in network.named_parameters()}
    fit(network, PROBLEM, PART, OPTIONS.model_copy(update=options))
    assert value(network) < 0.9 * before
    assert all(not torch.equal(p, start[n]) for n, p in network.named_parameters())


def test_adaptive_and_fixed_training_agree_where_the_table_is_exact_enough() -> None:
    one, two = net(16), net(16)
    fit(one, PROBLEM, PART, OPTIONS)
    fit(two, PROBLEM, PART, OPTIONS.model_copy(update={"solver": "dopri5", "tolerance": 1e-4}))
    assert value(one) == pytest.approx(value(two), rel=1e-3)


def test_an_adaptive_training_resumes_to_the_bit_and_counts_what_it_did(tmp_path: Path) -> None:
    options = OPTIONS.model_copy(update={"solver": "dopri5", "tolerance": 1e-3, "checkpoint_seconds": 0.0})
    whole, half = net(), net()
    fit(whole, PROBLEM, PART, options, folder=tmp_path / "a" / "fit")

    def stop(name: str, update: int, of: int, info: object) -> None:
        if update == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(half, PROBLEM, PART, options, folder=tmp_path / "b" / "fit", progress=stop)
    again = net()
    fit(again, PROBLEM, PART, options, folder=tmp_path / "b" / "fit")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
    work = [training_work(tmp_path / name)[0] for name in "ab"]
    assert work[0]["solver"] == work[1]["solver"]
    assert work[0]["evaluations"] == work[1]["evaluations"]
    lines = [json.loads(line) for line in (tmp_path / "a" / "fit" / "history.jsonl").read_text().splitlines()]
    assert work[0]["solver"]["evaluations"] == sum(line["evaluations"] for line in lines) > 0
    told = solver(work[:1], 3, 0.02, "rk4")
    assert told is not None
    assert "in 12 updates" in told["sentence"]
    assert "table rk4" in told["sentence"]
    assert told["curves"][0]["epoch"][-1] == 4
    assert "evaluations" not in work[0]  # shown once


def test_a_table_takes_no_statistics() -> None:
    assert (
        solver([{"training": "fit", "updates": 3, "solver": {"evaluations": 0}, "evaluations": []}], 1, None, "rk4")
        is None
    )


def test_the_error_of_the_table_is_that_of_its_outputs() -> None:
    network = net()
    with pytest.raises(ConfigError, match=r"network\.double"):
        Solution(network, X, Solver("dopri8", 1e-10, 1e-10)).final  # noqa: B018
    exact = Solution(network, X, Solver("dopri8", 1e-6, 1e-6)).final
    wanted = float((network(X) - exact).abs().max() / exact.abs().max())
    assert table_error(network, X, Solver()) == pytest.approx(wanted, abs=1e-4)


def test_what_all_steps_share_is_trained_where_some_sleep() -> None:
    network = net()
    start = [p.detach().clone() for p in network.parameters()]
    network.set_awake([1])
    fit(network, PROBLEM, PART, OPTIONS)
    assert all(not torch.equal(p, q) for p, q in zip(network.parameters(), start, strict=True))


def test_a_price_wants_controls_of_their_own() -> None:
    with pytest.raises(ConfigError, match="share their controls"):
        fit(net(), PROBLEM.priced(0.1), PART, OPTIONS)
    assert Controls(net()).stacks == []


@pytest.mark.parametrize(("keys", "what"), [
    (["training.solver=dopri5", "training.compile=true"], "Leave one out"),
    (["training.adjoint=true"], "adaptive solver"),
    (["training.solver=dopri5", "training.adjoint=true", "training.gradient_checkpointing=true"], "one of the two"),
    (["training.solver=ode45"], "dopri5"),
])  # fmt: skip
def test_options_that_exclude_each_other_raise(keys: list[str], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        Config.load(overrides=keys)


@pytest.mark.parametrize("options", [
    {"adjoint": True}, {"adjoint": True, "solver": "dopri5", "gradient_checkpointing": True},
    {"solver": "dopri5", "compile": True},
])  # fmt: skip
def test_the_same_holds_in_python(options: dict) -> None:
    with pytest.raises(ConfigError, match="Leave one of the two out"):
        fit(net(), PROBLEM, PART, OPTIONS.model_copy(update=options))
