"""Training with noise by configuration: resumed, checkpointed, on two branches, on an adopted model, in an own loop."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from adopted_models import PreActivation, ResidualMLP
from systems import randn

import node_oc as oc
from node_oc import pipeline
from node_oc.config import Config
from node_oc.discretization import NotSmoothWarning
from node_oc.errors import ConfigError
from node_oc.training.driver import drawn, noise_of

SMALL = {
    "system.depth": 3, "system.width": 4, "system.hidden": 6, "data.train": 60, "data.val": 60, "data.test": 60,
    "data.turns": 0.5, "training.epochs": 8, "training.min_updates": 0, "export.onnx": False,
    "export.torch_export": False,
}  # fmt: skip


def config(driver: str = "stochastic_depth", **changes: object) -> Config:
    more = {key.replace("__", "."): value for key, value in changes.items()}
    return Config.preset("spirals", {**SMALL, "training.driver": driver, **more})


def weights(network: torch.nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in network.parameters()]


def trained(config: Config) -> list[torch.Tensor]:
    split = pipeline.load_split(config)
    network = pipeline.make_network(config, split)
    oc.fit(network, pipeline.make_problem(config, split), split.train, config.training, plan=oc.Plan(updates=3))
    return weights(network)


def test_an_interrupted_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    options = config("branch_dropout", training__checkpoint_seconds=0.0)
    pipeline.run(options, tmp_path / "whole", only_fit=True)

    def interrupt(name: str, done: int, updates: int, info: object) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.run(options, tmp_path / "cut", only_fit=True, progress=interrupt)
    pipeline.resume(tmp_path / "cut")
    whole, cut = (tmp_path / name / "full.safetensors" for name in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()
    assert oc.load_model(tmp_path / "cut" / "full").noise == noise_of(options.training)


def test_gradient_checkpointing_meets_the_same_noise() -> None:
    driver = "stochastic_depth"
    plain, segments = (
        trained(config(driver, training__gradient_checkpointing=on, training__precision="64-true")
                .replace({"system.depth": 6})) for on in (False, True)
    )  # fmt: skip
    quiet = trained(config("time", training__precision="64-true").replace({"system.depth": 6}))
    for a, b in zip(plain, segments, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
    assert any(not torch.allclose(a, b) for a, b in zip(plain, quiet, strict=True))


@pytest.mark.parametrize("name", ["stochastic_depth", "branch_dropout", "gaussian"])
def test_devices_that_share_a_batch_have_the_noise_of_their_rows(name: str) -> None:
    """The mean of their gradients is that of one device with the whole batch: what averaging them makes of it."""
    noise = noise_of(oc.TrainingSection(driver=name))  # type: ignore[arg-type]
    net, x, y = oc.Network(oc.DenseSystem(3, 2, depth=3, width=4)).double(), randn(12, 3), torch.arange(12) % 2
    problem, found = oc.Problem.classification(2), []
    for world in (1, 3):
        total = torch.zeros((), dtype=torch.float64)
        for rank in range(world):
            rows = None if world == 1 else (rank, world, len(x))
            trajectory = oc.rollout(net, x[rank::world], driver=drawn(noise, 5, 7, rows))
            total = total + problem.evaluate(trajectory, y[rank::world]).smooth / world
        found.append((total, *torch.autograd.grad(total, list(net.parameters()))))
    for one, three in zip(*found, strict=True):
        torch.testing.assert_close(one, three, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_two_branches_shake_by_configuration(kind: str) -> None:
    changes = {"system__branches": 2, "data__source": "digits"}
    if kind == "conv":
        default = Config()
        changes |= {"system__kind": "conv", "system__channels": [2, 3], "system__width": default.system.width,
                    "system__hidden": default.system.hidden}  # fmt: skip
    options = Config.load(None, {**{k: v for k, v in SMALL.items() if not k.startswith("data.")},
                                 **{k.replace("__", "."): v for k, v in changes.items()},
                                 "training.driver": "shake_shake"})  # fmt: skip
    split = pipeline.load_split(options)
    small = oc.Part(split.train.x[:64], split.train.y[:64])
    network = pipeline.make_network(options, split)
    before = copy.deepcopy(network.state_dict())
    oc.fit(network, pipeline.make_problem(options, split), small, options.training, plan=oc.Plan(updates=2))
    assert isinstance(network.system, oc.PairedSystem)
    changed = [name for name, value in network.state_dict().items() if not torch.equal(value, before[name])]
    assert any("first.steps" in name for name in changed)
    assert any("second.steps" in name for name in changed)


@pytest.mark.long
def test_an_adopted_model_in_ones_own_loop_and_by_configuration() -> None:
    model = ResidualMLP(6, 3, depth=2)
    system = oc.adopt(model, torch.zeros(2, 6))
    x, y = randn(20, 6).float(), torch.arange(20) % 3
    problem = oc.Problem.classification(3)
    for noise in (oc.stochastic_depth(0.5, inverted=True), oc.branch_dropout(0.5)):
        model.train()
        cost, same = (oc.StageCost(system, problem, noise=noise) for _ in range(2))
        first, again, quiet = cost((x, y)), same((x, y)), oc.StageCost(system, problem)((x, y))
        assert torch.equal(first, again)  # a function of seed and call
        assert not torch.equal(first, cost((x, y)))
        assert not torch.equal(first, quiet)
        first.backward()
        assert all(p.grad is not None for p in model.parameters())
        model.eval()
        torch.testing.assert_close(cost((x, y)), quiet)
    before = weights(model)
    for driver in ("stochastic_depth", "branch_dropout"):
        options = oc.TrainingSection(driver=driver, batch=0)
        oc.fit(oc.Network(system), problem, oc.Part(x, y), options, plan=oc.Plan(updates=1))
    assert not all(map(torch.equal, before, weights(model)))
    with pytest.raises(ConfigError, match=r"inverted=True"):
        oc.StageCost(system, problem, noise=oc.stochastic_depth(0.5))


@pytest.mark.parametrize("keep", [0.0, -0.1, 1.1, float("nan")])
def test_keep_probabilities_outside_of_0_to_1(keep: float) -> None:
    for make in (oc.stochastic_depth, oc.branch_dropout):
        with pytest.raises(ConfigError, match=r"\(0, 1\]"):
            make(keep)
    with pytest.raises(ConfigError, match=r"training.driver_keep"):
        config(training__driver_keep=keep)


def test_no_noise_inside_an_adaptive_solver() -> None:
    with pytest.raises(ConfigError, match=r"training.driver: .*adaptive solver"):
        config(training__solver="dopri5")
    net = oc.Network(oc.DenseSystem(2, 2, depth=2))
    options = oc.TrainingSection(driver="gaussian", solver="dopri5")
    with pytest.raises(ConfigError, match="cannot follow noise"):
        oc.fit(net, oc.Problem.classification(2), oc.Part(torch.zeros(4, 2), torch.zeros(4).long()), options)
    with pytest.raises(ConfigError, match="Noise needs steps"):
        oc.Solution(net, torch.zeros(4, 2), driver=oc.gaussian(0.5))


def test_two_branches_are_wanted_by_shake_shake() -> None:
    with pytest.raises(ConfigError, match=r"system\.branches=2"):
        config("shake_shake")
    net = oc.Network(oc.DenseSystem(2, 2, depth=2))
    with pytest.raises(ConfigError, match="one branch"):
        oc.rollout(net, torch.zeros(4, 2), driver=oc.shake_shake())


def test_from_a_generator_a_seed_is_all_that_is_taken() -> None:
    """Whatever its device: what is drawn on the device of the state comes from a generator of that device's own."""
    generator = torch.Generator().manual_seed(3)
    noise, x = oc.gaussian(0.5).drawn(generator), randn(3, 2)
    assert noise.source is not None
    expected = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(3)))
    assert noise.source.seed == expected
    state = generator.get_state()
    before = noise.increment(0, 0, 1.0, x)
    assert torch.equal(generator.get_state(), state)  # no draw comes from it
    assert torch.equal(torch.as_tensor(before), torch.as_tensor(noise.increment(0, 0, 1.0, x)))


