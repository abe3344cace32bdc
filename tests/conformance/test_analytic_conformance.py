"""The analytic path is the general path: same values, same gradients, for every system, table, cost and driver."""

from __future__ import annotations

import pytest
import torch
from cases import COSTS, DEPTH, OUTPUTS, H, build, inputs, network, pairs, target
from systems import randn, zero_
from torch import Tensor

from node_oc.discretization import TIME, Controls, Driver, Network, Tableau
from node_oc.errors import ConfigError, ShapeError
from node_oc.problem import Cost, Problem, SoftCrossEntropy
from node_oc.system import DenseSystem
from node_oc.system.field import NONLINEARITIES
from node_oc.trajectory import Segmented, rollout

by_hand = [(name, table) for name, table in pairs() if build(name).by_hand]
every_pair = pytest.mark.parametrize(("name", "table"), by_hand)
AWAKE = (None, (0, 2, 3), (1,), (2, 3), ())


class Noise(Driver):
    """h times 1 + noise by sample, or by entry of the state, or by layer alone; anew in every stage."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def increment(self, k: int, stage: int, h: float, x: Tensor) -> float | Tensor:
        shape = {"sample": (len(x), *(1,) * (x.dim() - 1)), "entry": x.shape, "layer": (1,) * x.dim()}[self.kind]
        noise = h * (1 + 0.5 * randn(*shape, seed=10 * k + stage).to(x))
        return float(noise) if self.kind == "layer" else noise


def gradients(
    net: Network, problem: Problem, cost: str, analytic: bool, driver: Driver = TIME
) -> tuple[Tensor, list[Tensor]]:
    x, y = inputs().requires_grad_(), target(cost)
    objective = problem.evaluate(rollout(net, x, analytic=analytic, driver=driver), y)
    wanted = [x, *net.parameters()]
    found = torch.autograd.grad(objective.smooth, wanted, allow_unused=True)
    values = torch.cat([objective.smooth[None], objective.terminal[None], objective.stage]).detach()
    return values, [torch.zeros_like(p) if g is None else g for p, g in zip(wanted, found, strict=True)]


def assert_equal(net: Network, problem: Problem, cost: str = "soft-cross-entropy", driver: Driver = TIME) -> None:
    (value, general), (other, analytic) = (gradients(net, problem, cost, way, driver) for way in (False, True))
    torch.testing.assert_close(other, value, rtol=1e-13, atol=1e-13)
    size = float(torch.nn.utils.get_total_norm(general))
    assert size > 0
    for g, a in zip(general, analytic, strict=True):
        assert a.shape == g.shape
        assert float((a - g).norm()) <= 1e-13 * size


@every_pair
@pytest.mark.parametrize("cost", COSTS)
def test_values_and_gradients_are_those_of_the_general_path(name: str, table: str, cost: str) -> None:
    each: Cost = COSTS[cost]()
    assert_equal(network(name, table), Problem(each, COSTS[cost](), 0.7, energy=0.02, group_price=0.1), cost)
    assert_equal(network(name, table), Problem(each, each, 0.7), cost)  # one cost: the output is read once
    assert_equal(network(name, table), Problem(each, each, 0.0), cost)  # the terminal cost alone


@every_pair
@pytest.mark.parametrize("awake", AWAKE)
def test_with_sleeping_steps_too(name: str, table: str, awake: tuple[int, ...] | None) -> None:
    net = network(name, table)
    net.set_awake(range(DEPTH) if awake is None else awake)
    assert_equal(net, Problem.classification(OUTPUTS))
    zero_(net.system, *(awake or ())[:1])
    assert_equal(net, Problem.classification(OUTPUTS))


@every_pair
@pytest.mark.parametrize("kind", ["sample", "entry", "layer"])
def test_with_noise_for_a_driver(name: str, table: str, kind: str) -> None:
    net = network(name, table)
    net.set_awake((0, 2, 3))
    quiet, noisy = (rollout(net, inputs(), driver=driver).final for driver in (TIME, Noise(kind)))
    assert not torch.allclose(quiet, noisy)
    assert_equal(net, Problem.classification(OUTPUTS), driver=Noise(kind))


def test_a_table_with_a_line_of_zeros() -> None:
    """X_2 = x again: the sweep must not leave that state unset."""
    table = Tableau("twice", ((), (0.0,), (0.0, 1.0)), (0.25, 0.25, 0.5), (0.0, 0.0, 1.0), 1)
    assert_equal(network("dense-tanh", table), Problem.classification(OUTPUTS))


@every_pair
def test_the_gradient_in_one_state_alone(name: str, table: str) -> None:
    """Who reads single states, not J, gets their gradients too; a second pass backward gives them again."""
    net = network(name, table)
    for k in range(DEPTH + 1):
        found = []
        for analytic in (False, True):
            x = inputs().requires_grad_()
            value = rollout(net, x, analytic=analytic).states[k].square().sum()
            first, again = (torch.autograd.grad(value, x, retain_graph=True)[0] for _ in range(2))
            assert torch.equal(first, again)
            found.append(first)
        torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-13)


@every_pair
@pytest.mark.parametrize("awake", [(0, 1, 2, 3), (0, 2, 3), (1,)])
def test_gradients_in_stacked_controls_are_those_in_the_parameters(
    name: str, table: str, awake: tuple[int, ...]
) -> None:
    net, problem = network(name, table), Problem.classification(OUTPUTS)
    net.set_awake(awake)
    inside = [p for k in awake for p in net.system.control(k)]
    before = [p.detach().clone() for p in inside]
    problem.evaluate(rollout(net, inputs()), target("entropy")).smooth.backward()
    alone = [p.grad.clone() for p in inside if p.grad is not None]
    net.zero_grad()
    controls = Controls(net)
    assert all(torch.equal(p, q) for p, q in zip(inside, before, strict=True))
    problem.evaluate(rollout(net, inputs(), controls=controls), target("entropy")).smooth.backward()
    rows = {
        id(p): g for s, members in zip(controls.stacks, controls.members, strict=True) for p, g in zip(members, s.grad)
    }
    assert all(p.grad is None for p in inside)
    for p, g in zip(inside, alone, strict=True):
        torch.testing.assert_close(rows[id(p)], g, rtol=1e-13, atol=1e-15)
    # What autograd finds in the parameters themselves is added by gather_.
    (sum(p.square().sum() for p in inside) / 2).backward()
    controls.gather_()
    rows = {
        id(p): g for s, members in zip(controls.stacks, controls.members, strict=True) for p, g in zip(members, s.grad)
    }
    for p, g in zip(inside, alone, strict=True):
        torch.testing.assert_close(rows[id(p)], g + p.detach(), rtol=1e-12, atol=1e-13)
    with torch.no_grad():
        for stack in controls.stacks:
            stack.zero_()
    assert not any(p.any() for p in inside)
    controls.release()
    assert len({p.untyped_storage().data_ptr() for p in inside}) == len(inside)


@pytest.mark.parametrize("name", NONLINEARITIES)
def test_a_nonlinearity_knows_its_derivative(name: str) -> None:
    act, z, g = NONLINEARITIES[name], randn(50).requires_grad_(), randn(50, seed=1)
    a = act.value(z)
    want = torch.autograd.grad(a, z, g)[0]
    value, kept = act.keep(z.detach().clone())
    torch.testing.assert_close(value, a.detach())
    torch.testing.assert_close(act.value_of(kept), a.detach())
    torch.testing.assert_close(act.pull_(g.clone(), kept), want)


def test_the_analytic_path_is_refused_where_it_cannot_be() -> None:
    with pytest.raises(ConfigError, match="Field, without derivatives by hand"):
        rollout(network("field"), inputs(), analytic=True)
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(ConfigError, match="mixed precision"):
        rollout(network("dense-tanh", dtype=torch.float32), inputs(dtype=torch.float32), analytic=True)
    with pytest.raises(ConfigError, match="derivatives by hand"):
        build("field").field([0], 1)


@pytest.mark.parametrize("name", ["dense-tanh", "dense-tanh-pad-coordinates", "conv-two-stages"])
def test_a_second_derivative_is_refused_on_the_analytic_path(name: str) -> None:
    """Also where the first one does not look as if it could be differentiated: fixed lift and head."""
    net, x = network(name), inputs().requires_grad_()
    for final in (rollout(net, x).final, Segmented(net, x, (2,), analytic=False).final):
        with pytest.raises(ConfigError, match="analytic=False"):
            torch.autograd.grad(final.sum(), x, create_graph=True)
    first = torch.autograd.grad(rollout(net, x, analytic=False).final.sum(), x, create_graph=True)[0]
    first.square().sum().backward()


class Doubled(DenseSystem):
    def branch(self, k: int, x: Tensor) -> Tensor:
        return 2 * super().branch(k, x)


def test_a_changed_branch_is_rolled_out_as_it_is() -> None:
    def check(net: Network) -> None:
        torch.testing.assert_close(rollout(net, inputs()).final, net(inputs()), rtol=1e-12, atol=1e-12)
        assert not Controls(net).by_hand
        with pytest.raises(ConfigError, match="without derivatives by hand"):
            rollout(net, inputs(), analytic=True)

    check(Network(Doubled(2, 3, depth=2, width=4).double()))
    hooked = network("dense-tanh")
    hooked.system.steps[0].register_forward_hook(lambda module, x, out: 3 * out)
    check(hooked)
    normed = network("conv-two-stages")
    torch.nn.utils.parametrizations.weight_norm(normed.system.steps[1].inner)
    check(normed)
    other = network("dense-tanh")
    other.system.steps[1] = torch.nn.Tanh()
    torch.testing.assert_close(rollout(other, inputs()).final, other(inputs()), rtol=1e-12, atol=1e-12)


def test_controls_of_steps_that_share_a_parameter_or_that_were_given_back_are_refused() -> None:
    net = network("dense-tanh")
    controls = Controls(net)
    controls.release()
    with pytest.raises(ShapeError, match="stacked controls"):
        rollout(net, inputs(), controls=controls)
    net.system.steps[1] = net.system.steps[0]
    with pytest.raises(ConfigError, match="share a parameter"):
        Controls(net)


def test_states_keep_the_memory_format_of_the_first() -> None:
    net = network("conv-two-stages")
    state = net.system.lift(inputs())
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in rollout(net, inputs()).states)
    assert state.is_contiguous(memory_format=torch.channels_last)


def test_a_price_is_a_price_on_either_path() -> None:
    net = network("dense-tanh")
    problem = Problem(SoftCrossEntropy(OUTPUTS), SoftCrossEntropy(OUTPUTS), 1.0, group_price=0.3)
    value = problem.evaluate(rollout(net, inputs()), target("entropy"))
    norms = [torch.cat([p.flatten() for p in net.system.group(k)]).norm() for k in range(DEPTH)]
    torch.testing.assert_close(value.price, 0.3 * sum(h * n for h, n in zip(H, norms, strict=True)))
