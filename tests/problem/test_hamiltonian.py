"""Costates with known answers; Hamiltonian, stationarity and gap of every layer, and what they say of idle ones."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from systems import Field, decay, randn, stir_, zero_
from torch import Tensor, nn

from node_oc.discretization import TABLEAUS, DepthGrid, Network
from node_oc.errors import ConfigError, DataError, DivergenceError
from node_oc.problem import (
    CrossEntropy,
    GroupHamiltonian,
    Hamiltonians,
    Problem,
    SoftCrossEntropy,
    SquaredError,
    TorchLoss,
    costate_sweep,
    group_gradients,
    group_norms,
    hamiltonians,
    optimality_ratios,
    step_hamiltonian,
)
from node_oc.problem.hamiltonian import linear_in_group, tangents
from node_oc.problem.optimality import all_awake
from node_oc.system import DenseSystem
from node_oc.trajectory import rollout

X, Y = randn(12, 2), torch.arange(12) % 3
BATCH = [(X, Y)]
H = (0.5, 1.0, 2.0)
SOFT = SoftCrossEntropy(3)


def dense(table: str = "euler", row_norm: float = 1.0, zero: tuple[int, ...] = (1,)) -> Network:
    """Step 1 sleeps at zero, with live inner weights."""
    system = DenseSystem(2, 3, depth=3, width=4, hidden=5, row_norm=row_norm).double()
    stir_(system)
    system.constrain_()
    zero_(system, *zero)
    return Network(system, DepthGrid(H), TABLEAUS[table], awake=[k for k in range(3) if k not in zero])


def problem(energy: float = 0.05, price: float = 0.1) -> Problem:
    return Problem(SOFT, SOFT, 0.7, energy, price)


# -- costates ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0.0, 0.7])
def test_costates_of_linear_decay_in_closed_form(gamma: float) -> None:
    """x_k = a^k x_0 with a = 1 - h, cost |x|^2: p_k = 2 x_k / B [a^2m + gamma h (1 - a^2m)/(1 - a^2)], m = N - k."""
    n, h = 6, 0.25
    net = Network(decay(n, 2), DepthGrid.uniform(n, h))
    x, a = randn(5, 2), 1 - h
    sweep = costate_sweep(rollout(net, x), Problem.regression(gamma), torch.zeros(5, 2).double())
    for k, p in enumerate(sweep.p):
        decayed = a ** (2 * (n - k))
        expected = 2 * a**k * x / 5 * (decayed + gamma * h * (1 - decayed) / (1 - a**2))
        torch.testing.assert_close(p, expected, rtol=1e-13, atol=0)
        assert sweep.norms[k].item() == pytest.approx(5 * expected.norm(dim=1).mean().item())


def test_rk4_costates_are_those_of_the_ode_to_order_four() -> None:
    """x' = -x, cost x(1)^2: p(t) = 2 x_0 exp(t - 2)."""
    errors = []
    for n in (4, 8, 16):
        net = Network(decay(n), DepthGrid.uniform(n, 1 / n), TABLEAUS["rk4"])
        x = torch.tensor([[1.5]]).double()
        sweep = costate_sweep(rollout(net, x), Problem.regression(0.0), torch.zeros(1, 1).double())
        errors.append(max(abs(p.item() - 3 * math.exp(k / n - 2)) for k, p in enumerate(sweep.p)))
    assert [math.log2(a / b) for a, b in itertools.pairwise(errors)] == pytest.approx([4, 4], abs=0.2)


