"""The first look at sleeping steps: exact algebra, and error bars that are right over many draws of the samples."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from systems import randn, stir_, zero_
from torch import Tensor

from node_oc.discretization import DepthGrid, Network
from node_oc.errors import ConfigError, DataError
from node_oc.problem import Problem, group_gradients, optimality_ratios
from node_oc.problem.optimality import all_awake
from node_oc.problem.waking import BEYOND, Look, look
from node_oc.system import DenseSystem
from node_oc.system.field import Field

X, Y = randn(48, 2), torch.arange(48) % 3
H = (0.5, 1.0, 2.0, 0.25, 1.0)
PROBLEM = Problem.classification(3, stage_weight=0.7)
PRICE = 0.05


def dense() -> Network:
    """Steps 1, 3 and 4 sleep at zero, with live inner weights."""
    system = DenseSystem(2, 3, depth=5, width=4, hidden=5).double()
    stir_(system)
    zero_(system, 1, 3, 4)
    return Network(system, DepthGrid(H), awake=[0, 2])


def cut(count: int) -> list[tuple[Tensor, Tensor]]:
    return [(X[i::count], Y[i::count]) for i in range(count)]


def flat(gradients: list[list[Tensor]]) -> list[Tensor]:
    return [torch.cat([g.flatten() for g in group]) for group in gradients]


def product_of_pairs(g: list[Tensor]) -> float:
    """Mean of g_c . g_d over the ordered pairs of different chunks."""
    products = [float(a @ b) for a, b in itertools.permutations(g, 2)]
    return sum(products) / len(products)


@pytest.mark.parametrize("count", [3, 4, 8])
def test_the_estimate_is_the_mean_product_of_different_chunks_and_its_error_the_jackknife(count: int) -> None:
    net, chunks = dense(), cut(count)
    gradients = [flat(group_gradients(net, PROBLEM, [chunk])) for chunk in chunks]
    for each in look(net, PROBLEM, iter(chunks), (1, 3, 4), PRICE):
        g = [chunk[each.step] for chunk in gradients]
        left_out = [product_of_pairs(g[:c] + g[c + 1 :]) for c in range(count)]
        mean = sum(left_out) / count
        error = ((count - 1) / count * sum((value - mean) ** 2 for value in left_out)) ** 0.5
        assert each.squared == pytest.approx(product_of_pairs(g), rel=1e-9)
        assert each.error == pytest.approx(error, rel=1e-9)
        assert each.error > 0
        assert each.price == PRICE * H[each.step]


def test_three_chunks_by_hand() -> None:
    """x' = 0 + b with the loss |b - y|^2: the gradient of a chunk in b is -2 (1, 2, 6), its products 4 (2, 6, 12)."""
    net = Network(known(width=1, hidden=1), awake=[])
    chunks = [(torch.zeros(1, 1).double(), torch.full((1, 1), y).double()) for y in (1.0, 2.0, 6.0)]
    (each,) = look(net, Problem.regression(stage_weight=0.0), chunks, [0], 1.0)
    assert each.squared == pytest.approx(4 * (2 + 6 + 12) / 3)
    # Without one of them 12, 6, 2 is left, times 4.
    assert each.error == pytest.approx(4 * (2 / 3 * sum((v - 20 / 3) ** 2 for v in (12, 6, 2))) ** 0.5)


@pytest.mark.parametrize("count", [3, 8, 16])
def test_chunks_that_are_all_of_the_samples_leave_no_doubt(count: int) -> None:
    """Also where the network was trained on them: J is their mean, and its gradient is known."""
    net, steps = dense(), (1, 3, 4)
    ratios = optimality_ratios(net, PROBLEM.priced(PRICE), [(X, Y)])
    for each in look(net, PROBLEM, cut(count), steps, PRICE, population=48):
        assert each.ratio == pytest.approx(float(ratios[each.step]), rel=1e-9)
        assert each.error == 0


