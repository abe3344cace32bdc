"""Weak orders: exact moments on linear fields, control variates on a tanh field; never a slope inside its noise."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from systems import linear, randn
from torch import Tensor

import node_oc as oc
from experiments.noise import weak_order as measured
from node_oc.diagnosis.moments import generator, is_affine, network_moment, polynomial, sde_moment, starting, thinned
from node_oc.diagnosis.paths import FrozenNoise, Torchsde
from node_oc.diagnosis.sampling import estimate, variate
from node_oc.diagnosis.straight import line
from node_oc.diagnosis.weak_order import judged
from node_oc.errors import ConfigError, NodeOCError

A = torch.tensor([[-0.6, 0.9], [-0.7, -0.3]], dtype=torch.float64)
B = torch.tensor([[0.2, 0.5], [-0.4, 0.1]], dtype=torch.float64)
X = torch.tensor([[1.0, -0.5]], dtype=torch.float64)
SMALL, LARGE = (5, 6, 7, 8, 9), (8, 9, 10, 11, 12)
DRIVERS = {
    "stochastic depth": oc.stochastic_depth(0.8), "branch dropout": oc.branch_dropout(0.8),
    "shake-shake": oc.shake_shake(), "Gaussian": oc.branch_dropout(0.8).matched(),
}  # fmt: skip
TABLES = {"midpoint": oc.MIDPOINT, "heun": oc.HEUN, "rk4": oc.RK4}


def slopes(network: oc.Network | oc.System, noise: oc.Noise, order: int, halvings: tuple[int, ...] = SMALL,
           degrees: tuple[int, ...] = (1, 2, 3, 4), against: oc.Noise | None = None) -> list[float]:  # fmt: skip
    found = [oc.weak_order(network, noise, n, X, order=order, halvings=halvings, against=against) for n in degrees]  # type: ignore[arg-type]
    assert all(one.method == "moments" and all(one.resolved) for one in found)
    return [one.slope if one.slope is not None else math.nan for one in found]


@pytest.mark.parametrize("driver", DRIVERS)
def test_noise_that_enters_as_h_b_has_orders_one_and_two(driver: str) -> None:
    system = oc.PairedSystem(linear(A), linear(B)) if driver == "shake-shake" else linear(A)
    assert slopes(system, DRIVERS[driver], 1) == pytest.approx([1.0] * 4, abs=0.05)
    assert slopes(system, DRIVERS[driver], 2) == pytest.approx([2.0] * 4, abs=0.1)


def test_noise_that_enters_as_root_h_has_order_one_if_symmetric_and_one_half_if_not() -> None:
    for noise in (oc.two_point(0.5), oc.gaussian(0.5, root=True)):
        assert slopes(linear(A), noise, 1) == pytest.approx([1.0] * 4, abs=0.05)
        with pytest.raises(ConfigError, match="enters as sqrt"):
            oc.weak_order(linear(A), noise, 1, X, order=2)
    skewed = slopes(linear(A), oc.two_point(0.5, p=0.02), 1, LARGE)
    assert skewed[:2] == pytest.approx([1.0] * 2, abs=0.05)  # two moments do not see a third one
    assert skewed[2:] == pytest.approx([0.5] * 2, abs=0.05)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("fresh", [False, True])
def test_draws_a_step_and_draws_a_stage_have_limits_of_their_own(table: str, fresh: bool) -> None:
    net = oc.Network(linear(A), table=TABLES[table])
    mine, other = (oc.stochastic_depth(0.8, fresh=each) for each in (fresh, not fresh))
    right, wrong = slopes(net, mine, 2, degrees=(2, 4)), slopes(net, mine, 2, degrees=(2, 4), against=other)
    # RK4's own error is of order 4, and fresh draws leave the second moment with one of order 3.
    assert right == pytest.approx([3.0 if (table, fresh) == ("rk4", True) else 2.0, 2.0], abs=0.1)
    assert wrong == pytest.approx([1.0, 1.0], abs=0.1)


def test_moments_of_one_number_are_those_by_hand() -> None:
    """x+ = (1 - h b) x with b 1/p or 0; dX = -X dt + s X dW has E X^n = exp(-n t + n (n-1)/2 s^2 t)."""
    system, noise, n = linear(-torch.eye(1, dtype=torch.float64)), oc.branch_dropout(0.8), 3
    before = starting(torch.tensor([[2.0]], dtype=torch.float64), n)
    after = network_moment(thinned(oc.Network(system), 4), noise, before, n, (1,), 4)
    step = 0.8 * (1 - 0.25 / 0.8) ** n + 0.2
    assert after is not None
    assert float(after[-1]) == pytest.approx(8 * step**4, rel=1e-13)
    sde = oc.limit_sde(thinned(oc.Network(system), 4), noise, 1)
    variance = 0.25 * 0.2 / 0.8
    assert float(sde_moment(sde, before, n, (1,), 4)[-1]) == pytest.approx(8 * math.exp(-3 + 3 * variance), rel=1e-12)


def test_a_stratonovich_generator_has_half_the_square_more() -> None:
    a, g = randn(3, 3), randn(2, 3, 3, seed=1)
    more = a + (g[0] @ g[0] + g[1] @ g[1]) / 2
    torch.testing.assert_close(generator(a, g, 2, "stratonovich"), generator(more, g, 2, "ito"))
    torch.testing.assert_close(generator(a, g, 1, "ito"), a)


def test_a_polynomial_is_read_exactly_and_weak_order_takes_moments_for_it() -> None:
    found = polynomial(lambda x: 2 + x[:, 0] * x[:, 1] - 3 * x[:, 1] ** 3, (2,))
    assert found is not None
    assert found.degree == 3
    x = randn(1, 2, seed=4)
    value = found.mean(starting(x, 3).unflatten(0, (3, 3, 3)))
    assert value == pytest.approx(float(2 + x[0, 0] * x[0, 1] - 3 * x[0, 1] ** 3), rel=1e-12)
    assert polynomial(lambda x: x[:, 0].sin(), (2,)) is None
    order = oc.weak_order(linear(A, B, offset=0.3), DRIVERS["branch dropout"], lambda x: x.square().sum(1), X, order=2,
                          halvings=SMALL)  # fmt: skip
    assert (order.method, order.verdict) == ("moments", "holds")


def test_affine_fields_are_told_from_others() -> None:
    paired = oc.PairedSystem(linear(A), linear(B))
    assert is_affine(oc.Network(linear(A, offset=0.2)), (2,))
    assert is_affine(oc.Network(paired), (2,))
    paired.second.steps[0] = torch.nn.Tanh()
    assert not is_affine(oc.Network(paired), (2,))
    for activation in ("tanh", "relu"):
        assert not is_affine(oc.Network(dense(activation)), (4,))


def dense(activation: str = "tanh", depth: int = 1) -> oc.DenseSystem:
    system = oc.DenseSystem(4, 4, depth=depth, width=4, hidden=8, lift="pad", head="coordinates", row_norm=0.0,
                            activation=activation).double()  # type: ignore[arg-type]  # fmt: skip
    with torch.no_grad():
        for i, p in enumerate(system.parameters()):
            p.copy_(randn(*p.shape, seed=i) * (0.4 if p.dim() > 1 else 0.3))
    return system


def phi(x: Tensor) -> Tensor:
    return x[:, 0].sin() + 0.5 * x.square().sum(1)


START = torch.tensor([[1.0, -0.5, 0.3, 0.8]], dtype=torch.float64)
SHORT = oc.DepthGrid((0.5,))


def test_sampled_and_exact_errors_agree_where_both_can_be_had() -> None:
    exact, found = (
        oc.weak_order(linear(A), DRIVERS["stochastic depth"], lambda x: x.square().sum(1), X, order=2, halvings=(1, 2),
                      exact=way, samples=200)
        for way in (None, False)
    )  # fmt: skip
    assert (exact.method, found.method) == ("moments", "monte carlo")
    for a, b, noise, bias in zip(exact.errors, found.errors, found.noise, found.bias, strict=True):
        assert abs(a - b) <= 4.4 * noise + bias  # normal, 1e-5
        assert noise < 0.05 * a


def test_a_tanh_field_by_monte_carlo() -> None:
    """The rest is among the long tests."""
    found = oc.weak_order(oc.Network(dense(), SHORT), DRIVERS["stochastic depth"], phi, START, order=2,
                          halvings=(0, 1, 2, 3), samples=100)  # fmt: skip
    assert found.method == "monte carlo"
    assert found.slope == pytest.approx(2, abs=0.2)
    assert found.verdict == "holds"
    assert "Order 2 holds: slope" in found.sentence


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "solver"),
    [(name, "own") for name in measured.SMALL] + [(name, "torchsde") for name in list(measured.SMALL)[::2]],
)
def test_slopes_of_a_tanh_field_with_narrow_intervals(name: str, solver: str) -> None:
    """With torchsde where its own error is small enough: one Brownian motion a sample. The others are in the table."""
    net = oc.Network(measured.paired(measured.dense(), measured.dense(seed=1), name),
                     oc.DepthGrid((measured.HORIZON,)))  # fmt: skip
    for order in (1, 2):
        found = oc.weak_order(net, measured.SMALL[name], measured.functional, measured.X4, order=order,  # type: ignore[arg-type]
                              halvings=measured.HALVINGS["sampled"], samples=measured.SAMPLES, solver=solver)  # type: ignore[arg-type]  # fmt: skip
        assert found.slope is not None
        assert found.low is not None
        assert abs(found.slope - order) < 0.2
        assert found.slope - found.low <= 0.15


def test_a_field_with_relu_is_measured_with_a_warning() -> None:
    with pytest.warns(oc.NotSmoothWarning, match="lost where states cross a"):
        found = oc.weak_order(oc.Network(dense("relu"), SHORT), DRIVERS["stochastic depth"], phi, START, order=2,
                              halvings=(0, 1), samples=20)  # fmt: skip
    assert found.verdict == "not resolved"
    assert found.slope is None


@pytest.mark.parametrize("paths", [FrozenNoise(), Torchsde("ito")], ids=["own", "torchsde"])
def test_solutions_of_the_sde_on_one_brownian_path(paths: FrozenNoise | Torchsde) -> None:
    """dX = -X dt - s X dW: X(T) = x exp(-(1 + s^2/2) T - s W(T)); half the pieces use the same path."""
    noise = oc.stochastic_depth(0.8, inverted=True)
    sde = oc.limit_sde(oc.Network(linear(-torch.eye(1, dtype=torch.float64)), SHORT), noise, 1)
    sde.requires_grad_(False)
    z, x = randn(50, 1, 16, paths.numbers, 1), torch.ones(50, 1, dtype=torch.float64)
    half = paths.coarse(z)
    assert half.shape == (50, 1, 8, paths.numbers, 1)
    w = z[:, 0, :, 0].sum(1) * math.sqrt(0.5 / 16)
    torch.testing.assert_close(half[:, 0, :, 0].sum(1) * math.sqrt(0.5 / 8), w, rtol=1e-12, atol=1e-13)
    s2 = 0.5 * 0.25
    want = torch.exp(-(1 + s2 / 2) * 0.5 - math.sqrt(s2) * w)
    fine, coarse = ((paths.end(sde, x, each) - want).abs().max() for each in (z, half))
    assert float(fine) < 1e-3
    assert float(coarse) > 2 * float(fine)


def test_coarse_paths_have_standard_normal_numbers() -> None:
    """Increments and time integrals of twice the length: a linear map of the finer numbers with orthonormal rows."""
    for paths in (FrozenNoise(), Torchsde("ito")):
        n = 4 * paths.numbers
        rows = paths.coarse(torch.eye(n, dtype=torch.float64).unflatten(1, (1, 4, paths.numbers, 1))).flatten(1).T
        torch.testing.assert_close(rows @ rows.T, torch.eye(n // 2, dtype=torch.float64))


def test_a_control_variate_of_second_order_leaves_nothing_of_a_quadratic() -> None:
    h = randn(3, 3)
    variance = torch.tensor([0.2, 1.0, 0.5], dtype=torch.float64)

    def outcome(z: Tensor) -> Tensor:
        return 1.5 + z.sum(1) + (z @ h * z).sum(1)

    def draw(chunk: int, samples: int) -> tuple[Tensor, Tensor]:
        z = randn(samples, 3, seed=chunk) * variance.sqrt()
        return z, -z

    found, left = estimate(outcome, variate(outcome, variance).of, draw, 50)
    assert found.mean == pytest.approx(1.5 + float(h.diagonal() @ variance), rel=1e-9)
    assert float(left.std()) < 1e-8


def test_a_slope_inside_its_own_noise_is_not_resolved() -> None:
    h = [0.4, 0.2, 0.1, 0.05]
    errors = [x**2 for x in h]
    clear = judged(h, errors, [1e-6] * 4, [0.0] * 4, order=2)
    assert clear.slope == pytest.approx(2)
    assert clear.verdict == "holds"
    assert judged(h, h, [1e-6] * 4, [0.0] * 4, order=2).verdict == "lower"
    partly = judged(h, errors, [0.01] * 4, [0.0] * 4, order=2)
    assert partly.resolved == (True, True, False, False)
    assert (partly.slope, partly.verdict) == (None, "not resolved")
    assert partly.sentence == "Not resolved: 2 of 4 errors are larger than their noise, a slope needs three."
    assert judged(h, errors, [0.0] * 4, [1.0] * 4, order=2).resolved == (False,) * 4
    jagged = judged(h, [0.1, 0.01, 0.09, 0.02], [1e-6] * 4, [0.0] * 4)
    assert jagged.slope is None
    assert "does not tell one order from another" in jagged.sentence


def test_the_interval_of_a_slope_covers_it() -> None:
    """Errors with known noise of 3 %, 400 times: 99 % intervals, of which too few would miss the truth by chance."""
    rng, h = np.random.default_rng(0), np.array([0.4, 0.2, 0.1, 0.05, 0.025])
    missed = 0
    for _ in range(400):
        errors = h**2 * (1 + 0.03 * rng.standard_normal(5))
        found = line(list(h), list(errors), list(0.03 * h**2), [0.0] * 5, 0.99)
        assert found is not None
        missed += not found.low <= 2 <= found.high
    assert missed <= 13  # binomial(400, 0.01), 1e-4


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"halvings": (2, 1)}, "rising integers"), ({"halvings": ()}, "rising integers"), ({"samples": 1}, "4 or more"),
        ({"pieces": 3}, "an even number"), ({"confidence": 1.0}, r"a number in \(0, 1\)"),
        ({"solver": "euler"}, "own or torchsde"), ({"functional": 5}, "degree 1, 2, 3 or 4"), ({"order": 3}, "1 or 2"),
    ],
)  # fmt: skip
def test_options_that_cannot_be(options: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        oc.weak_order(linear(A), DRIVERS["stochastic depth"], **{"functional": 1, "x": X, **options})  # type: ignore[arg-type]


def test_what_has_no_exact_moments_says_so() -> None:
    with pytest.raises(ConfigError, match="branches that are not affine"):
        oc.weak_order(dense(), DRIVERS["stochastic depth"], 2, START)
    with pytest.raises(ConfigError, match="no polynomial"):
        oc.weak_order(linear(A), DRIVERS["stochastic depth"], lambda x: x[:, 0].sin(), X, exact=True)


def test_the_record_is_json() -> None:
    found = oc.weak_order(linear(A), DRIVERS["stochastic depth"], 1, X, halvings=SMALL)
    assert found.to_dict()["slope"] == found.slope


@pytest.mark.parametrize(
    ("functional", "x", "why"),
    [
        (lambda x: x, X, "one number a state"), (torch.sum, X, "one number a state"),
        (lambda x: x.sum(1).float(), X, "float64"), (lambda x: (x[:, 0] > 0).double(), X, "differentiable"),
        (2, X[:0], "B >= 1"),
    ],
)  # fmt: skip
def test_functionals_that_cannot_be(functional: Callable[[Tensor], Tensor] | int, x: Tensor, why: str) -> None:
    with pytest.raises(NodeOCError, match=why):
        oc.weak_order(linear(A), DRIVERS["stochastic depth"], functional, x)


def test_means_are_sampled_where_nothing_is_recorded_too() -> None:
    with torch.no_grad():
        found = oc.weak_order(dense(), DRIVERS["stochastic depth"], lambda x: x.sum(1), START, halvings=(0,), samples=4)
    assert found.method == "monte carlo"
