"""L_depth, the soft stopping law under it, and the penalty and bound of diminishing returns."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from systems import decay, linear, randn, stir_
from torch import Tensor

from node_oc.discretization import DepthGrid, Network
from node_oc.errors import ConfigError, ShapeError
from node_oc.problem import CrossEntropy, Problem, SoftCrossEntropy, SquaredError, costate_sweep, step_hamiltonian
from node_oc.problem.stopping import (
    DepthCost,
    DiminishingReturns,
    loss_lipschitz,
    readout_features,
    returns_bound,
    snell_envelope,
    stopping_chances,
    stopping_gain,
    stopping_law,
    tree,
)
from node_oc.system import ConvSystem, DenseSystem
from node_oc.trajectory import rollout

X, Y = randn(24, 2), torch.arange(24) % 3
SOFT = SoftCrossEntropy(3, 0.1)


@dataclass(frozen=True)
class Read:
    """A trajectory as a cost sees it: readouts, and which steps are awake."""

    readouts: Tensor
    awake: tuple[int, ...]

    @property
    def network(self) -> Read:
        return self


def network(seed: int = 0) -> Network:
    system = DenseSystem(2, 3, depth=4, width=4, hidden=5, generator=torch.Generator().manual_seed(seed)).double()
    stir_(system)
    return Network(system, DepthGrid((0.5, 1.0, 0.25, 2.0)))


# -- the law -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 1e-3, 0.1, 1.0, 100.0])
def test_the_law_is_one_and_its_formula(temperature: float) -> None:
    gain = randn(7, 50)
    pi, a = stopping_law(gain, temperature), stopping_chances(gain, temperature)
    assert bool((pi >= 0).all())
    assert bool((a[-1] == 1).all())
    torch.testing.assert_close(pi.sum(0), torch.ones(50).double(), rtol=0, atol=1e-14)
    for k in range(8):
        torch.testing.assert_close(pi[k], a[k] * (1 - a[:k]).prod(0), rtol=1e-9, atol=1e-14)


def test_the_cold_law_is_the_hard_rule() -> None:
    """tau -> 0: all of it at the first depth where stopping is no dearer; and tau = 0 is that limit."""
    gain = randn(6, 40)
    first = torch.cat([gain >= 0, torch.ones(1, 40, dtype=torch.bool)]).int().argmax(0)
    hard = torch.nn.functional.one_hot(first, 7).T.double()
    assert torch.equal(stopping_law(gain, 0.0), hard)
    assert [float((stopping_law(gain, tau) - hard).abs().max()) for tau in (1e-5, 1e-7)] == pytest.approx(
        [0, 0], abs=1e-9
    )
    assert float((stopping_law(gain, 1e9)[0] - 0.5).abs().max()) < 1e-8  # hot: a coin at each depth


def test_gradients_of_the_law() -> None:
    gain = randn(3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda g: stopping_law(g, 0.3), gain)


def test_without_anything_to_see_the_regression_is_the_mean_and_the_recursion_exact() -> None:
    """Constant features: Ghat_k and Chat_k are means. V_2 = G_2; gain_1 = mean V_2 - mean G_1; and so on, by hand."""
    stopped = torch.tensor([[1.0, 3.0], [0.5, 1.9], [1.0, 1.0]], dtype=torch.float64)
    gain = stopping_gain(torch.ones(3, 2, 6).double(), stopped, 0.2)
    a1 = 1 / (1 + math.exp((1.2 - 1.0) / 0.2))
    v1 = a1 * stopped[1] + (1 - a1) * stopped[2]
    expected = torch.stack([v1.mean() - 2.0, v1.new_tensor(1.0 - 1.2)])
    torch.testing.assert_close(gain, expected[:, None].expand(2, 2), rtol=1e-12, atol=0)


def test_the_hard_rule_of_blind_readouts_is_the_best_fixed_depth() -> None:
    for seed in range(20):
        stopped = randn(6, 9, seed=seed)
        pi = stopping_law(stopping_gain(torch.zeros(6, 9, 2).double(), stopped, 0.0), 0.0)
        assert float((pi * stopped).sum(0).mean()) == pytest.approx(float(stopped.mean(1).min()), rel=1e-12)


def test_what_is_seen_decides_and_the_ridge_is_small() -> None:
    """Two kinds of samples that a feature tells apart: one stops at once, the other goes on to the end."""
    kind = (torch.arange(40) % 2).double()
    stopped = torch.stack([kind, 0.1 + 0.5 * kind, 0.2 + 0.0 * kind])
    features = kind[None, :, None].expand(3, 40, 1)
    pi = stopping_law(stopping_gain(features, stopped, 0.0), 0.0)
    assert torch.equal(pi[0], 1 - kind)
    assert torch.equal(pi[2], kind)


def test_the_cold_law_is_the_snell_envelope_of_what_is_seen() -> None:
    """Features that name the node of the tree of observations: the regressed rule is the best of all rules."""
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        seen = torch.randint(2, (4, 2000), generator=generator)
        shown = seen.double().cumsum(0) / torch.arange(1, 5)[:, None]
        noise = torch.rand(4, 2000, generator=generator, dtype=torch.float64)
        stopped = noise + 0.8 * shown + 0.1 * torch.arange(4)[:, None]
        costs, transitions, start, nodes = tree(seen, stopped)
        features = torch.stack([torch.nn.functional.one_hot(node, 16).double() for node in nodes])
        pi = stopping_law(stopping_gain(features, stopped, 0.0), 0.0)
        best = snell_envelope(costs, transitions).value(start)
        assert float((pi * stopped).sum(0).mean()) == pytest.approx(best, rel=1e-9)
        assert best < float(stopped.mean(1).min()) - 0.01  # what is seen is worth something


def test_the_gain_wants_one_cost_for_each_row() -> None:
    with pytest.raises(ShapeError, match="costs of stopping"):
        stopping_gain(torch.ones(3, 5, 2), torch.ones(3, 4), 0.1)


# -- L_depth -------------------------------------------------------------------------------------------------


def test_its_value_on_readouts_by_hand() -> None:
    """Three equal samples, so nothing to see: loss 1, 0.4, 0.1 of a step each at c = 0.2; the third step sleeps."""
    readouts = torch.tensor([1.0, 0.4, 0.1, 0.1], dtype=torch.float64).sqrt()[:, None, None].expand(4, 3, 1)
    cost = DepthCost(SquaredError(), 0.2, temperature=0.1, weight=2.0)
    trajectory = Read(readouts, (0, 1))
    stopped = cost.stopped(trajectory, torch.zeros(3, 1))  # type: ignore[arg-type]
    torch.testing.assert_close(stopped[:, 0], torch.tensor([1.0, 0.6, 0.5, 0.5], dtype=torch.float64))
    a2 = 0.5  # G_2 = V_3
    a1 = 1 / (1 + math.exp(0.1 / 0.1))
    v1 = a1 * 0.6 + (1 - a1) * 0.5
    a0 = 1 / (1 + math.exp((1.0 - v1) / 0.1))
    pi = (a0, (1 - a0) * a1, (1 - a0) * (1 - a1) * a2, (1 - a0) * (1 - a1) * (1 - a2))
    value = 2 * sum(p * g for p, g in zip(pi, (1.0, 0.6, 0.5, 0.5), strict=True))
    assert float(cost(trajectory, torch.zeros(3, 1))) == pytest.approx(value, rel=1e-12)  # type: ignore[arg-type]


def test_it_cools_geometrically() -> None:
    cost = DepthCost(SOFT, 0.01, temperature=0.02)
    assert [cost.at(p).tau for p in (0.0, 0.5, 1.0)] == pytest.approx([0.2, 0.02 * 10**0.5, 0.02])
    assert cost.at(0.3).at(1.0) == cost


@pytest.mark.parametrize("attached", [False, True])
def test_its_gradient_is_that_of_the_expected_cost_the_law_held_or_not(attached: bool) -> None:
    """By autograd and by central differences in the readouts, float64; the regression counts as data in both."""
    cost = DepthCost(SOFT, 0.05, temperature=0.1, attached=attached)
    readouts = randn(4, 24, 3).requires_grad_()
    (slope,) = torch.autograd.grad(cost(Read(readouts, (0, 1, 2)), Y), readouts)  # type: ignore[arg-type]
    if not attached:
        stopped = cost.stopped(Read(readouts, (0, 1, 2)), Y)  # type: ignore[arg-type]
        pi = cost.law(readouts, stopped, "classification")
        assert not pi.requires_grad
        torch.testing.assert_close(slope, torch.autograd.grad((pi * stopped).sum(0).mean(), readouts)[0])
        return
    held = DepthCost(SOFT, 0.05, temperature=0.1)
    (without,) = torch.autograd.grad(held(Read(readouts, (0, 1, 2)), Y), readouts)  # type: ignore[arg-type]
    assert float((slope - without).norm()) > 0.01 * float(slope.norm())


def test_the_law_held_is_nearly_the_whole_gradient_where_it_is_optimal() -> None:
    """Envelope theorem: dJ along a move of the readouts, the law fitted again, is the gradient with the law held."""
    cost = DepthCost(SOFT, 0.05, temperature=1e-9)
    readouts = 3 * randn(3, 4000, 3)
    y = torch.arange(4000) % 3
    readouts[1:, torch.arange(4000), y] += 1.5  # later readouts know more
    readouts.requires_grad_()
    (slope,) = torch.autograd.grad(cost(Read(readouts, (0, 1)), y), readouts)  # type: ignore[arg-type]
    move = readouts.detach() * 0.05
    j = [float(cost(Read(readouts.detach() + s * move, (0, 1)), y)) for s in (-1, 1)]  # type: ignore[arg-type]
    assert (j[1] - j[0]) / 2 == pytest.approx(float((slope * move).sum()), rel=0.1)


def test_sequences_and_senseless_numbers_are_refused() -> None:
    with pytest.raises(ShapeError, match="readouts"):
        DepthCost(SOFT, 0.1)(Read(randn(3, 2, 5, 3), (0, 1)), Y)  # type: ignore[arg-type]
    for wrong in ({"layer": 0.0}, {"layer": -1.0}, {"layer": float("inf")}, {"layer": 0.1, "temperature": 0.0}):
        with pytest.raises(ConfigError, match="of a depth cost"):
            DepthCost(SOFT, **wrong)


# -- diminishing returns -------------------------------------------------------------------------------------


def geometric(rate: float, depth: int) -> Network:
    """x_{k+1} = x_k - (1 - r) x_k: increments shrink by r exactly."""
    return Network(decay(depth, 2), DepthGrid.uniform(depth, 1 - rate))


def test_the_penalty_by_hand() -> None:
    """From x_0 = 1: increments 0.3, 0.21, 0.147 at r = 0.7; each is above half of the one before by 0.2 of that."""
    trajectory = rollout(geometric(0.7, 3), torch.tensor([[1.0, 0.0], [0.0, 2.0]]).double())
    value = DiminishingReturns(0.5, 2.0)(trajectory, Y)
    assert value.item() == pytest.approx(2 * 0.2 * (0.3 + 0.21) * 1.5)
    assert DiminishingReturns(0.7)(trajectory, Y).item() == pytest.approx(0, abs=1e-12)
    sleeping = geometric(0.7, 3)
    sleeping.set_awake((0, 2))
    assert DiminishingReturns(0.7)(rollout(sleeping, X), Y).item() == pytest.approx(0, abs=1e-12)  # 0.3, then 0.21


def test_gradients_of_the_penalty_and_pairs_across_stages() -> None:
    net = network()
    weights = [p for k in range(4) for p in net.system.control(k)]
    value = DiminishingReturns(0.4)(rollout(net, X), Y)
    slopes = torch.autograd.grad(value, weights)
    moves = [randn(*p.shape, seed=i) for i, p in enumerate(weights)]
    j = []
    with torch.no_grad():
        for s in (-1e-5, 2e-5):
            torch._foreach_add_(weights, moves, alpha=s)
            j.append(float(DiminishingReturns(0.4)(rollout(net, X), Y)))
    assert (j[1] - j[0]) / 2e-5 == pytest.approx(sum(float((g * m).sum()) for g, m in zip(slopes, moves)), rel=1e-6)
    conv = ConvSystem((1, 4, 4), 3, channels=(2, 3), blocks=(1, 1)).double()
    assert float(DiminishingReturns(0.01)(rollout(conv, randn(5, 16)), Y[:5])) == 0  # no pair in one space


def test_the_lipschitz_constant_is_the_least_one() -> None:
    """No pair of states beats it, and far out, between two classes, it is reached."""
    system = linear(randn(3, 3)).double()
    system.head = torch.nn.Linear(3, 4).double()  # type: ignore[assignment]
    weight = randn(4, 3)
    system.affine_readout = lambda: (weight, torch.zeros(4).double())  # type: ignore[method-assign]
    states, others = 5 * randn(4000, 3), 5 * randn(4000, 3, seed=1)
    for cost in (CrossEntropy(), SoftCrossEntropy(4, 0.2)):
        least = loss_lipschitz(system, cost)
        y = torch.arange(4000) % 4
        gap = (cost((states @ weight.T)[None], y) - cost((others @ weight.T)[None], y)).abs()[0]
        assert float((gap / (states - others).norm(dim=1)).max()) <= least
        far = (1e3 * randn(20000, 3, seed=2)).requires_grad_()
        slopes = [
            torch.autograd.grad(cost((far @ weight.T)[None], torch.full((20000,), c)).sum(), far)[0] for c in range(4)
        ]
        reached = max(float(g.norm(dim=1).max()) for g in slopes)
        assert least * (1 - 1e-6) <= reached <= least * (1 + 1e-12)
    with pytest.raises(ConfigError, match="CrossEntropy"):
        loss_lipschitz(system, SquaredError())


@pytest.mark.parametrize("rate", [0.3, 0.8])
def test_no_rule_goes_beyond_the_bound_whatever_the_depth(rate: float) -> None:
    """Geometric increments: the hindsight optimum and the fitted law stop by the bound, the same for every N."""
    c, cost, x = 0.01, CrossEntropy(), 2 * randn(60, 2)
    y, found = (x[:, 0] > 0).long(), set()  # the state shrinks: going on only ever loses for these labels
    y[::3] = 1 - y[::3]  # and gains for those
    for depth in (16, 64, 256):
        trajectory = rollout(geometric(rate, depth), x)
        bound = returns_bound(trajectory, c, loss_lipschitz(trajectory.network.system, cost))
        assert bound.rate == pytest.approx(rate, rel=1e-9)
        found.add(bound.depth)
        stopped = cost(trajectory.readouts, y) + c * torch.arange(depth + 1)[:, None]
        best = stopped.argmin(0)
        assert bound.depth is not None
        assert bool((best <= bound.depths).all())
        assert 0 < int(best.max()) <= min(bound.depth, depth)
        assert int(bound.depths.max()) <= bound.depth
        features = readout_features(trajectory.readouts)
        law = stopping_law(stopping_gain(features, stopped, 0.0), 0.0)
        assert int(law.argmax(0).max()) <= bound.depth
    assert len(found) == 1


def test_a_bound_by_hand_and_returns_that_do_not_diminish() -> None:
    """Lip ||F_0|| r^k/(1 - r) = sqrt(2) 0.25 2^-k/0.5 <= 0.01 first at k = 7; at most N where there is none."""
    trajectory = rollout(geometric(0.5, 20), torch.tensor([[0.5, 0.0]]).double())
    bound = returns_bound(trajectory, 0.01, loss_lipschitz(trajectory.network.system, CrossEntropy()))
    assert (bound.depth, bound.depths.tolist(), bound.first) == (7, [7], 0.25)
    assert "beyond 7 layers" in bound.sentence
    growing = rollout(Network(decay(3, 2), DepthGrid.uniform(3, 2.5)), X)  # x <- -1.5 x
    bound = returns_bound(growing, 1e-3, 1.0)
    assert bound.depth is None
    assert bound.depths.tolist() == [3] * 24
    assert "no bound for every N" in bound.sentence
    for wrong in ((0.0, 1.0), (0.1, 0.0), (0.1, float("inf"))):
        with pytest.raises(ConfigError, match="bound on the depth"):
            returns_bound(growing, *wrong)
    with pytest.raises(ShapeError, match="identity"):
        returns_bound(rollout(ConvSystem((1, 4, 4), 3, channels=(2, 3), blocks=(1, 1)), randn(5, 16).float()), 0.1, 1.0)


# -- costates ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cost", [DepthCost(SOFT, 0.05), DepthCost(SOFT, 0.05, attached=True), DiminishingReturns(0.3)])
def test_a_step_hamiltonian_with_their_costates_has_the_whole_gradient(cost: DepthCost | DiminishingReturns) -> None:
    """dHam_k/du_k = dJ/du_k also with a sleeping step, whose state two depths share."""
    net, problem = network(), replace(Problem(SOFT, SOFT, 0.7), path_costs=(cost,))
    net.set_awake((0, 2, 3))
    trajectory = rollout(net, X)
    smooth = problem.evaluate(trajectory, Y).smooth
    plain, sweep = (costate_sweep(trajectory, p, Y) for p in (replace(problem, path_costs=()), problem))
    for k in net.awake:
        control = net.system.control(k)
        whole = torch.autograd.grad(smooth, control, retain_graph=True)
        for costates, same in ((sweep, True), (plain, False)):
            ham = step_hamiltonian(net, problem, k, trajectory.states[k].detach(), costates.p[k + 1], Y)
            error = max(
                float((g - j).norm() / j.norm()) for g, j in zip(torch.autograd.grad(ham, control), whole, strict=True)
            )
            assert (error < 1e-11) is same