def test_costates_do_not_need_a_trajectory_with_gradients() -> None:
    net = dense()
    with torch.no_grad():
        plain = costate_sweep(rollout(net, X), problem(), Y)
        asked = hamiltonians(net, problem(), BATCH)
    assert asked == hamiltonians(net, problem(), BATCH)
    for p, q in zip(plain.p, costate_sweep(rollout(net, X), problem(), Y).p, strict=True):
        assert torch.equal(p, q)
        assert not p.requires_grad
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("k", range(4))
def test_a_state_that_is_not_finite_is_named(k: int) -> None:
    net = Network(decay(3), DepthGrid(H))
    x = torch.ones(2, 1).double()
    with torch.no_grad():
        if k:
            net.system.control(k - 1)[0].fill_(math.nan)
        else:
            x[1] = math.nan
    y = torch.zeros(2, 1).double()
    for ask in (lambda: costate_sweep(rollout(net, x), Problem.regression(), y),
                lambda: hamiltonians(net, Problem.regression(), [(x, y)])):  # fmt: skip
        with pytest.raises(DivergenceError, match=f"state x_{k}: .* layer {k}"):
            ask()


def test_a_costate_that_is_not_finite_is_named() -> None:
    net = Network(decay(3), DepthGrid.uniform(3, 0.5))
    stage = TorchLoss(lambda z, y: ((z - 0.25).abs()).sqrt().sum(1))  # an infinite slope at x_2
    with pytest.raises(DivergenceError, match=r"costate p_2: .* layer 2"):
        costate_sweep(rollout(net, torch.ones(1, 1).double()), Problem(SquaredError(), stage), torch.zeros(1, 1))


def test_a_terminal_cost_without_a_gradient_raises() -> None:
    wrong = TorchLoss(lambda z, y: (z.argmax(1) != y).double())
    with pytest.raises(ConfigError, match="without a gradient in the output"):
        costate_sweep(rollout(dense(), X), Problem(wrong, SOFT), Y)


# -- the group's own minimum ---------------------------------------------------------------------------------

CASES = [(0.2, 0.5), (0.2, 0.0), (1.0, 3.0), (0.05, 10.0), (0.0, 20.0)]


@pytest.mark.parametrize(("energy", "price"), CASES)
@pytest.mark.parametrize("seed", range(3))
def test_the_least_value_is_that_of_numerical_minimisation(energy: float, price: float, seed: int) -> None:
    part = GroupHamiltonian(randn(6, seed=seed), energy, price)
    best = part.minimiser
    assert best is not None
    assert part.value(best) == pytest.approx(part.least, abs=1e-12)
    assert part.stationarity(best) == pytest.approx(0, abs=1e-12)
    starts = [randn(6, seed=100 + i).numpy() for i in range(3)]
    options = {"xatol": 1e-10, "fatol": 1e-12, "maxfev": 5000}
    found = [minimize(lambda u: part.value(torch.from_numpy(u)), u0, method="Nelder-Mead", options=options)
             for u0 in starts]  # fmt: skip
    assert min(one.fun for one in found) == pytest.approx(part.least, abs=1e-6)
    for i in range(20):
        u = best + 0.3 * randn(6, seed=200 + i)
        assert part.gap(u) >= max(0.0, energy * float((u - best).square().sum()) - 1e-12)  # strongly convex


@pytest.mark.parametrize(("norm", "gap"), [(0.0, 0.0), (0.9, 0.0), (1.0, 0.0), (1.1, math.inf)])
def test_without_energy_zero_is_the_minimum_up_to_the_price(norm: float, gap: float) -> None:
    part = GroupHamiltonian(torch.tensor([norm, 0.0]).double(), 0.0, 1.0)
    zero = torch.zeros(2).double()
    assert part.gap(zero) == gap
    assert (part.minimiser is None) == (part.least == -math.inf) == (gap == math.inf)
    assert part.stationarity(zero) == pytest.approx(max(0.0, norm - 1))
    if gap == math.inf:
        assert part.value(torch.tensor([-1e6, 0.0]).double()) < -9e4


def test_without_a_price_any_slope_leaves_zero() -> None:
    assert GroupHamiltonian(torch.zeros(2), 0.0, 0.0).ratio(torch.zeros(2)) == 0
    steep = GroupHamiltonian(torch.tensor([0.0, 1e-9]), 0.0, 0.0)
    assert steep.ratio(torch.zeros(2)) == math.inf
    assert steep.gap(torch.zeros(2)) == math.inf
    assert steep.over == pytest.approx(1e-9)