def test_drawn_without_replacement_the_estimate_is_unbiased() -> None:
    """Over all ordered draws of three samples of six: their mean is the squared gradient over the six."""
    net, few = dense(), [(X[i : i + 1], Y[i : i + 1]) for i in range(6)]
    want = float(flat(group_gradients(net, PROBLEM, few))[3].square().sum())
    draws = [look(net, PROBLEM, draw, [3], PRICE, population=6)[0] for draw in itertools.combinations(few, 3)]
    fresh = [look(net, PROBLEM, draw, [3], PRICE)[0] for draw in itertools.combinations(few, 3)]
    assert sum(each.squared for each in draws) / len(draws) == pytest.approx(want, rel=1e-9)
    assert sum(each.squared for each in fresh) / len(fresh) < 0.99 * want  # as if the six were not all there is
    for one, other in zip(draws, fresh, strict=True):
        assert one.error == pytest.approx(other.error * 0.5**0.5)


def test_more_samples_than_there_are_raise() -> None:
    with pytest.raises(DataError, match="48 samples, expected at most 47"):
        look(dense(), PROBLEM, cut(4), [1], PRICE, population=47)


def test_chunks_that_agree_leave_no_error() -> None:
    net = dense()
    norms = [float(g.square().sum()) for g in flat(group_gradients(net, PROBLEM, [(X, Y)]))]
    for each in look(net, PROBLEM, [(X, Y)] * 5, [1, 3], PRICE):
        assert each.squared == pytest.approx(norms[each.step], rel=1e-9)
        assert each.error == pytest.approx(0, abs=1e-9 * norms[each.step])
        assert each.ratio == pytest.approx(norms[each.step] ** 0.5 / (PRICE * H[each.step]))


def test_steps_do_not_see_one_another() -> None:
    net, chunks = dense(), cut(6)
    together = look(net, PROBLEM, chunks, [4, 1, 3], PRICE)
    assert [each.step for each in together] == [4, 1, 3]
    for each in together:
        (alone,) = look(net, PROBLEM, chunks, [each.step], PRICE)
        assert alone.squared == pytest.approx(each.squared, rel=1e-9)
        assert alone.error == pytest.approx(each.error, rel=1e-9)


def test_a_look_changes_nothing() -> None:
    net = dense()
    before = {name: p.clone() for name, p in net.state_dict().items()}
    with torch.no_grad():
        look(net, PROBLEM, cut(3), [1, 4], PRICE)
    assert net.awake == (0, 2)
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(p, before[name]) for name, p in net.state_dict().items())


@pytest.mark.parametrize("price", [0.0, -0.1, float("nan")])
def test_a_look_needs_a_price(price: float) -> None:
    with pytest.raises(ConfigError, match="price of a layer"):
        look(dense(), PROBLEM, cut(3), [1], price)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_two_chunks_have_no_error(count: int) -> None:
    with pytest.raises(DataError, match=f"chunks: got {count}"):
        look(dense(), PROBLEM, cut(3)[:count], [1], PRICE)


def test_a_negative_estimate_promises_nothing() -> None:
    assert Look(0, -1.0, 0.1, 0.5).ratio == 0
    assert not Look(0, -1.0, 0.1, 0.5).pays
    assert Look(0, 9.0, 0.1, 0.5).ratio == 6


@pytest.mark.parametrize("more", [1e-9, -1e-9])
def test_a_step_pays_beyond_two_errors(more: float) -> None:
    assert BEYOND == 2
    assert Look(0, 0.25 + BEYOND * 0.1 + more, 0.1, 0.5).pays == (more > 0)


# The error bar over many draws. The norm of the gradient over the whole population is known in both settings: in the
# closed form the noise spreads over many weights, and a norm of a mean is far too large; in the finite population it
# lies along the gradient, and what counts is the margin.

DRAWS, CHUNKS = 200, 8
LIMIT = 18  # of 200: a normal estimate with a known error would wake in 5


@dataclass(frozen=True)
class Setting:
    """A network with one sleeping step, how samples are drawn for it, and the true squared norm of its gradient."""

    network: Network
    problem: Problem
    samples: tuple[Tensor, Tensor]
    chunk: int
    squared: float
    population: int | None = None


