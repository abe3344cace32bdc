"""The terms of the error estimate: closed forms of a linear-quadratic problem, and the order of the remainder."""

from __future__ import annotations

import math

import pytest
import torch
from cases import COSTS, inputs, network, target
from systems import linear, randn
from torch import Tensor

from node_oc.discretization import DepthGrid, Network
from node_oc.errors import ConfigError
from node_oc.problem import ErrorEstimate, Problem, SquaredError, costate_sweep, discrete_slopes, hamiltonians
from node_oc.trajectory import rollout

H = (0.5, 1.0, 0.3)


def quadratic() -> tuple[Network, Problem, Tensor, Tensor]:
    """x_{k+1} = x_k + h_k A_k x_k, J quadratic in the states."""
    net = Network(linear(*(0.4 * randn(2, 2, seed=k) for k in range(3))), DepthGrid(H))
    return net, Problem(SquaredError(), SquaredError(), 0.6, energy=0.1), randn(5, 2, seed=7), randn(5, 2, seed=8)


@torch.no_grad()
def move_(net: Network, size: float) -> list[Tensor]:
    changes = [size * randn(2, 2, seed=10 + k) for k in range(net.depth)]
    for k, change in enumerate(changes):
        net.system.control(k)[0].add_(change)
    return changes


def test_terms_of_a_linear_quadratic_problem_have_closed_forms() -> None:
    net, problem, x, y = quadratic()
    with torch.no_grad():
        trajectory = rollout(net, x)
    states, p = trajectory.states, costate_sweep(trajectory, problem, y).p
    old, before = (
        [net.system.control(k)[0].detach().clone() for k in range(3)],
        float(problem.evaluate(trajectory, y).total.detach()),
    )
    estimate = ErrorEstimate(net, problem, x, y)
    changes = move_(net, 1.0)
    terms = estimate.terms()
    for k, (h, d, a) in enumerate(zip(H, changes, old, strict=True)):
        energy = 0.1 * h * float((a + d).square().sum() - a.square().sum())
        fall = -h * float((p[k + 1] * (states[k].detach() @ d.T)).sum())
        assert terms.decrease[k + 1] == pytest.approx(fall - energy)
        assert terms.state[k + 1] == pytest.approx(float((h * states[k] @ d.T).square().sum(1).mean()))
        assert terms.costate[k + 1] == pytest.approx(float((5 * h * p[k + 1] @ d).square().sum(1).mean()))
        slope = h * p[k + 1].T @ states[k] + 2 * 0.1 * h * a
        bias = h * p[k + 1].sum(0)
        assert terms.residual[k + 1] == pytest.approx(math.hypot(float(slope.norm()), float(bias.norm())))
    assert terms.decrease[0] == terms.decrease[-1] == terms.state[0] == terms.costate[-1] == terms.residual[0] == 0
    with torch.no_grad():
        assert terms.after == pytest.approx(float(problem.evaluate(rollout(net, x), y).total))
    assert terms.before == pytest.approx(before)


@pytest.mark.parametrize(
    ("name", "priced"), [("dense-tanh", 0.2), ("conv-two-stages", 0.0), ("ode-fourier-horizon", 0.0)]
)
def test_what_the_hamiltonians_do_not_foresee_is_of_second_order(name: str, priced: float) -> None:
    """Lift, controls, projections, horizon, head: J(v) - J(u) is the sum of what they do, to second order."""
    net, x, y = network(name), inputs(), target("soft-cross-entropy")
    cost = COSTS["soft-cross-entropy"]()
    problem = Problem(cost, cost, 0.7, energy=0.02, group_price=priced)
    estimate = ErrorEstimate(net, problem, x, y)
    start = [p.detach().clone() for p in net.parameters()]
    found = []
    for size in (2e-3, 1e-3):
        with torch.no_grad():
            for i, (p, u) in enumerate(zip(net.parameters(), start, strict=True)):
                p.copy_(u + size * randn(*p.shape, seed=i))
        found.append(estimate.terms())
    order = math.log2(abs(found[0].remainder / found[1].remainder))
    assert order == pytest.approx(2, abs=0.2)
    assert abs(found[1].change) > 100 * abs(found[1].remainder)
    assert sum(found[1].state) > 0
    assert found[0].sentence.startswith("The Hamiltonians promised")


def test_nothing_is_counted_and_nothing_drawn() -> None:
    """Running statistics, and torch's own random numbers, are as before."""
    net, x, y = network("adopted-pre-activation"), inputs(), target("soft-cross-entropy")
    net.train()
    cost = COSTS["soft-cross-entropy"]()
    before, drawn = {n: b.clone() for n, b in net.named_buffers()}, torch.get_rng_state()
    terms = ErrorEstimate(net, Problem(cost, cost, 0.0), x, y).terms()
    assert before
    assert all(torch.equal(b, before[n]) for n, b in net.named_buffers())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert terms.change == 0
    assert terms.decrease == (0.0,) * (net.depth + 2)
    assert net.training


def test_discrete_weights_are_promised_what_enumeration_finds() -> None:
    """gap: the best of all ternary weights by the slopes; a flip that is asked for lowers J by what its layer says."""
    net, x, y = network("discrete-residual"), inputs(), target("soft-cross-entropy")
    cost = COSTS["soft-cross-entropy"]()
    problem = Problem(cost, cost, 0.7)
    net.eval()
    found_over = hamiltonians(net, problem, [(x[:2], y[:2]), (x[2:], y[2:])])
    estimate, slopes, best = ErrorEstimate(net, problem, x, y), discrete_slopes(net, problem, x, y), []
    layers = [net.system.discrete(k) for k in range(net.depth)]
    assert sum(found_over.discrete) > 0
    assert all(layer.relaxed is None for step in layers for layer in step)
    for step, found in zip(layers, slopes, strict=True):
        changes = [torch.stack([-g * (w - layer.weight) for w in (-1, 0, 1)]).amax(0)
                   for g, layer in zip(found, step, strict=True)]  # fmt: skip
        best.append(sum(float(change.sum()) for change in changes))
    with torch.no_grad():
        layers[0][0].weight.copy_((layers[0][0].weight + 2) % 3 - 1)
    terms = estimate.terms()
    assert terms.gap == pytest.approx((0, *best, 0), rel=1e-9)
    assert found_over.discrete == pytest.approx(best, rel=1e-9)  # slopes are means over all batches
    assert terms.state[1] > 0
    assert terms.decrease[1] != 0
    assert terms.decrease[2:] == (0.0,) * net.depth  # of no other layer


def test_a_chain_without_skips_has_hamiltonians() -> None:
    """No groups, so no gap over them: slopes of batch norms and of discrete weights alone."""
    net, x, y = network("chain-conv").train(), inputs(), torch.arange(6) % 3  # not all of its ReLUs are dead there
    cost = COSTS["soft-cross-entropy"]()
    problem = Problem(cost, cost, 0.0)
    found = hamiltonians(net, problem, [(x, y)])
    assert found.gap == (None,) * net.depth
    assert min(found.discrete) > 0
    smooth = problem.evaluate(rollout(net, x), y).smooth
    for k in range(net.depth):
        slope = torch.autograd.grad(smooth, net.system.control(k), retain_graph=True)
        assert found.residual[k] == pytest.approx(math.hypot(*(float(g.norm()) for g in slope)), rel=1e-9)
    with pytest.raises(ConfigError, match="stage_weight = 0"):
        hamiltonians(net, Problem(cost, cost, 1.0), [(x, y)])