@pytest.mark.parametrize("seed", range(50))
def test_over_is_zero_exactly_up_to_ratio_one(seed: int) -> None:
    slope = randn(5, seed=seed)
    for price in (float(slope.norm()), math.nextafter(float(slope.norm()), 0), math.nextafter(float(slope.norm()), 9)):
        part = GroupHamiltonian(slope, 0.3, price)
        zero = torch.zeros(5).double()
        assert (part.over == 0) == (part.ratio(zero) <= 1) == (part.gap(zero) == 0)


# -- a network -----------------------------------------------------------------------------------------------


def set_group_(net: Network, k: int, flat: Tensor) -> None:
    with torch.no_grad():
        for p, part in zip(net.system.group(k), flat.split([q.numel() for q in net.system.group(k)]), strict=True):
            p.copy_(part.view_as(p))


def group(net: Network, k: int) -> Tensor:
    return torch.cat([p.detach().flatten() for p in net.system.group(k)])


@pytest.mark.parametrize("table", TABLEAUS)
def test_the_value_is_the_notations_own(table: str) -> None:
    net, asked = dense(table), problem()
    trajectory = rollout(net, X)
    sweep, value = costate_sweep(trajectory, asked, Y), asked.evaluate(trajectory, Y)
    found = hamiltonians(net, asked, BATCH)
    for k, h in enumerate(H):
        energy = sum(p.square().sum() for p in net.system.control(k)) * asked.energy * (k in net.awake)
        own = h * (0.7 * value.stage[k] + energy + asked.group_price * group_norms(net)[k])
        expected = own + (sweep.p[k + 1] * trajectory.states[k + 1]).sum()
        assert found.value[k] == pytest.approx(expected.item(), rel=1e-12)
    assert found.costate == pytest.approx(sweep.norms.tolist(), rel=1e-12)
    assert (found.zero, found.price) == ((1,), 0.1)


@pytest.mark.parametrize("k", [0, 2])
def test_the_gap_is_that_of_numerical_minimisation_over_the_group(k: int) -> None:
    """Of the Hamiltonian itself, through the network's own step, states and costate held."""
    net, asked = dense(), problem(price=0.02)
    trajectory = rollout(net, X)
    p = costate_sweep(trajectory, asked, Y).p[k + 1]
    here = group(net, k)

    def ham(flat: np.ndarray) -> tuple[float, np.ndarray]:
        set_group_(net, k, torch.from_numpy(flat))
        params = net.system.group(k)
        value = step_hamiltonian(net, asked, k, trajectory.states[k].detach(), p, Y)
        value = value + H[k] * asked.energy * sum(u.square().sum() for u in params)
        value = value + H[k] * asked.group_price * torch.cat([u.flatten() for u in params]).norm()
        slope = torch.autograd.grad(value, params)
        return value.item(), torch.cat([g.flatten() for g in slope]).numpy()

    least = min(minimize(ham, randn(24, seed=i).numpy(), jac=True, options={"gtol": 1e-10}).fun for i in range(3))
    now = ham(here.numpy())[0]
    set_group_(net, k, here)
    assert hamiltonians(net, asked, BATCH).gap[k] == pytest.approx(now - least, rel=1e-6)
    assert now - least > 0.01


@pytest.mark.parametrize("energy", [0.0, 0.05])
@pytest.mark.parametrize("ratio", [0.5, 0.999, 1.001, 2.0])
def test_an_idle_layer_has_no_gap_exactly_where_its_ratio_is_at_most_one(energy: float, ratio: float) -> None:
    net = dense(zero=(1, 2))
    ratios = optimality_ratios(net, problem(energy, 1.0), BATCH)
    for k in (1, 2):
        asked = problem(energy, ratios[k].item() / ratio)
        found = hamiltonians(net, asked, BATCH)
        assert found.ratio == pytest.approx(optimality_ratios(net, asked, BATCH).tolist(), rel=1e-7)
        assert found.ratio[k] == pytest.approx(ratio, rel=1e-7)
        assert (found.gap[k] == 0) == (ratio <= 1) == (k not in found.waking) == (found.residual[k] == 0)
        over = max(0.0, ratio - 1) * asked.group_price * H[k]
        assert found.residual[k] == pytest.approx(over, rel=1e-5)
        if ratio > 1:
            expected = over**2 / (4 * energy * H[k]) if energy else math.inf
            assert found.gap[k] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("table", TABLEAUS)
