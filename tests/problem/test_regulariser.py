"""The explicit regulariser: closed forms, the order of what it leaves out, and what it says."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import cases
import numpy as np
import pytest
import torch
from systems import Field, randn, stir_
from torch import Tensor
from torch.nn import functional as F

import node_oc as oc
from node_oc.discretization import TABLEAUS, DepthGrid, Network
from node_oc.discretization.amplitude import Amplified, Deviated, with_signs
from node_oc.discretization.drivers import branch_dropout, gaussian, shake_shake, stochastic_depth, two_point
from node_oc.discretization.noise import Noise
from node_oc.errors import ConfigError
from node_oc.problem import Problem, explicit_regulariser
from node_oc.problem.regulariser import regularised
from node_oc.system import DenseSystem
from node_oc.system.paired import PairedSystem
from node_oc.trajectory import rollout


def g(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


X, Y = randn(5, 2), torch.arange(5) % 3


def network(table: str = "euler", depth: int = 3, width: int = 3) -> Network:
    system = DenseSystem(2, 3, depth=depth, width=width, hidden=4).double()
    stir_(system)
    return Network(system, DepthGrid.uniform(depth, 0.7), TABLEAUS[table])


def linear(h: float, depth: int, table: str = "euler") -> Network:
    """x' = 0.8 x in one dimension, with x itself for output."""
    return Network(Field(lambda x: 0.8 * x, depth).double(), DepthGrid.uniform(depth, h), TABLEAUS[table])


# -- values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("noise", "mean", "size"),
    [
        (branch_dropout(0.8), 1.0, 0.5 * 0.5),
        (stochastic_depth(0.8), 0.8, 0.5 * 0.4),
        (gaussian(0.3), 1.0, 0.5 * 0.3),
        (two_point(0.3, p=0.2), 1.0, math.sqrt(0.5) * 0.3),
    ],
    ids=lambda value: value.name if isinstance(value, Noise) else "",
)
def test_of_a_linear_field_and_a_square_by_hand(noise: Noise, mean: float, size: float) -> None:
    """J = x_N^2 + sum h x_k^2, h = 1/2: R_k = (size 0.8 x_k)^2 (a^2(N-k-1) + h sum of a^2(j-k-1), k < j < N)."""
    h, depth = 0.5, 3
    a = 1 + mean * h * 0.8
    x, problem = torch.full((1, 1), 2.0).double(), Problem.regression(1.0)
    found = explicit_regulariser(linear(h, depth), noise, problem, x, torch.zeros(1, 1), probes=None)
    by_hand = []
    for k in range(depth):
        after = a ** (2 * (depth - k - 1)) + h * sum(a ** (2 * (j - k - 1)) for j in range(k + 1, depth))
        by_hand.append((size * 0.8 * 2.0 * a**k) ** 2 * after)
    assert found.layers == pytest.approx(by_hand, rel=1e-12)
    assert found.total == pytest.approx(sum(by_hand), rel=1e-12)
    assert found.objective == pytest.approx(4 * (a**6 + h * (1 + a**2 + a**4)), rel=1e-12)


def test_one_draw_for_several_stages_holds_the_drift_of_stratonovich() -> None:
    """One midpoint step of x' = 0.8 x: x_1 = x (1 + z + z^2/2), z = 0.8 h b; phi = x_1^2, x = 1."""
    h, s = 0.5, 0.3
    z, dz = 0.8 * h, 0.8 * h * s
    x1, slope = 1 + z + z * z / 2, 1 + z
    net, x = linear(h, 1, "midpoint"), torch.ones(1, 1).double()
    problem = Problem.regression(0.0)
    once = explicit_regulariser(net, gaussian(s), problem, x, torch.zeros(1, 1), probes=None).total
    assert once == pytest.approx(dz**2 * (slope**2 + x1), rel=1e-12)  # (x_1'^2 + x_1 x_1'') dz^2
    fresh = explicit_regulariser(net, gaussian(s, fresh=True), problem, x, torch.zeros(1, 1), probes=None).total
    # x_1 = x (1 + z_2 (1 + z_1 / 2)), each z with noise of its own: no second derivative in one of them alone.
    assert fresh == pytest.approx(dz**2 * ((z / 2) ** 2 + (1 + z / 2) ** 2), rel=1e-12)