def test_order_two_where_the_field_is_not_smooth_warns() -> None:
    relu, tanh = (oc.DenseSystem(2, 2, depth=2, activation=name) for name in ("relu", "tanh"))
    with pytest.warns(NotSmoothWarning):
        oc.limit_sde(relu, oc.stochastic_depth(0.8), order=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        oc.limit_sde(tanh, oc.stochastic_depth(0.8), order=2)


def test_a_relu_in_the_code_of_an_adopted_model_is_seen() -> None:
    x = randn(4, 2).float()
    with pytest.warns(NotSmoothWarning):
        oc.limit_sde(oc.adopt(PreActivation(widths=(5, 5)).eval(), x), oc.stochastic_depth(0.8), order=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotSmoothWarning)
        oc.limit_sde(oc.adopt(ResidualMLP().eval(), x), oc.stochastic_depth(0.8), order=2)


@pytest.mark.parametrize(
    "options",
    [{"driver": "branch_dropout", "driver_decay": True}, {"driver": "gaussian", "driver_p": 0.3},
     {"driver": "stochastic_depth", "driver_per": "channel"}],
)  # fmt: skip
def test_an_option_of_another_driver_is_refused_without_a_configuration_too(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=list(options)[1]):
        noise_of(oc.TrainingSection(**options))
