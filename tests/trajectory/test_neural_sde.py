"""The neural SDE: the SDE of a network as a model, trained by the house's own loop."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from systems import randn, stir_
from torch import Tensor

import node_oc as oc
from node_oc.data import Part
from node_oc.discretization.noise import Source
from node_oc.errors import ConfigError

H = (0.5, 1.0, 0.3)
PROBLEM = oc.Problem.classification(2)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dense(seed: int = 0) -> oc.DenseSystem:
    system = oc.DenseSystem(2, 2, depth=3, width=4, hidden=5, row_norm=0.0, generator=seeded(seed)).double()
    stir_(system, seed=seed)
    return system


def paired() -> oc.Network:
    return oc.Network(oc.PairedSystem(dense(), dense(1), mean=(1, 0)), oc.DepthGrid(H))


SECOND = oc.gaussian(0.5, root=True, diffuses="second")
DROP = oc.branch_dropout(0.8)


def samples(n: int = 12) -> Part:
    return Part(randn(n, 2, seed=9), torch.arange(n) % 2)


def train(model: oc.Network, updates: int = 3, **options: Any) -> oc.Network:
    part = samples()
    oc.fit(model, PROBLEM, part, oc.TrainingSection(batch=6, precision="64-true", threads=1, **options),
           plan=oc.Plan(updates=updates))  # fmt: skip
    return model


def test_one_substep_of_euler_is_the_network_with_gaussian_noise() -> None:
    network = oc.Network(dense(), oc.DepthGrid(H), awake=[0, 2])
    model, x = oc.NeuralSDE(network, DROP), randn(5, 2)
    wanted = oc.rollout(network, x, driver=model.noise.matched().drawn(seeded(3)))
    path = model.path(x, seeded(3))
    torch.testing.assert_close(path.final, wanted.final)
    torch.testing.assert_close(path.readouts, wanted.readouts)
    torch.testing.assert_close(model(x, seeded(3)), wanted.final)
    assert path.states[1] is path.states[2]
    y = torch.tensor([0, 1, 0, 1, 0])
    torch.testing.assert_close(PROBLEM.evaluate(path, y).total, PROBLEM.evaluate(wanted, y).total)


def test_the_costs_of_a_path_are_those_of_its_states() -> None:
    model, x, y = oc.NeuralSDE(paired(), SECOND, substeps=3, method="heun"), randn(5, 2), torch.tensor([0, 1, 0, 1, 0])
    path = model.path(x, seeded(3))
    assert len(path.states) == len(H) + 1
    stage = [PROBLEM.stage(model.system.head(state)[None], y).mean() for state in path.states]
    wanted = stage[-1] + sum(h * cost for h, cost in zip(H, stage, strict=False))
    torch.testing.assert_close(PROBLEM.evaluate(path, y).total, wanted)


def test_in_the_mean_it_is_the_drift_alone() -> None:
    network, x = paired(), randn(5, 2)
    torch.testing.assert_close(oc.NeuralSDE(network, SECOND)(x), network(x))
    heun = oc.Network(network.system.first, network.grid, oc.HEUN)  # type: ignore[union-attr,arg-type]
    torch.testing.assert_close(oc.NeuralSDE(network, SECOND, method="heun")(x), heun(x))
    torch.testing.assert_close(oc.NeuralSDE(network, SECOND, torchsde=True, method="midpoint")(x), heun(x))


def test_it_is_the_network_with_the_same_weights() -> None:
    model = oc.NeuralSDE(paired(), SECOND)
    assert model.network.system is model.system
    assert model.network.h == H
    assert {name for name, _ in model.named_parameters()} == {name for name, _ in paired().named_parameters()}
    assert model.limit.sde_type == "ito"
    assert oc.NeuralSDE(oc.Network(dense(), table=oc.MIDPOINT), DROP).limit.sde_type == "stratonovich"


def test_finer_paths_come_together_whatever_solves_them() -> None:
    """In the mean over paths, and to the error of so many: own loops and torchsde, both integrals."""
    network, x = paired(), randn(1, 2).expand(2000, 2)
    found = []
    with torch.no_grad():
        for options in ({"method": "euler"}, {"method": "heun"}, {"torchsde": True, "method": "srk"},
                        {"torchsde": True, "method": "midpoint"}):  # fmt: skip
            model = oc.NeuralSDE(network, SECOND, substeps=4, **options)  # type: ignore[arg-type]
            out = model(x, seeded(len(found)))
            found.append(torch.cat([out.mean(0), out.var(0)]))
            spread = torch.cat([out.std(0) / 2000**0.5, out.var(0) * (2 / 2000) ** 0.5])
            assert ((found[-1] - found[0]).abs() <= 6 * spread + 0.05 * found[0].abs()).all()


# -- training ------------------------------------------------------------------------------------------------


def flat(model: oc.Network) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_fit_trains_drift_and_diffusion_with_new_paths_in_every_update() -> None:
    model = oc.NeuralSDE(paired(), SECOND)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model)
    moved = {name.split(".")[1] for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"first", "second"}
    assert torch.equal(flat(train(oc.NeuralSDE(paired(), SECOND))), flat(model))  # the seed is all it depends on
    assert not torch.equal(flat(train(oc.NeuralSDE(paired(), SECOND), seed=1)), flat(model))


def test_one_update_is_a_step_along_the_gradient_of_a_path() -> None:
    """With one substep of Euler: the training of the network with Gaussian noise, to the last update."""
    noise = oc.gaussian(0.5)
    got = train(oc.NeuralSDE(oc.Network(dense(), oc.DepthGrid(H)), noise))
    wanted = train(oc.Network(dense(), oc.DepthGrid(H)), driver="gaussian", driver_keep=0.8)
    torch.testing.assert_close(flat(got), flat(wanted))


@pytest.mark.parametrize("options", [{"torchsde": True}, {"torchsde": True, "adjoint": True}, {"method": "heun"}])
def test_every_solver_trains(options: dict[str, Any]) -> None:
    model = oc.NeuralSDE(oc.Network(dense(), oc.DepthGrid(H)), oc.stochastic_depth(0.8, inverted=True), **options)
    before = flat(model)
    train(model, updates=1)
    assert not torch.equal(flat(model), before)


def test_mirrored_paths_cancel_to_first_order() -> None:
    model, x = oc.NeuralSDE(paired(), oc.gaussian(1e-4, root=True, diffuses="second")), randn(5, 2)
    up, down, mean = model(x, Source(1)), model(x, Source(1, mirrored=True)), model(x)
    assert (up - mean).abs().max().item() > 1e-6
    assert ((up + down) / 2 - mean).abs().max().item() < 1e-7


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adjoint": True}, "torchsde=True"),
        ({"substeps": 0}, "at least 1"),
        ({"method": "midpoint"}, "one of"),
        ({"method": "rk4", "torchsde": True}, "one of"),
        ({"method": "milstein"}, "commute"),
        ({"method": "milstein", "torchsde": True}, "commute"),
        ({"method": "euler", "torchsde": True, "adjoint": True}, "without a correction"),
        ({"order": 2}, "which enters as sqrt"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        oc.NeuralSDE(paired(), SECOND, **options)


@pytest.mark.parametrize("options", [{"driver": "gaussian"}, {"compile": True}, {"gradient_checkpointing": True},
                                     {"solver": "dopri5"}])  # fmt: skip
def test_options_that_it_excludes(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="with a neural SDE"):
        train(oc.NeuralSDE(paired(), SECOND), **options)


def test_a_training_of_another_equation_is_not_continued(tmp_path: Any) -> None:
    part, options = samples(), oc.TrainingSection(precision="64-true", threads=1)
    for i, substeps in enumerate((1, 2)):
        model = oc.NeuralSDE(paired(), SECOND, substeps=substeps)
        call = [model, PROBLEM, part, options]
        if i == 0:
            oc.fit(*call, plan=oc.Plan(updates=2), folder=tmp_path)  # type: ignore[arg-type]
            continue
        with pytest.raises(oc.StoreError):
            oc.fit(*call, plan=oc.Plan(updates=2), folder=tmp_path)  # type: ignore[arg-type]
    assert list(itertools.islice(tmp_path.iterdir(), 1))