def test_the_residual_is_the_distance_to_the_subdifferential_of_j(table: str) -> None:
    """Against autograd of the whole J, with free inner weights; the zero step's minimum is a soft threshold."""
    net, asked = dense(table, row_norm=0.0), problem()
    found = hamiltonians(net, asked, BATCH)
    assert [gap is None for gap in found.gap] == [table != "euler"] * 3
    value = asked.evaluate(rollout(net, X), Y)
    for k in (0, 2):
        slope = torch.autograd.grad(value.total, net.system.control(k), retain_graph=True)
        expected = torch.cat([g.flatten() for g in slope]).norm().item()
        assert found.residual[k] == pytest.approx(expected, rel=1e-9)
    norm = torch.cat([g.flatten() for g in group_gradients(net, asked, BATCH)[1]]).norm().item()
    assert found.residual[1] == pytest.approx(max(0.0, norm - 0.1 * H[1]), rel=1e-6)


def test_a_step_awake_at_zero_pays_for_its_inner_weights() -> None:
    net, asked = dense(row_norm=0.0), problem(price=10.0)
    assert hamiltonians(net, asked, BATCH).residual[1] == 0
    with all_awake(net):
        found = hamiltonians(net, asked, BATCH)
    inner = torch.cat([p.flatten() for p in net.system.control(1)[:2]])
    assert found.residual[1] == pytest.approx(2 * 0.05 * H[1] * inner.norm().item(), rel=1e-9)
    assert found.gap[1] == 0


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_across_fixed_rows_do_not_count(size: float, dtype: torch.dtype) -> None:
    system = dense(row_norm=2.0).to(dtype).system  # in float32 no row has its norm exactly
    weight, bias = system.control(0)[:2]
    g, b = size * randn(5, 4, seed=3), size * randn(5, seed=4)
    along, same = tangents(system, [weight, bias], [g, b])
    row = weight.detach().double() / 2
    torch.testing.assert_close(along, g - (g * row).sum(1, keepdim=True) * row, rtol=1e-5, atol=1e-5 * size)
    torch.testing.assert_close(same, b, rtol=1e-8, atol=0)
    system.release_()
    torch.testing.assert_close(tangents(system, [weight], [g])[0], g, rtol=1e-6, atol=0)
    assert (tangents(system, [weight], [0 * g])[0] == 0).all()


class Bent(Field):
    """A branch that is not linear in its group: u^p sin(x)."""

    def __init__(self, power: int) -> None:
        super().__init__(torch.sin, 2, 2)
        self.power = power

    def branch(self, k: int, x: Tensor) -> Tensor:
        return self.u[k].abs() ** self.power * self.f(x)


@pytest.mark.parametrize("power", [1, 2, 3])
def test_a_branch_that_is_not_linear_in_its_group_has_no_gap_computed(power: int) -> None:
    net = Network(Bent(power).double())
    assert not linear_in_group(net, 0, X)
    found = hamiltonians(net, Problem.regression().priced(0.1), [(X, 0 * X)])
    assert found.gap == (None, None)
    assert min(found.residual) > 0


def test_without_a_price_there_are_no_ratios_and_any_slope_wakes() -> None:
    found = hamiltonians(dense(), problem(energy=0.0, price=0.0), BATCH)
    assert (found.ratio, found.zero, found.waking) == ((), (1,), (1,))
    assert found.gap[1] == math.inf