def known(width: int, hidden: int) -> DenseSystem:
    """One step, zero, on the bare input, read out bare; its inner biases are zero, so that its units are odd in x."""
    system = DenseSystem(width, width, depth=1, width=width, hidden=hidden, lift="pad", head="coordinates").double()
    zero_(system, 0)
    with torch.no_grad():
        system.control(0)[1].zero_()
    return system


def closed_form() -> Setting:
    """Squared error of z = x against y = x - r, with x and r independent, x symmetric and E r = mu.

    The gradient of a sample is 2 h (r a(x)', r) in (W_out, b_out), with a odd: its mean is 2 h (0, mu), whatever the
    spread of r. The tails are heavier than normal: every other sample spreads more.
    """
    size, chunk, h = 12, 56, 0.5
    mu = torch.full((size,), 0.2, dtype=torch.float64)
    x = 2 * randn(DRAWS * CHUNKS * chunk, size, seed=1)
    spread = torch.tensor([0.5, 1.3]).double().repeat(len(x) // 2)[:, None]
    y = x - (mu + spread * randn(len(x), size, seed=2))
    net = Network(known(size, hidden=24), DepthGrid((h,)), awake=[])
    return Setting(net, Problem.regression(stage_weight=0.0), (x, y), chunk, float((2 * h * mu).square().sum()))


def finite_population() -> Setting:
    """Two awake layers and stage costs; 4000 samples are the population, drawn with replacement."""
    x = randn(4000, 2, seed=3)
    y = (x[:, 0] * x[:, 1] + 0.3 * randn(4000, seed=4) > 0).long() + (x[:, 0] > 1).long()
    system = DenseSystem(2, 3, depth=3, width=6, hidden=8).double()
    stir_(system, 0.2)
    zero_(system, 1)
    net = Network(system, awake=[0, 2])
    (g,) = flat(group_gradients(net, PROBLEM, [(x, y)], [1]))
    drawn = torch.randint(4000, (DRAWS * CHUNKS * 16,), generator=torch.Generator().manual_seed(5))
    return Setting(net, PROBLEM, (x[drawn], y[drawn]), 16, float(g.square().sum()))


def training_set() -> Setting:
    """The same network; 256 samples are all there is, and each draw takes half of them, none twice."""
    setting = finite_population()
    x, y = (values[:256] for values in setting.samples)
    (g,) = flat(group_gradients(setting.network, PROBLEM, [(x, y)], [1]))
    generator = torch.Generator().manual_seed(6)
    drawn = torch.cat([torch.randperm(256, generator=generator)[: CHUNKS * 16] for _ in range(DRAWS)])
    return replace(setting, samples=(x[drawn], y[drawn]), squared=float(g.square().sum()), population=256)


@cache
def draws(name: str) -> tuple[float, list[Look], list[float]]:
    """True squared norm; a look at each draw, at the price that it equals; the squared norm of each mean gradient."""
    setting = MADE[name]()
    net, step = setting.network, setting.network.zero_steps()[0]
    price = setting.squared**0.5 / net.grid.h[step]
    looks, naive = [], []
    for x, y in zip(*(values.split(CHUNKS * setting.chunk) for values in setting.samples), strict=True):
        chunks = zip(x.split(setting.chunk), y.split(setting.chunk), strict=True)
        looks += look(net, setting.problem, chunks, [step], price, setting.population)
        (g,) = flat(group_gradients(net, setting.problem, [(x, y)], [step]))
        naive.append(float(g.square().sum()))
    return setting.squared, looks, naive


MADE = {"closed form": closed_form, "finite population": finite_population, "training set": training_set}
SETTINGS = pytest.mark.parametrize("setting", MADE)


@SETTINGS
def test_a_step_that_does_not_pay_seldom_wakes_and_one_that_pays_twice_does(setting: str) -> None:
    squared, looks, _ = draws(setting)
    assert len(looks) == DRAWS
    assert looks[0].price ** 2 == pytest.approx(squared)
    assert sum(each.pays for each in looks) <= LIMIT
    assert sum(replace(each, price=each.price / 2).pays for each in looks) >= 160


@SETTINGS
def test_without_the_margin_too_many_would_wake(setting: str) -> None:
    squared, looks, naive = draws(setting)
    assert sum(each.ratio > 1 for each in looks) > 3 * LIMIT
    assert sum(value > squared for value in naive) > 3 * LIMIT


def test_without_the_correction_nearly_all_would_wake_in_spite_of_the_margin() -> None:
    squared, looks, naive = draws("closed form")
    assert sum(value - BEYOND * each.error > squared for value, each in zip(naive, looks, strict=True)) > 10 * LIMIT


@SETTINGS
def test_the_estimate_is_unbiased_and_its_error_no_less_than_its_spread(setting: str) -> None:
    """The jackknife is right for the part of the spread along the gradient, and too large by 2 (n-1)/(n-2) in the rest.

    The rest are products of noise with noise; the factor is of the variance.
    """
    squared, looks, _ = draws(setting)
    found = torch.tensor([each.squared for each in looks])
    assert abs(float(found.mean()) - squared) < 4 * float(found.std()) / DRAWS**0.5
    factor = float(torch.tensor([each.error for each in looks]).square().mean() / found.var())
    assert 0.75 < factor < 1.25 * 2 * (CHUNKS - 1) / (CHUNKS - 2)


def test_pure_noise_has_the_error_that_the_jackknife_predicts() -> None:
    """Where the gradient is zero the variance is 2 tr(V^2) / n(n-1), and the jackknife's mean 2 (n-1)/(n-2) of it."""
    net, n = Network(known(width=16, hidden=1), awake=[]), CHUNKS
    x, y = torch.zeros(1, 16).double(), randn(DRAWS * n, 16, seed=6)  # a(0) = 0: the gradient is -2 y, and V = 4 I
    problem, chunks = Problem.regression(stage_weight=0.0), [(x, row[None]) for row in y]
    looks = [look(net, problem, chunks[i : i + n], [0], 1e-3)[0] for i in range(0, len(chunks), n)]
    variance = 2 * 16 * 4.0**2 / (n * (n - 1))
    assert float(torch.tensor([each.squared for each in looks]).var()) == pytest.approx(variance, rel=0.3)
    squares = torch.tensor([each.error for each in looks]).square()
    assert float(squares.mean()) == pytest.approx(variance * 2 * (n - 1) / (n - 2), rel=0.1)
    assert sum(each.pays for each in looks) <= LIMIT
    assert sum(each.ratio > 1 for each in looks) > 3 * LIMIT


# Gradients in the groups of some steps.


@pytest.mark.parametrize("steps", [[1], [3, 1], [0, 4], [0, 1, 2, 3, 4]])
def test_the_gradients_of_some_steps_are_those_of_the_full_call(steps: list[int]) -> None:
    net = dense()
    full = flat(group_gradients(net, PROBLEM, cut(2)))
    some = flat(group_gradients(net, PROBLEM, cut(2), steps))
    assert len(some) == len(steps)
    for k, g in zip(steps, some):
        torch.testing.assert_close(g, full[k], rtol=1e-12, atol=1e-15)
        assert g.norm() > 0
    assert net.awake == (0, 2)


def test_other_sleepers_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    net = dense()
    field, computed = net.system.field, []

    def noted(steps: list[int], stages: int, roles: None = None) -> Field:
        computed.extend(steps)
        return field(steps, stages, roles)

    monkeypatch.setattr(net.system, "field", noted)
    group_gradients(net, PROBLEM, cut(1), [3])
    assert computed == [0, 2, 3]
    computed.clear()
    group_gradients(net, PROBLEM, cut(1))
    assert computed == [0, 1, 2, 3, 4]


def test_some_sleepers_wake_for_the_block_alone() -> None:
    net = dense()
    with pytest.raises(RuntimeError), all_awake(net, [3]):
        assert net.awake == (0, 2, 3)
        raise RuntimeError
    assert net.awake == (0, 2)


def test_what_cannot_be_looked_at_raises() -> None:
    with pytest.raises(ConfigError, match="which are awake"):
        look(dense(), PROBLEM, cut(4), [0, 1], PRICE)
    with pytest.raises(DataError, match="equally large"):
        look(dense(), PROBLEM, [*cut(4), (X[:5], Y[:5])], [1], PRICE)
    assert look(dense(), PROBLEM, cut(4), [], PRICE) == []
