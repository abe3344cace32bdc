"""Noise as a driver: means, covariances and scaling of its increments, where they come from, what is refused."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from systems import decay, linear, randn
from torch import Tensor

from node_oc.discretization import (
    EULER,
    HEUN,
    MIDPOINT,
    RK4,
    Held,
    Mean,
    Network,
    Noise,
    branch_dropout,
    gaussian,
    shake_shake,
    step,
    stochastic_depth,
    two_point,
)
from node_oc.discretization.noise import shape_of
from node_oc.errors import ConfigError
from node_oc.system import PairedSystem

A, B = randn(2, 2), randn(2, 2, seed=1)
X = torch.tensor([[1.0, -0.5]], dtype=torch.float64)
NOISES: dict[str, Noise] = {
    "stochastic depth": stochastic_depth(0.7),
    "inverted": stochastic_depth(0.7, inverted=True),
    "branch dropout": branch_dropout(0.7),
    "two-point": two_point(0.4, p=0.2),
    "two-point, h b": two_point(0.4, p=0.2, root=False),
    "gaussian": gaussian(0.4),
    "gaussian, sqrt": gaussian(0.4, root=True),
    "shake-shake": shake_shake(),
    "second": two_point(0.4, diffuses="second"),
}
every_noise = pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def moments(noise: Noise, h: float) -> tuple[Tensor, Tensor]:
    """Mean and covariance of one Euler step from X over all atoms of the law."""
    system, size = PairedSystem(linear(A), linear(B)), math.prod(shape_of(noise.per, X)[1:])
    values, weights = noise.law(0).atoms(4)
    mean, second = torch.zeros(2, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
    for chosen in itertools.product(range(len(values)), repeat=size):
        b = torch.tensor([[values[i] for i in chosen]], dtype=torch.float64)
        moved = (step(system, EULER, 0, X, h, Held(noise, {(0, 0): b}))[0] - X)[0]
        weight = math.prod(weights[i] for i in chosen)
        mean, second = mean + weight * moved, second + weight * torch.outer(moved, moved)
    return mean, second - torch.outer(mean, mean)


@every_noise
def test_mean_and_covariance_of_a_step_are_those_that_the_noise_says(noise: Noise) -> None:
    f = 0.5 * (X @ A.T + X @ B.T)[0]
    g = {"branch": f, "difference": (X @ A.T - X @ B.T)[0], "second": (X @ B.T)[0]}[noise.diffusion]
    for h in (0.1, 0.025):
        mean, covariance = moments(noise, h)
        torch.testing.assert_close(mean, h * noise.mean(0) * f, rtol=1e-13, atol=1e-15)
        outer = torch.outer(g, g) if noise.per == "sample" else torch.diag(g**2)
        want = noise.deviation(0) ** 2 * (h if noise.root else h**2) * outer
        torch.testing.assert_close(covariance, want, rtol=1e-12, atol=1e-16)


def test_the_numbers_of_each_driver() -> None:
    said = {name: (round(noise.mean(0), 12), round(noise.deviation(0) ** 2, 12)) for name, noise in NOISES.items()}
    assert said == {
        "stochastic depth": (0.7, 0.21), "inverted": (1.0, round(0.3 / 0.7, 12)),
        "branch dropout": (1.0, round(0.3 / 0.7, 12)), "two-point": (1.0, 0.16), "two-point, h b": (1.0, 0.16),
        "gaussian": (1.0, 0.16), "gaussian, sqrt": (1.0, 0.16), "shake-shake": (1.0, round(1 / 12, 12)),
        "second": (1.0, 0.16),
    }  # fmt: skip


def test_a_step_of_several_stages_draws_once_or_for_each() -> None:
    for table in (MIDPOINT, HEUN, RK4):
        once, each = stochastic_depth(0.7), stochastic_depth(0.7, fresh=True)
        assert (once.calculus(table), each.calculus(table)) == ("stratonovich", "ito")
        assert once.thinning(table) == 1
        assert each.thinning(table) == pytest.approx({"midpoint": 1, "heun": 1 / 2, "rk4": 5 / 18}[table.name])
        for noise, many in ((once, 1), (each, table.stages)):
            drawn, x = replaced_gaussian(noise).drawn(generator()), X.repeat(5, 1)
            found = [drawn.increment(0, stage, 0.1, x) for stage in range(table.stages)]
            assert len({tuple(i.flatten().tolist()) for i in found}) == many
    assert once.calculus(EULER) == "ito"


def replaced_gaussian(noise: Noise) -> Noise:
    """Continuous, so that no two draws are equal by chance."""
    return noise.matched()


@pytest.mark.parametrize(
    ("per", "x", "shape"),
    [
        ("sample", (3, 4), (3, 1)), ("unit", (3, 4), (3, 4)), ("channel", (3, 4), (3, 4)),
        ("sample", (3, 7, 4), (3, 1, 1)), ("unit", (3, 7, 4), (3, 7, 4)), ("channel", (3, 7, 4), (3, 1, 4)),
        ("sample", (3, 4, 5, 6), (3, 1, 1, 1)), ("unit", (3, 4, 5, 6), (3, 4, 5, 6)),
        ("channel", (3, 4, 5, 6), (3, 4, 1, 1)),
    ],
)  # fmt: skip
def test_what_has_a_number_of_its_own(per: str, x: tuple[int, ...], shape: tuple[int, ...]) -> None:
    noise = branch_dropout(0.7, per=per).drawn(generator())  # type: ignore[arg-type]
    increment = noise.increment(0, 0, 0.1, torch.zeros(x))
    assert isinstance(increment, Tensor)
    assert increment.shape == shape


def test_survival_falls_linearly_to_that_of_the_last_step() -> None:
    """p_k = 1 - (k+1)/N (1 - p), and inverted draws keep the mean at 1."""
    net = decay(4)
    for inverted in (False, True):
        noise = stochastic_depth(0.6, decay=True, inverted=inverted).on(net)
        assert [law.p for law in noise.laws] == pytest.approx([0.9, 0.8, 0.7, 0.6])  # type: ignore[attr-defined]
        means = [noise.mean(k) for k in range(4)]
        assert means == pytest.approx([1.0] * 4 if inverted else [0.9, 0.8, 0.7, 0.6])
    with pytest.raises(ConfigError, match=r"noise\.on"):
        stochastic_depth(0.6, decay=True).mean(0)


@every_noise
def test_asked_twice_it_answers_with_the_same_bits_and_layers_differ(noise: Noise) -> None:
    x, drawn = X.repeat(40, 1), noise.drawn(generator())
    first, again, other = (drawn.increment(k, 0, 0.1, x) for k in (0, 0, 1))
    assert torch.equal(first, again)  # type: ignore[arg-type]
    assert not torch.equal(first, other)  # type: ignore[arg-type]
    assert torch.equal(first, noise.drawn(generator()).increment(0, 0, 0.1, x))  # type: ignore[arg-type]


def test_a_generator_gives_a_seed_and_moves_on() -> None:
    g, x = generator(), X.repeat(40, 1)
    first, second = (branch_dropout(0.7).drawn(g).increment(0, 0, 1.0, x) for _ in range(2))
    assert not torch.equal(first, second)  # type: ignore[arg-type]
    state = torch.random.get_rng_state()
    branch_dropout(0.7).drawn(g).increment(0, 0, 1.0, x)
    assert torch.equal(state, torch.random.get_rng_state())  # nobody else's numbers are used up


@every_noise
@pytest.mark.parametrize("devices", [2, 3])
def test_rows_of_a_shared_batch_are_those_of_the_whole(noise: Noise, devices: int) -> None:
    x = X.repeat(7, 1)
    whole = noise.drawn(generator()).increment(0, 0, 0.1, x)
    for first in range(devices):
        part = noise.drawn(generator(), (first, devices, 7)).increment(0, 0, 0.1, x[first::devices])
        assert torch.equal(part, whole[first::devices])  # type: ignore[arg-type, index]


def test_common_random_numbers_give_nested_masks() -> None:
    """The same seed at two keep probabilities: what the smaller one keeps, the larger one keeps too."""
    x = torch.zeros(50, 8)
    few, many = (branch_dropout(p).drawn(generator()).increment(0, 0, 1.0, x) != 0 for p in (0.4, 0.8))
    assert bool((many | ~few).all())  # type: ignore[union-attr]
    assert bool((many & ~few).any())  # type: ignore[union-attr]


def test_mirrored_draws_average_to_the_mean_of_a_symmetric_law() -> None:
    noise = gaussian(0.4).drawn(generator())
    x = torch.zeros(9, 4, dtype=torch.float64)
    both = noise.increment(0, 0, 0.1, x) + noise.mirrored().increment(0, 0, 0.1, x)
    torch.testing.assert_close(both, torch.full_like(x, 0.2))
    assert noise.mirrored().mirrored() == noise


def test_gaussian_of_matched_variance() -> None:
    noise = branch_dropout(0.7)
    matched = noise.matched()
    assert (matched.mean(0), matched.deviation(0)) == (pytest.approx(1), pytest.approx(noise.deviation(0)))
    assert matched.per == "unit"


def test_sure_noise_draws_nothing_and_is_time() -> None:
    assert stochastic_depth(1.0).increment(0, 0, 0.25, X) == 0.25
    assert Mean(stochastic_depth(0.7)).increment(0, 0, 0.5, X) == pytest.approx(0.35)


def test_half_precision_states_have_increments_of_their_own_kind() -> None:
    noise = branch_dropout(0.5).drawn(generator())
    low, full = (noise.increment(0, 0, 1.0, torch.zeros(6, 4, dtype=t)) for t in (torch.bfloat16, torch.float32))
    assert low.dtype == torch.bfloat16  # type: ignore[union-attr]
    assert torch.equal(low.float(), full)  # type: ignore[union-attr, arg-type]


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "keep above 1": (lambda: stochastic_depth(1.2), r"got 1.2, expected a number in \(0, 1\]"),
    "keep 0": (lambda: branch_dropout(0.0), r"expected a number in \(0, 1\]"),
    "two-point, p = 1": (lambda: two_point(0.5, p=1.0), r"expected a number in \(0, 1\)"),
    "negative deviation": (lambda: gaussian(-1.0), "expected a finite number >= 0"),
    "per": (lambda: branch_dropout(0.7, per="row"), "sample, channel or unit"),  # type: ignore[arg-type]
    "diffuses": (lambda: gaussian(0.7, diffuses="first"), "branch, difference or second"),  # type: ignore[arg-type]
    "no generator": (lambda: branch_dropout(0.7).increment(0, 0, 1.0, X), r"noise.drawn\(generator\)"),
    "one branch": (lambda: shake_shake().on(linear(A)), "whose steps have one branch"),
    "another mean": (
        lambda: shake_shake().on(PairedSystem(linear(A), linear(B), mean=(1, 0))), "expected their mean"
    ),
    "laws": (lambda: Noise("own", NOISES["gaussian"].laws * 3).on(decay(4)), "got 3 laws, expected 1 or 4"),
    "mean of added noise": (lambda: Noise("own", NOISES["gaussian"].laws, root=True), "expected 0 where it is added"),
    "decay of a Gaussian": (
        lambda: Noise("own", NOISES["gaussian"].laws, decays=True).on(decay(4)), "a survival probability"
    ),
    "matched before its depth is known": (lambda: stochastic_depth(0.7, decay=True).matched(), "noise.on"),
    "held without a value": (lambda: Held(gaussian(0.4), {}).increment(0, 0, 1.0, X), "no value for step 0, stage 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_reason(name: str) -> None:
    make, why = REFUSED[name]
    with pytest.raises(ConfigError, match=why):
        make()


def test_a_network_steps_by_the_draws_of_its_driver() -> None:
    """x_{k+1} = x_k + h b_k F(x_k) by hand."""
    net, noise, x = Network(linear(A, B)), stochastic_depth(0.5).drawn(generator(3)), X.repeat(8, 1)
    for k, matrix in enumerate((A, B)):
        after = net.advance(k, x, noise)[0]
        torch.testing.assert_close(after, x + noise.value(k, 0, x) * (x @ matrix.T), rtol=1e-14, atol=1e-14)
        x = after