def test_linearity_is_tried_without_a_trace() -> None:
    net = dense()
    before = [p.clone() for p in net.parameters()]
    assert linear_in_group(net, 0, rollout(net, X).states[0])
    assert linear_in_group(net.float(), 0, rollout(net, X.float()).states[0])
    net.double()
    hamiltonians(net, problem(), BATCH)
    assert net.awake == (0, 2)
    assert all(torch.equal(p, old.float().double()) for p, old in zip(net.parameters(), before, strict=True))
    assert not linear_in_group(dense("rk4"), 0, rollout(net, X).states[0])


def test_chunks_count_with_their_samples() -> None:
    net = dense()
    one = hamiltonians(net, problem(), BATCH)
    two = hamiltonians(net, problem(), [(X[:7], Y[:7]), (X[7:], Y[7:])])
    for name in ("value", "costate", "residual", "gap", "ratio"):
        assert getattr(two, name) == pytest.approx(getattr(one, name), rel=1e-9), name
    with pytest.raises(DataError, match="no samples"):
        hamiltonians(net, problem(), [])


def test_a_minimum_has_neither_residual_nor_gap() -> None:
    """One linear layer with energy, solved by scipy: stationary and least, so both are 0."""
    net = Network(Field(nn.Identity(), 1, 1).double(), DepthGrid((0.5,)))
    asked = Problem(SquaredError(), SquaredError(), 0.0, energy=0.3, group_price=0.1)
    x, y = randn(8, 1), 2 * randn(8, 1)

    def j(u: np.ndarray) -> float:
        with torch.no_grad():
            net.system.control(0)[0].fill_(float(u[0]))
            return float(asked.evaluate(rollout(net, x), y).total)

    best = minimize(j, np.array([0.7]), tol=1e-14).x
    j(best + 0.1)
    off = hamiltonians(net, asked, [(x, y)])
    j(best)
    found = hamiltonians(net, asked, [(x, y)])
    assert abs(best[0]) > 0.01
    assert found.residual[0] == pytest.approx(0, abs=1e-6)
    assert found.gap[0] == pytest.approx(0, abs=1e-9)
    assert off.residual[0] > 0.05
    assert off.gap[0] > 1e-3  # type: ignore[operator]


def test_a_sleeper_that_is_not_zero_raises() -> None:
    net = dense()
    net.set_awake([0])
    with pytest.raises(ConfigError, match="step 2: got asleep, with a group that is not zero"):
        hamiltonians(net, problem(), BATCH)


def test_a_network_without_layers_has_the_output_costate_alone() -> None:
    net = Network(DenseSystem(2, 3, depth=0).double())
    found = hamiltonians(net, Problem(CrossEntropy(), SOFT), BATCH)
    assert (found.value, found.gap, len(found.costate)) == ((), (), 1)
    assert found.sentence == "None of the 0 layers is idle."


@pytest.mark.parametrize(
    ("zero", "waking", "gap", "sentence"),
    [
        ((), (), 0.1, "None of the 4 layers is idle."),
        ((1,), (), 0.0, "1 of 4 layers idle: at price 0.3, zero minimises the Hamiltonian for 1 of them."),
        ((1, 2, 3), (2,), 0.0, "3 of 4 layers idle: at price 0.3, zero minimises the Hamiltonian for 2 of them, "
         "and not for layer 2, which would pay for being awake."),
        ((0, 2), (0, 2), None, "2 of 4 layers idle: at price 0.3, zero is a stationary point (the minimum is not "
         "computed) of the Hamiltonian for 0 of them, and not for layers 0, 2, which would pay for being awake."),
    ],
)  # fmt: skip
def test_the_sentence(zero: tuple[int, ...], waking: tuple[int, ...], gap: float | None, sentence: str) -> None:
    four = (1.0,) * 4
    assert Hamiltonians(0.3, four, (1.0,) * 5, four, (gap,) * 4, four, zero, waking).sentence == sentence