def expected(noise: Noise, net: Network, problem: Problem, e: float) -> float:
    """E J at amplitude e, exactly: one number a sample and step, all combinations of its atoms."""
    laws = [noise.law(k) for k in range(net.depth)]
    atoms = [list(zip(*law.atoms(9), strict=True)) for law in laws]
    total = 0.0
    for draw in itertools.product(*atoms):
        weight = math.prod(w for _, w in draw)
        place = [torch.full((1, 1), e * (b - law.mean) / math.sqrt(law.variance)).double()
                 for (b, _), law in zip(draw, laws, strict=True)]  # fmt: skip
        total += weight * float(problem.evaluate(rollout(net, X, driver=Deviated(noise, place)), Y).smooth)
    return total


@pytest.mark.parametrize(
    ("noise", "order"),
    [
        (two_point(0.5, per="sample"), 4),
        (two_point(0.5, p=0.2, per="sample"), 3),
        (stochastic_depth(0.8, inverted=True), 3),
        (gaussian(0.5, per="sample"), 4),
    ],
    ids=["symmetric", "skewed", "stochastic depth", "gaussian"],
)
def test_what_is_left_out_is_of_order_4_or_of_order_3_where_a_law_is_skewed(noise: Noise, order: int) -> None:
    net, problem = network("heun"), Problem.classification(3)
    found = explicit_regulariser(net, noise, problem, X, Y, probes=None)
    sizes = [0.02, 0.01, 0.005] if order == 4 else [0.008, 0.004, 0.002]
    with torch.no_grad():
        left = [abs(expected(noise, net, problem, e) - found.objective - e * e * found.total) for e in sizes]
    slope = np.polyfit(np.log(sizes), np.log(left), 1)[0]
    assert slope == pytest.approx(order, abs=0.1)
    assert left[0] < 0.05 * sizes[0] ** 2 * found.total  # R is right to 5 %


def second_difference(j: Callable[[float], float], e: float) -> float:
    return (j(e) + j(-e) - 2 * j(0.0)) / (2 * e * e)


@pytest.mark.parametrize("name", [name for name in cases.SYSTEMS if not name.startswith("adopted")])
def test_one_probe_is_half_the_second_derivative_in_the_amplitude(name: str) -> None:
    """For every system, with several stages and a draw for each where its skips allow, and costs of every stage."""
    net = cases.network(name)
    if all(map(net.system.is_identity, range(net.depth))) and net.system.nodes is None:
        net = Network(net.system, net.grid, TABLEAUS["heun"])
    x, y = cases.inputs(), cases.target("soft-cross-entropy")
    noise = with_signs(branch_dropout(0.8, fresh=True)).drawn(torch.Generator().manual_seed(0))
    problem = Problem.classification(3, stage_weight=0.5)
    found = regularised(net, noise, problem, x, y)[1]
    with torch.no_grad():
        wanted = second_difference(
            lambda e: float(problem.evaluate(rollout(net, x, driver=Amplified(noise, e)), y).smooth), 1e-4
        )
    assert found.shape == (net.depth,)
    assert float(found.detach().sum()) == pytest.approx(wanted, rel=1e-4, abs=1e-7)  # rounding: 2e-16 J / 1e-8


def attend(x: Tensor) -> Tensor:
    """The entries of a state attend to each other."""
    return F.scaled_dot_product_attention(*[x[:, None, :, None]] * 3)[:, 0, :, 0]


def paired() -> Network:
    pair = PairedSystem(*(DenseSystem(2, 3, depth=2, width=3, hidden=3, generator=g(i)) for i in (0, 1))).double()
    stir_(pair)
    return Network(pair)


@pytest.mark.parametrize(
    ("net", "noise"),
    [(paired(), shake_shake()), (Network(Field(attend, 3, 3).double()), two_point(0.3, p=0.3, per="channel"))],
    ids=["two branches", "attention"],
)
def test_two_branches_and_attention(net: Network, noise: Noise) -> None:
    problem = Problem.classification(3)
    signs = with_signs(noise).drawn(g(2))
    found = float(regularised(net, signs, problem, X, Y)[1].detach().sum())
    with torch.no_grad():
        wanted = second_difference(
            lambda e: float(problem.evaluate(rollout(net, X, driver=Amplified(signs, e)), Y).smooth), 1e-3
        )
    assert found == pytest.approx(wanted, rel=1e-4)
    exact = explicit_regulariser(net, noise, problem, X, Y, probes=None).total
    probed = explicit_regulariser(net, noise, problem, X, Y, probes=32)
    assert abs(probed.total - exact) < 5 * probed.error


