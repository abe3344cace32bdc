"""Laws of one random number: moments by exact atoms, draws by relation; statistics only where nothing else is known."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import kstest, norm, uniform

from node_oc.discretization import Gaussian, Law, TwoPoint, Uniform
from node_oc.errors import ConfigError

LAWS: dict[str, Law] = {
    "kept": TwoPoint(1.25, 0.0, 0.8),
    "skewed": TwoPoint.standard(0.1),
    "symmetric": TwoPoint.standard(0.5),
    "sure": TwoPoint(1.0, 0.0, 1.0),
    "gaussian": Gaussian(0.7, 0.3),
    "uniform": Uniform(-0.5, 1.5),
}
every_law = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(law: Law, *shape: int, seed: int = 0, mirrored: bool = False) -> torch.Tensor:
    return law.draw(shape, generator(seed), torch.float64, mirrored)


@every_law
def test_atoms_have_the_moments_that_the_law_says(law: Law) -> None:
    for degree in (3, 4, 8):
        values, weights = (torch.tensor(each, dtype=torch.float64) for each in law.atoms(degree))
        assert float(weights.sum()) == pytest.approx(1, abs=1e-14)
        assert float(weights @ values) == pytest.approx(law.mean, abs=1e-14)
        off = values - law.mean
        assert float(weights @ off**2) == pytest.approx(law.variance, abs=1e-14)
        assert float(weights @ off**3) == pytest.approx(law.third, abs=1e-14)


def test_atoms_are_exact_up_to_their_degree() -> None:
    """Of a normal number the central moments are 1, 3, 15, 105 powers of the deviation; of a uniform one a^n/(n+1)."""
    for degree, double in ((4, 3.0), (6, 15.0), (8, 105.0)):
        values, weights = (torch.tensor(each, dtype=torch.float64) for each in Gaussian(0.7, 0.3).atoms(degree))
        assert float(weights @ (values - 0.7) ** degree) == pytest.approx(double * 0.3**degree, rel=1e-12)
        values, weights = (torch.tensor(each, dtype=torch.float64) for each in Uniform(-0.5, 1.5).atoms(degree))
        assert float(weights @ (values - 0.5) ** degree) == pytest.approx(1 / (degree + 1), rel=1e-12)


@every_law
def test_same_seed_same_bits_and_float32_is_drawn_as_such(law: Law) -> None:
    assert torch.equal(draw(law, 7, 3), draw(law, 7, 3))
    assert law.variance == 0 or not torch.equal(draw(law, 7, 3), draw(law, 7, 3, seed=1))
    assert law.draw((5,), generator(), torch.float32, False).dtype == torch.float32


@every_law
def test_mirrored_draws_are_those_of_one_minus_u(law: Law) -> None:
    """Reflected about the mean where the law is symmetric; of two points, both in the overlap of u and 1 - u."""
    first, second = draw(law, 4000), draw(law, 4000, mirrored=True)
    if law.third == 0:
        torch.testing.assert_close(first + second, torch.full_like(first, 2 * law.mean), rtol=0, atol=1e-15)
        return
    p = law.p  # type: ignore[attr-defined]
    upper = ((first == law.upper) & (second == law.upper)).double().mean()  # type: ignore[attr-defined]
    assert float(upper) == pytest.approx(max(0.0, 2 * p - 1), abs=0.05)
    assert float(((first - law.mean) * (second - law.mean)).mean()) < 0


def test_what_is_dropped_is_exactly_zero_and_the_rest_exactly_the_upper_value() -> None:
    values = draw(TwoPoint(1 / 0.8, 0.0, 0.8), 1000)
    assert set(values.tolist()) == {0.0, 1 / 0.8}
    assert set(draw(TwoPoint(1.0, 0.0, 1.0), 1000).tolist()) == {1.0}


def test_draws_of_the_continuous_laws_are_distributed_as_they_say() -> None:
    """No closed form for a generator: Kolmogorov and Smirnov at 1e-5, seeded."""
    assert kstest(draw(Gaussian(0.7, 0.3), 20_000), norm(0.7, 0.3).cdf).pvalue > 1e-5
    assert kstest(draw(Uniform(-0.5, 1.5), 20_000), uniform(-0.5, 2).cdf).pvalue > 1e-5
    kept = float(draw(TwoPoint(1.0, 0.0, 0.8), 20_000).mean())
    assert abs(kept - 0.8) < 4.4 * math.sqrt(0.16 / 20_000)  # normal, 1e-5


def test_standard_two_point_has_the_skewness_of_its_probability() -> None:
    for p in (0.05, 0.3, 0.5, 0.9):
        law = TwoPoint.standard(p)
        assert (law.mean, law.variance) == (pytest.approx(0, abs=1e-15), pytest.approx(1))
        assert law.third == pytest.approx((1 - 2 * p) / math.sqrt(p * (1 - p)))


@pytest.mark.parametrize("p", [0.0, -0.1, 1.5, math.nan])
def test_a_probability_outside_its_range_is_refused(p: float) -> None:
    with pytest.raises(ConfigError, match=r"probability.*expected a number in \(0, 1"):
        TwoPoint(1.0, 0.0, p)
    with pytest.raises(ConfigError, match=r"expected a number in \(0, 1\)"):
        TwoPoint.standard(p)
    with pytest.raises(ConfigError, match="finite"):
        TwoPoint(math.inf, 0.0, 0.5)
