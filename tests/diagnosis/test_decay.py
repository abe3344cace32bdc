"""The rate is exact where the law is exact, and is not claimed where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import linregress
from scipy.stats import t as student

from node_oc.diagnosis import decay
from node_oc.diagnosis.decay import window
from node_oc.errors import DataError


@pytest.mark.parametrize("rate", [0.01, 0.5, 3.0])
@pytest.mark.parametrize("t", [list(range(21)), [0.0, 0.5, 0.6, 1.5, 2.0, 3.0, 3.1, 4.0]], ids=["layers", "uneven"])
def test_an_exponential_is_read_off_exactly(rate: float, t: list[float]) -> None:
    found = decay([2.0 * math.exp(-rate * s) for s in t], t)
    assert found.resolved
    assert [found.rate, found.low, found.high] == pytest.approx([rate] * 3, rel=1e-9)
    assert (found.constant, found.r2) == pytest.approx((2.0, 1.0))
    assert found.sentence.startswith(f"Exponential decay: the excess falls like 2 exp(-{rate:.3g} t), rate in [")


def test_the_unit_is_time_and_not_layers() -> None:
    values = [math.exp(-k) for k in range(11)]
    assert decay(values).rate == pytest.approx(1.0)
    assert decay(values, [0.1 * k for k in range(11)]).rate == pytest.approx(10.0)


def test_the_interval_is_that_of_a_straight_line() -> None:
    rng = np.random.default_rng(3)
    y = -0.4 * np.arange(12) + 0.1 * rng.standard_normal(12)
    found = decay(np.exp(y).tolist())
    m = window(np.exp(y).tolist())
    line = linregress(np.arange(m), y[:m])
    half = student.ppf(0.975, m - 2) * line.stderr
    assert m == 8
    assert (found.rate, found.low, found.high) == pytest.approx((-line.slope, -line.slope - half, -line.slope + half))
    assert found.r2 == pytest.approx(line.rvalue**2)
    assert found.window == (0, 7)


@pytest.mark.parametrize(
    ("values", "layers"),
    [
        ([2.0**-k for k in range(12)], 9),  # to the end: three quarters
        ([1.0, 0.1, 0.01, 1e-3, 1.1e-3, 0.9e-3, 1e-3, 1.05e-3, 0.95e-3], 3),  # a floor of 1e-3
        ([1.0, 0.1, 0.01, 1e-3, 0.1, 1.0, 3.0, 5.0, 9.0], 3),  # a leaving arc
        ([1.0, 0.1, 0.01, 0.0, 0.0, 0.0], 3),  # exactly at the minimisers
        ([1.0, 0.5, -1e-9, 1e-9], 2),  # at them, up to rounding
        ([1.0, 2.0, 3.0], 0),
        ([1.0], 0),
    ],
)
def test_the_window_ends_where_the_curve_reaches_its_floor(values: list[float], layers: int) -> None:
    assert window(values) == layers


def test_a_floor_does_not_bend_the_rate() -> None:
    values = [math.exp(-k) + 1e-6 * (1 + 0.1 * (-1) ** k) for k in range(40)]
    found = decay(values)
    assert found.window[1] == math.floor(math.log(1e6 / 2.3))  # exp(-k) > (3 - 1.1 or 0.9) floors
    assert found.rate == pytest.approx(1.0, rel=0.02)
    assert found.resolved


@pytest.mark.parametrize("values", [[1.0, 0.1, 0.01], [1.0], [0.5] * 9])
def test_too_few_points_give_no_number(values: list[float]) -> None:
    found = decay(values)
    assert (found.law, found.rate, found.low, found.r2, found.power) == ("not resolved", None, None, None, None)
    assert "a fit needs three" in found.sentence


def test_noise_has_a_rate_in_no_more_draws_than_its_confidence_allows() -> None:
    rng = np.random.default_rng(0)
    laws = [decay(np.exp(0.3 * rng.standard_normal(21)).tolist()).law for _ in range(400)]
    assert np.mean([law != "not resolved" for law in laws]) <= 0.05


def test_a_rate_inside_its_noise_is_not_resolved() -> None:
    found = decay([1.0, 2.0, 0.7, 1.8, 0.6, 1.9, 0.9, 0.3, 0.25, 0.2])
    assert found.law == "not resolved"
    assert found.low is not None
    assert found.low < 0
    assert "does not exclude 0" in found.sentence


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_a_power_of_time_is_not_called_exponential(power: float) -> None:
    found = decay([(1.0 + k) ** -power for k in range(21)])
    assert (found.law, found.resolved) == ("algebraic", False)
    assert (found.power, found.power_r2) == pytest.approx((power, 1.0))
    assert found.r2 is not None
    assert found.r2 < 0.97
    assert f"t^-{power:.2g}" in found.sentence


def test_a_curve_that_grows_before_it_falls_is_no_decay() -> None:
    found = decay([1.0, 2.0, 4.0, 8.0, 0.5, 0.5, 0.5, 0.4])
    assert found.law == "not resolved"
    assert found.sentence.startswith("Decay rate not resolved: the excess grows over layers 0 to 3, at rate 0.693")


def test_a_curve_that_is_least_at_the_start_and_ends_higher_grows() -> None:
    assert decay([1.0, 2.0, 3.0, 4.0]).sentence == "No decay: the excess is least at layer 0 and ends at 4, from 1."


@pytest.mark.parametrize("t", [[0.0, 1.0, 1.0, 2.0], [0.0, 2.0, 1.0, 3.0]])
def test_times_that_do_not_rise_are_refused(t: list[float]) -> None:
    with pytest.raises(DataError, match="rising times"):
        decay([4.0, 2.0, 1.0, 0.5], t)


def test_the_algebraic_law_needs_clearly_better_residuals() -> None:
    """Both laws fit this about alike: exponential stays the answer."""
    found = decay([math.exp(-0.3 * k) * (1 + 0.1 * (-1) ** k) for k in range(12)])
    assert found.law == "exponential"


@pytest.mark.parametrize(
    ("values", "t"), [([], None), ([1.0, math.nan], None), ([1.0, 0.5], [0.0]), ([1.0, 0.5], [0.0, math.inf])]
)
def test_no_curve_raises(values: list[float], t: list[float] | None) -> None:
    with pytest.raises(DataError, match="excess over depth"):
        decay(values, t)