def test_probes_estimate_every_layer_without_bias() -> None:
    """Signs of one sample and three layers: the mean over all eight combinations is the exact value."""
    net, problem, noise = network(), Problem.classification(3), two_point(0.5, per="sample")
    exact = explicit_regulariser(net, noise, problem, X[:1], Y[:1], probes=None).layers
    seen: dict[tuple[float, ...], Tensor] = {}
    generator = g(0)
    while len(seen) < 8:
        signs = with_signs(noise).drawn(generator)
        key = tuple(float(signs.increment(k, 0, 1.0, X[:1])) for k in range(3))
        seen[key] = regularised(net, signs, problem, X[:1], Y[:1])[1].detach()
    assert torch.stack(list(seen.values())).mean(0).tolist() == pytest.approx(exact, rel=1e-10)


def test_its_gradient_in_the_weights_is_that_of_finite_differences() -> None:
    net, problem = network("midpoint"), Problem.classification(3)
    signs = with_signs(branch_dropout(0.8)).drawn(g(1))
    weights = list(net.parameters())
    ways = [randn(*p.shape, seed=i) for i, p in enumerate(weights)]
    found = torch.autograd.grad(regularised(net, signs, problem, X, Y)[1].sum(), weights, materialize_grads=True,
                                allow_unused=True)  # fmt: skip
    values = []
    for size in (1e-5, -1e-5):
        with torch.no_grad():
            torch._foreach_add_(weights, ways, alpha=size)
        values.append(float(regularised(net, signs, problem, X, Y)[1].sum().detach()))
        with torch.no_grad():
            torch._foreach_sub_(weights, ways, alpha=size)
    slope = sum(float((a * b).sum()) for a, b in zip(found, ways, strict=True))
    assert slope == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


def test_monte_carlo_of_a_network_says_the_same() -> None:
    """At small noise, with what is of first order taken out: it has mean 0."""
    net, problem, noise, e = network(), Problem.classification(3), branch_dropout(0.8), 0.1
    exact = explicit_regulariser(net, noise, problem, X, Y, probes=None)
    x, y, gains = X.repeat(100, 1), Y.repeat(100), []
    with torch.no_grad():
        for seed in range(20):  # antithetic: what is odd in the noise cancels
            drawn = noise.drawn(g(seed))
            both = [float(problem.evaluate(rollout(net, x, driver=Amplified(drawn, s * e)), y).smooth) for s in (1, -1)]
            gains.append((sum(both) / 2 - exact.objective) / e**2)
    mean, error = float(np.mean(gains)), float(np.std(gains)) / 19**0.5
    assert error < 0.02 * exact.total
    assert abs(mean - exact.total) < 4.5 * error


# -- what it says --------------------------------------------------------------------------------------------


def test_the_answer_in_words() -> None:
    net, problem = network(), Problem.classification(3)
    probed = explicit_regulariser(net, branch_dropout(0.8), problem, X, Y, probes=3)
    assert probed.probes == 3
    assert probed.error > 0
    assert f"adds {probed.total:.4g} +- " in probed.sentence
    exact = explicit_regulariser(net, stochastic_depth(1.0), problem, X, Y, probes=None)
    assert exact.total == 0
    assert exact.sentence.endswith("to leading order.")
    assert math.isnan(explicit_regulariser(net, branch_dropout(0.8), problem, X, Y, probes=1).error)
    assert explicit_regulariser(net, branch_dropout(0.8), problem, X, Y, probes=3) == probed  # the same signs


def test_bad_input_and_relu() -> None:
    net, problem = network(), Problem.classification(3)
    with pytest.raises(ConfigError, match="probes: got 0"):
        explicit_regulariser(net, branch_dropout(0.8), problem, X, Y, probes=0)
    with pytest.raises(ConfigError, match="one branch"):
        explicit_regulariser(net, shake_shake(), problem, X, Y)
    relu = DenseSystem(2, 3, depth=2, width=3, hidden=4, activation="relu").double()
    with pytest.warns(oc.NotSmoothWarning, match="kinks"):
        explicit_regulariser(relu, branch_dropout(0.8), problem, X, Y, probes=1)


def test_without_layers_it_is_nothing() -> None:
    for probes in (1, None):
        found = explicit_regulariser(
            network(depth=0), branch_dropout(0.8), Problem.classification(3), X, Y, probes=probes
        )
        assert (found.layers, found.total) == ((), 0.0)
        assert found.objective > 0


def test_it_is_the_same_where_nothing_is_recorded() -> None:
    expected = explicit_regulariser(net := network(), branch_dropout(0.8), Problem.classification(3), X, Y, probes=None)
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            found = explicit_regulariser(net, branch_dropout(0.8), Problem.classification(3), X, Y, probes=None)
        assert found == expected
