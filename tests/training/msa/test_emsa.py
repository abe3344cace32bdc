"""E-MSA: every layer's augmented Hamiltonian falls, on every system; closed forms; the loop of all methods."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from cases import COSTS, SYSTEMS, inputs, network, target
from systems import Field, randn
from torch import Tensor, nn

from node_oc.config import TrainingSection
from node_oc.data import Part
from node_oc.discretization import DepthGrid, Network
from node_oc.errors import ConfigError, DivergenceError
from node_oc.problem import Problem, SquaredError
from node_oc.problem.sweeps import LIFT, Sweeps
from node_oc.system import DenseSystem
from node_oc.training import Plan, fit
from node_oc.training.loop import make_fabric
from node_oc.training.msa.emsa import EMSA
from node_oc.trajectory import rollout

AWAKE = (0, 2, 3)
RHO = 0.5


def method(net: Network, problem: Problem, rho: float = RHO, iterations: int = 2) -> EMSA:
    options = TrainingSection(method="emsa", emsa_rho=rho, emsa_iterations=iterations, precision="64-true")
    return EMSA(net, problem, options, make_fabric(options))


@torch.no_grad()
def put_(net: Network, values: dict[str, Tensor]) -> None:
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        if name in values:
            tensor.copy_(values[name])


@pytest.mark.parametrize(
    ("name", "table"), [*((name, "euler") for name in SYSTEMS if name != "discrete-residual"), ("dense-tanh", "rk4")]
)
def test_one_update_lowers_the_augmented_hamiltonian_of_every_layer(name: str, table: str) -> None:
    net, x, y = network(name, table), inputs(), target("soft-cross-entropy")
    net.system.constrain_()
    net.set_awake(AWAKE)
    net.train()
    cost = COSTS["soft-cross-entropy"]()
    weight = (
        0.0 if net.system.own_statistics else 0.7
    )  # batch norms of a readout see another batch than those of a step
    problem = Problem(cost, cost, stage_weight=weight, energy=0.02)
    sweeps, emsa = Sweeps(net, problem, x, y), method(net, problem)
    counted = {name: b.clone() for name, b in net.named_buffers()}
    old = {name: p.detach().clone() for name, p in net.named_parameters()}
    info = emsa.step(0, x, y)
    new = {name: p.detach().clone() for name, p in net.named_parameters()}
    moved = {n for n in old if not torch.allclose(old[n], new[n], rtol=1e-12, atol=0)}  # but for rows of norm 1 again
    names = {p: n for n, p in net.named_parameters()}
    assert moved <= {names[p] for block in emsa.blocks for p in block.parameters}
    assert {k for block in emsa.blocks for k in block.layers} >= set(AWAKE)
    for block in emsa.blocks:
        put_(net, old)
        before = sum(float(sweeps.local(k).augmented(RHO)) for k in block.layers)
        put_(net, {names[p]: new[names[p]] for p in block.parameters})
        assert sum(float(sweeps.local(k).augmented(RHO)) for k in block.layers) < before - 1e-9
    put_(net, new)
    net.system.constrain_()
    for n, p in net.named_parameters():
        torch.testing.assert_close(p.detach(), new[n])  # it was in the admissible set
    # At the old controls the penalties have no slope: the first gradients are that of J, along the admissible set.
    put_(net, old)
    put_(net, counted)
    if not emsa.held:
        smooth = problem.evaluate(rollout(net, x), y).smooth
        slopes = torch.autograd.grad(smooth, [p for b in emsa.blocks for p in b.parameters])
        norm = float(torch.cat([g.flatten() for g in slopes]).norm()) * problem.scale(net)
        assert info.gradient_norm == pytest.approx(norm, rel=1e-9)
    assert info.objective == pytest.approx(float(problem.evaluate(rollout(net, x), y).total.detach()), rel=1e-9)


def controls(net: Network) -> Tensor:
    return torch.stack([net.system.control(k)[0].detach() for k in range(net.depth)])


def test_a_layer_that_is_linear_in_its_control_goes_to_the_closed_minimum() -> None:
    """x_{k+1} = x + h u sin x: the augmented Hamiltonian is a parabola in u, of curvature rho h^2 mean(s^2 + (c q)^2).

    s = sin x_k, c = cos x_k and q = B p_{k+1}, the costate of one sample: the minimum does not depend on B.
    """
    net = Network(Field(torch.sin, 3, 2).double(), DepthGrid((0.5, 1.0, 0.3)))
    x, y = randn(5, 2), randn(5, 2, seed=1)
    problem, rho = Problem(SquaredError(), SquaredError(), stage_weight=0.4), 2.0
    sweeps = Sweeps(net, problem, x, y)
    wanted = []
    for k, h in enumerate(net.h):
        s, c, q = sweeps.trajectory.states[k].sin(), sweeps.trajectory.states[k].cos(), 5 * sweeps.p[k + 1]
        curvature = rho * h**2 * (s.square() + (c * q).square()).sum(1).mean()
        wanted.append(1 - h * (q * s).sum(1).mean() / curvature)
    twice = Network(Field(torch.sin, 3, 2).double(), net.grid)
    method(net, problem, rho, 10).step(0, x, y)
    torch.testing.assert_close(controls(net), torch.stack(wanted), rtol=1e-6, atol=0)
    method(twice, problem, rho, 10).step(0, x.repeat(2, 1), y.repeat(2, 1))
    torch.testing.assert_close(controls(twice), controls(net), rtol=1e-6, atol=0)


def sine(n: int = 16) -> Part:
    x = torch.linspace(-3, 3, n)[:, None]
    return Part(x, x.sin())


def small(seed: int = 0) -> Network:
    generator = torch.Generator().manual_seed(seed)
    return Network(DenseSystem(1, 1, depth=3, width=3, hidden=3, row_norm=0.0, generator=generator))


def options(**more: object) -> TrainingSection:
    return TrainingSection(**{"method": "emsa", "batch": 8, "emsa_iterations": 3, "emsa_rho": 10.0, **more})  # type: ignore[arg-type]


def test_training_goes_down_and_resumes_to_the_bit(tmp_path: Path) -> None:
    problem, plan = Problem.regression(stage_weight=0.0), Plan("fit", updates=10)
    whole, parts = small(), small()
    fit(whole, problem, sine(), options(), plan=plan, folder=tmp_path / "whole")

    def interrupt(name: str, done: int, *_: object) -> None:
        if done == 4:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fit(parts, problem, sine(), options(checkpoint_seconds=0.0), plan=plan, folder=tmp_path / "parts",
            progress=interrupt)  # fmt: skip
    parts = small()
    fit(parts, problem, sine(), options(checkpoint_seconds=0.0), plan=plan, folder=tmp_path / "parts")
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(a, b)
    lines = [[json.loads(line) for line in (tmp_path / f / "history.jsonl").read_text().splitlines()]
             for f in ("whole", "parts")]  # fmt: skip
    assert lines[0] == lines[1]
    values = [line["objective"] for line in lines[0] if "objective" in line]
    assert values[-1] < 0.5 * values[0]
    with torch.no_grad():
        assert float(problem.evaluate(rollout(whole, sine().x), sine().y).total) < 0.5 * values[0]


def test_without_the_penalties_it_diverges_and_says_so() -> None:
    problem = Problem.regression(stage_weight=0.0)
    with pytest.raises(DivergenceError):
        fit(small(), problem, sine(), options(method="msa", emsa_iterations=10, batch=0), plan=Plan("fit", updates=20))


def test_a_hamiltonian_that_overflows_names_its_layer_and_leaves_the_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    net, chosen, values = Network(Field(torch.sin, 2, 2)), options(method="msa"), [1.0, 0.5, math.inf]
    emsa = EMSA(net, Problem.regression(), chosen, make_fabric(chosen))
    monkeypatch.setattr(emsa, "_sum", lambda sweeps, block: (torch.tensor(values.pop(0)), [torch.ones(())]))
    with pytest.raises(DivergenceError, match=r"layer 0: got a Hamiltonian of inf"):
        emsa.step(0, randn(5, 2).float(), randn(5, 2, seed=1).float())
    assert controls(net).tolist() == [1.0, 1.0]
    assert all(p.grad is None for p in net.parameters())


def test_what_it_has_no_rule_for_is_refused() -> None:
    net, plain = small(), Problem.regression()
    for key, value in (("compile", True), ("gradient_checkpointing", True), ("solver", "dopri5"),
                       ("driver", "gaussian"), ("precision", "bf16-mixed")):  # fmt: skip
        with pytest.raises(ConfigError, match=f"training.{key}"):
            EMSA(net, plain, options(**{key: value}), None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="price"):
        EMSA(net, plain.priced(0.1), options(), None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="discrete weights"):
        EMSA(network("discrete-residual"), plain, options(), None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="draws"):
        EMSA(net, Problem.language(), options(), None)  # type: ignore[arg-type]


def test_frozen_and_sleeping_weights_stay() -> None:
    net = small()
    net.set_awake((0, 2))
    assert isinstance(net.system, DenseSystem)
    assert isinstance(net.system.lifting, nn.Linear)
    net.system.lifting.requires_grad_(False)
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    fit(net, Problem.regression(), sine(), options(), plan=Plan("fit", updates=1))
    same = {n for n, p in net.named_parameters() if torch.equal(p, before[n])}
    assert same == {n for n in before if n.startswith(("system.lifting", "system.steps.1"))}
    assert not net.system.lifting.weight.requires_grad


def test_the_lift_has_no_costate_and_the_head_no_state() -> None:
    net, problem = small(), Problem.regression()
    sweeps = Sweeps(net, problem, sine().x, sine().y)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1)
    lift, head = sweeps.local(LIFT), sweeps.local(net.depth)
    assert lift.costate == 0
    assert head.state == 0
    assert min(float(lift.state), float(head.costate)) > 0
