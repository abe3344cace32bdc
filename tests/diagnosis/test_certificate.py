"""The upper limit for a mean paired loss: closed forms, coverage by simulation, power."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_oc.diagnosis import certify, upper_limit
from node_oc.diagnosis.certificate import log_capital
from node_oc.errors import ConfigError, DataError

DRAWS = 2000


def paired(n: int, harm: int, win: int) -> np.ndarray:
    """d in {-1, 0, 1}: ``harm`` samples lost, ``win`` gained."""
    return np.repeat([1.0, -1.0, 0.0], [harm, win, n - harm - win])


@cache
def limit(n: int, harm: int, win: int) -> float:
    return upper_limit(paired(n, harm, win))


def draws(n: int, harm: float, win: float, seed: int = 0, number: int = DRAWS) -> list[tuple[int, int]]:
    counts = np.random.default_rng(seed).multinomial(n, [harm, win, 1 - harm - win], size=number)
    return [(int(h), int(w)) for h, w, _ in counts]


@cache
def below(mean: float, n: int, harm: int, win: int) -> bool:
    """Whether the limit is below a mean, without the search for it: the capital against that mean is 20."""
    return log_capital(np.array([1.0, -1.0, 0.0]), np.array([harm, win, n - harm - win]), mean, 1.0) >= math.log(20)


@pytest.mark.parametrize(("n", "harm", "win"), [(100, 0.02, 0.01), (1000, 0.005, 0.0), (300, 0.5, 0.45)])
def test_the_limit_is_where_the_capital_reaches_twenty(n: int, harm: float, win: float) -> None:
    for h, w in draws(n, harm, win, number=30):
        found = limit(n, h, w)
        assert below(found + 1e-9, n, h, w)
        assert not below(found - 1e-9, n, h, w)


@pytest.mark.parametrize(("d", "expected"), [(-1.0, 37 / 39), (0.0, 38 / 39), (0.5, 38.5 / 39), (1.0, 1.0)])
def test_one_observation_in_closed_form(d: float, expected: float) -> None:
    """The mean capital of one bet is 1 + (m - d) / (2 (1 - m)); it is 20 at the limit."""
    assert upper_limit([d]) == pytest.approx(expected, abs=1e-12)


def test_two_observations_in_closed_form() -> None:
    """Mean of (1 + b r)^2 over the 50 bets: 1 + r + r^2 (1/3 - 1/(12 50^2)), r = m / (1 - m)."""
    square = 1 / 3 - 1 / (12 * 50**2)
    r = (-1 + math.sqrt(1 + 4 * square * 19)) / (2 * square)
    assert upper_limit([0.0, 0.0]) == pytest.approx(r / (1 + r), abs=1e-12)


def test_a_lower_confidence_is_a_lower_limit() -> None:
    """At confidence 1/2 the capital has to reach 2 only."""
    assert upper_limit([0.0], confidence=0.5) == pytest.approx(2 / 3)
    limits = [upper_limit(paired(500, 5, 2), confidence) for confidence in (0.5, 0.8, 0.95, 0.99)]
    assert limits == sorted(limits)


def test_agreement_alone_needs_598_to_950_samples_for_half_a_point() -> None:
    assert limit(598, 0, 0) > 0.005 >= limit(950, 0, 0)
    assert (1 - 0.005) ** 598 < 0.05 < (1 - 0.005) ** 597  # what no method can beat


def test_more_harm_is_a_higher_limit_and_more_wins_a_lower_one() -> None:
    by_harm = [limit(1000, harm, 3) for harm in range(0, 40, 4)]
    by_win = [limit(1000, 5, win) for win in range(0, 40, 4)]
    assert by_harm == sorted(set(by_harm))
    assert by_win == sorted(set(by_win), reverse=True)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=60), st.integers(0, 100))
def test_a_limit_is_above_the_mean_and_blind_to_order(d: list[float], seed: int) -> None:
    found = upper_limit(d)
    assert np.mean(d) <= found <= 1.0
    assert upper_limit(np.random.default_rng(seed).permutation(d)) == found


def test_the_limit_closes_in_on_the_mean() -> None:
    for n in (1_000, 10_000, 100_000):
        assert limit(n, n // 100, n // 200) - 0.005 < 4 * math.sqrt(0.015 / n)


def test_the_unit_of_the_loss_does_not_matter() -> None:
    d = paired(300, 6, 2)
    assert upper_limit(40 * d + 3, low=-37, high=43) == pytest.approx(40 * upper_limit(d) + 3, rel=1e-9)


@pytest.mark.parametrize(
    ("n", "harm", "win"),
    [
        (100, 0.02, 0.01),
        (1000, 0.005, 0.0),
        (1000, 0.02, 0.015),
        (1000, 0.0035, 0.0),  # near P(no harm) = 3 %, where lucky draws are commonest
        (5000, 0.006, 0.001),
        (300, 0.5, 0.45),
    ],
)
def test_the_limit_is_below_the_mean_in_at_most_five_percent_of_draws(n: int, harm: float, win: float) -> None:
    violations = np.mean([below(harm - win, n, h, w) for h, w in draws(n, harm, win)])
    assert violations <= 0.062  # 5 % and two and a half standard errors of 2,000 draws


@pytest.mark.parametrize("n", [200, 800, 2000])
def test_coverage_holds_at_the_luckiest_rate(n: int) -> None:
    """The mean just above the limit of no harm at all: one lucky draw in (1 - harm)^n is a violation."""
    harm = limit(n, 0, 0) * 1.001
    violations = np.mean([below(harm, n, h, w) for h, w in draws(n, harm, 0.0)])
    assert 0 < violations <= 0.062


@pytest.mark.parametrize("shape", [(0.02, 1.0), (0.5, 0.5), (2.0, 8.0)])
def test_coverage_for_bounded_losses_of_any_kind(shape: tuple[float, float]) -> None:
    """Regression: low + (high - low) Beta(a, b) has a known mean; limit < mean is capital(mean) >= 20."""
    low, high, n = -1.01 * 3.0, 3.0, 100
    mean = low + (high - low) * shape[0] / sum(shape)
    rows = low + (high - low) * np.random.default_rng(1).beta(*shape, size=(DRAWS, n))
    capital = np.array([log_capital(row, np.ones(n), mean, high) for row in rows])
    assert (capital >= math.log(20)).mean() <= 0.062
    for row, c in zip(rows[:20], capital, strict=False):
        assert (upper_limit(row, low=low, high=high) < mean) == (c >= math.log(20))


def test_it_certifies_a_small_harm_almost_always() -> None:
    """Theory sheet: n = 5,000, 0.1 % harm and 0.05 % win against half a point."""
    certified = [limit(5000, h, w) <= 0.005 for h, w in draws(5000, 0.001, 0.0005)]
    assert np.mean(certified) >= 0.9


def test_it_certifies_a_larger_harm_in_about_17_percent_of_draws() -> None:
    """Theory sheet: 0.6 % harm and 0.4 % win."""
    certified = [limit(5000, h, w) <= 0.005 for h, w in draws(5000, 0.006, 0.004, number=400)]
    assert np.mean(certified) == pytest.approx(0.17, abs=0.06)


def test_a_certificate_speaks() -> None:
    good = certify(paired(5000, 5, 2), budget=0.005)
    assert (good.holds, good.n, good.needed) == (True, 5000, 5000)
    assert good.mean == pytest.approx(0.0006)
    assert good.limit == limit(5000, 5, 2)
    bad = certify(paired(1000, 10, 2), budget=0.005)
    assert (bad.holds, bad.needed) == (False, None)


@pytest.mark.parametrize(("n", "harm", "win"), [(500, 0, 0), (1000, 2, 0), (1000, 6, 4)])
def test_needed_samples_would_do_at_the_same_rates(n: int, harm: int, win: int) -> None:
    certificate = certify(paired(n, harm, win), budget=0.005)
    assert not certificate.holds
    assert certificate.needed is not None
    assert certificate.needed > n

    def would_do(size: float) -> bool:
        share = size / n
        return limit(math.ceil(size), round(harm * share), round(win * share)) <= 0.005

    assert would_do(1.1 * certificate.needed)
    assert not would_do(0.8 * certificate.needed)


@pytest.mark.parametrize("d", [[], [0.0, math.nan], [1.5], [-1.0001], [math.inf], [-math.inf]])
def test_losses_that_are_none_raise(d: list[float]) -> None:
    for ask in (upper_limit, lambda d: certify(d, 0.005)):
        with pytest.raises(DataError, match=r"expected at least one finite value in \[-1.0, 1.0\]"):
            ask(d)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1.0, math.nan])
def test_a_confidence_outside_0_1_is_refused(confidence: float) -> None:
    with pytest.raises(ConfigError, match="confidence"):
        upper_limit([0.0], confidence)
