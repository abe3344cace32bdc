"""Every driver on every system: both paths, segments and costates meet the same noise, and its mean is its mean."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from cases import DEPTH, OUTPUTS, SYSTEMS, build, inputs, network, steppable, target
from systems import linear, randn
from test_analytic_conformance import assert_equal
from test_segments_conformance import assert_equal as assert_parts_equal
from test_segments_conformance import both
from torch import Tensor

from node_oc.discretization import (
    HEUN,
    Held,
    Mean,
    Network,
    Noise,
    branch_dropout,
    gaussian,
    shake_shake,
    stochastic_depth,
    two_point,
)
from node_oc.discretization.held import places
from node_oc.discretization.noise import shape_of
from node_oc.problem import Problem, costate_sweep, step_hamiltonian
from node_oc.system import PairedSystem
from node_oc.trajectory import rollout

DRIVERS: dict[str, Noise] = {
    "stochastic-depth": stochastic_depth(0.6),
    "stochastic-depth-decay": stochastic_depth(0.6, decay=True, inverted=True),
    "branch-dropout": branch_dropout(0.6, fresh=True),
    "branch-dropout-channel": branch_dropout(0.6, per="channel"),
    "two-point": two_point(0.5, p=0.2),
    "gaussian": gaussian(0.5, fresh=True),
    "shake-shake": shake_shake(),
    "second": two_point(0.5, diffuses="second", fresh=True),
}
PROBLEM = Problem.classification(OUTPUTS, stage_weight=0.7)
AWAKE = (0, 2, 3)


def fits(noise: Noise, name: str) -> bool:
    return noise.diffusion == "branch" or isinstance(build(name), PairedSystem)


# Each system with two drivers, and each driver with at least five systems; those of two branches with all.
ALL = list(DRIVERS)
CHOSEN = [(driver, name) for i, name in enumerate(SYSTEMS) for j, driver in enumerate(ALL)
          if fits(DRIVERS[driver], name) and (name.startswith("paired") or (j - i) % 3 == 0)]  # fmt: skip
every_pair = pytest.mark.parametrize(("driver", "name"), CHOSEN)


def drawn(driver: str, net: Network, seed: int = 0) -> Noise:
    return DRIVERS[driver].on(net.system).drawn(torch.Generator().manual_seed(seed))


def steps(name: str) -> Network:
    net = network(name, steppable(name))
    net.set_awake(AWAKE)
    return net


def test_every_driver_meets_every_kind_of_system() -> None:
    assert {driver for driver, _ in CHOSEN} == set(DRIVERS)
    assert {name for _, name in CHOSEN} == set(SYSTEMS)


@every_pair
def test_the_analytic_path_and_segments_are_the_general_path(driver: str, name: str) -> None:
    net = steps(name)
    noise = drawn(driver, net)
    quiet, noisy = rollout(net, inputs()).final, rollout(net, inputs(), driver=noise).final
    assert not torch.allclose(quiet, noisy)
    if net.system.by_hand:
        assert_equal(net, PROBLEM, driver=noise)
    assert_parts_equal(*both(net, PROBLEM, (2,), noise))


@every_pair
def test_gradients_with_the_noise_held_equal_finite_differences_and_costates(driver: str, name: str) -> None:
    net, y = steps(name), target("entropy")
    noise, params = drawn(driver, net), list(net.parameters())
    x = inputs().requires_grad_()

    def j() -> Tensor:
        return PROBLEM.evaluate(rollout(net, x, driver=noise), y).total

    trajectory = rollout(net, x, driver=noise)
    found = torch.autograd.grad(PROBLEM.evaluate(trajectory, y).total, [x, *params], allow_unused=True)
    gradients = [torch.zeros_like(p) if g is None else g for p, g in zip([x, *params], found, strict=True)]
    norm = float(torch.nn.utils.get_total_norm(gradients[1:]))
    ways = [(way := randn(*p.shape, seed=i)) / way.norm() for i, p in enumerate(params)]
    values = []
    with torch.no_grad():
        for size in (3e-5, -6e-5):
            torch._foreach_add_(params, ways, alpha=size)
            values.append(float(j()))
        torch._foreach_add_(params, ways, alpha=3e-5)
    slope = sum(float((g * way).sum()) for g, way in zip(gradients[1:], ways, strict=True))
    assert (values[0] - values[1]) / 6e-5 == pytest.approx(slope, abs=2e-6 * norm)
    sweep = costate_sweep(trajectory, PROBLEM, y)
    lifted = torch.autograd.grad(net.system.lift(x), x, sweep.p[0])[0]
    torch.testing.assert_close(lifted, gradients[0], rtol=1e-11, atol=1e-13)
    last = AWAKE[-1]
    if not net.system.tied:
        state = trajectory.states[last].detach()
        ham = step_hamiltonian(net, PROBLEM, last, state, sweep.p[last + 1], y, noise)
        inside = {id(p): g for p, g in zip(params, gradients[1:], strict=True)}
        for p, g in zip(net.system.control(last), torch.autograd.grad(ham, net.system.control(last)), strict=True):
            torch.testing.assert_close(g, inside[id(p)], rtol=1e-10, atol=1e-13)


@every_pair
def test_a_sleeping_step_draws_nothing_and_changes_no_others_noise(driver: str, name: str) -> None:
    """The increments of a step depend on its number, not on who else is awake."""
    net, asked = network(name, steppable(name)), []
    noise = drawn(driver, net)

    class Watched(Noise):
        def value(self, k: int, stage: int, x: Tensor) -> float | Tensor:
            asked.append(k)
            return super().value(k, stage, x)

    watched = Watched(**{key: getattr(noise, key) for key in Noise.__dataclass_fields__})
    net.set_awake((1, 3))
    rollout(net, inputs(), driver=watched)
    assert set(asked) == {1, 3}
    x = net.system.lift(inputs()) if all(map(net.system.is_identity, range(DEPTH))) else None
    if x is not None:
        net.set_awake(range(DEPTH))
        alone, _ = net.advance(3, x, noise)
        rollout(net, inputs(), driver=noise)
        assert torch.equal(net.advance(3, x, noise)[0], alone)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("table", ["euler", "heun"])
def test_the_mean_over_exact_atoms_is_the_mean_driver_on_a_linear_field(driver: str, table: str) -> None:
    """Where draws of one step do not meet each other: Euler, or a draw for every stage."""
    system = PairedSystem(linear(randn(2, 2), randn(2, 2, seed=2)), linear(randn(2, 2, seed=1), randn(2, 2, seed=3)))
    noise = DRIVERS[driver].on(system)
    noise = replace(noise, fresh=True) if table == "heun" else noise
    net = Network(system, table=HEUN) if table == "heun" else Network(system)
    net.set_awake([0])
    x, total = inputs(1), torch.zeros(1, 2, dtype=torch.float64)
    one, spots = shape_of(noise.per, x)[1:], list(places(net, noise))
    values, weights = noise.law(0).atoms(2)
    for chosen in itertools.product(range(len(values)), repeat=math.prod(one) * len(spots)):
        b = torch.tensor([values[i] for i in chosen], dtype=torch.float64).unflatten(0, (len(spots), 1, *one))
        held = Held(noise, dict(zip(spots, b, strict=True)))
        total += math.prod(weights[i] for i in chosen) * rollout(net, x, driver=held).last
    if noise.diffusion == "branch":
        torch.testing.assert_close(rollout(net, x, driver=Mean(noise)).last, total, rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(total, mean_by_hand(net, noise, x), rtol=1e-13, atol=1e-14)


def mean_by_hand(net: Network, noise: Noise, x: Tensor) -> Tensor:
    a = noise.mean(0) * (net.system.branch(0, torch.eye(2, dtype=x.dtype)) - net.system.branch(0, x.new_zeros(2, 2))).T
    step = torch.eye(2, dtype=x.dtype) + a + (a @ a / 2 if net.table.stages > 1 else 0)
    return x @ step.T
