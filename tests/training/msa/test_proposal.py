"""The rules for discrete weights are the exact minimisers of what they minimise: by enumeration."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from node_oc.errors import ConfigError
from node_oc.training.msa import Binary, Inertia, MovingAverage, Proposal, Ternary
from node_oc.training.msa.proposal import proposal_of

CASES = 10_000


def random_cases(values: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """W, G, tau, lambda as multiples of 1/8, in which sums are exact: ties, and zeros, come often."""
    g = torch.Generator().manual_seed(0)
    weight = torch.tensor(values)[torch.randint(len(values), (CASES,), generator=g)].to(dtype)
    slope = torch.randint(-24, 25, (CASES,), generator=g).to(dtype) / 8
    tau, price = (torch.randint(0, 9, (CASES,), generator=g).to(dtype) / 8 for _ in range(2))
    return weight, slope, tau, price


def by_enumeration(rule: Proposal, weight: Tensor, slope: Tensor, tau: float, tie: Tensor) -> Tensor:
    """The minimiser over all values; of several, ``tie`` where it is one of them."""
    costs = torch.stack([rule.cost(torch.full_like(weight, w), weight, slope, tau) for w in rule.values])
    least = costs == costs.min(0).values
    best = torch.tensor(rule.values, dtype=weight.dtype)[least.long().argmax(0)]
    tied = sum((least[i] & (tie == w)) for i, w in enumerate(rule.values)) > 0
    return torch.where(tied, tie, best)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("values", ["binary", "ternary"])
def test_updates_equal_enumeration_with_ties_and_zeros(values: str, dtype: torch.dtype) -> None:
    sets: dict[str, tuple[int, ...]] = {"binary": (-1, 1), "ternary": (-1, 0, 1)}
    weight, slope, taus, prices = random_cases(sets[values], dtype)
    ties = changed = 0
    for tau in taus.unique().tolist():
        for price in prices.unique().tolist():
            here = (taus == tau) & (prices == price)
            w, s = weight[here].clone(), slope[here]
            rule = Binary() if values == "binary" else Ternary(price)
            costs = torch.stack([rule.cost(torch.full_like(w, v), w, s, tau) for v in rule.values])
            ties += int(((costs == costs.min(0).values).sum(0) > 1).sum())
            wanted = by_enumeration(rule, w, s, tau, w if values == "binary" else torch.zeros_like(w))
            before = w.clone()
            rule.update_(w, s, tau)
            assert torch.equal(w, wanted)
            changed += int((w != before).sum())
    assert ties > 200
    assert changed > 1000


def test_the_rules_are_the_published_ones() -> None:
    """The thresholds of arXiv 1803.01299's logs, written out with M = -G."""
    weight, slope, _, _ = random_cases((-1, 0, 1), torch.float64)
    m, tau, lam = -slope, 0.375, 0.25
    w = weight.clone()
    Ternary(lam).update_(w, slope, tau)
    up, down = m > tau * (1 - 2 * weight) + lam, m < -tau * (1 + 2 * weight) - lam
    assert torch.equal(w, up.double() - down.double())
    b = torch.where(weight == 0, 1.0, weight)
    w = b.clone()
    Binary().update_(w, slope, tau)
    assert torch.equal(w, torch.where(m.abs() > tau, m.sign(), b))


@pytest.mark.parametrize("values", [(-1, 1), (-1, 0, 1)])
def test_inertia_looks_at_the_weights_that_do_not_have_the_sign_of_their_mean(values: tuple[int, ...]) -> None:
    weight, slope, _, _ = random_cases(values, torch.float64)
    for w, s in zip(weight.split(10), slope.split(10), strict=True):
        wrong = w.sign() != (-s).sign()
        found = float(Inertia.largest(w, s, zeros=0 in values))
        assert max(0.0, found) == (float(s[wrong].abs().max()) if wrong.any() else 0.0)


def test_inertia_shows_a_slope_that_is_not_finite() -> None:
    for bad in (math.inf, -math.inf, math.nan):
        for sign, zeros in ((-1.0, True), (0.0, True), (1.0, True), (-1.0, False), (1.0, False)):
            slope, weight = torch.tensor([1.0, bad, 2.0]), torch.tensor([1.0, sign, -1.0])
            assert not math.isfinite(float(Inertia.largest(weight, slope, zeros)))


def test_a_tiny_change_of_the_average_is_not_lost_in_float32() -> None:
    """alpha = 1 - 1e-9 is 1 in float32; 1 - alpha is kept instead."""
    average = MovingAverage(1e-9)
    mean, slope = torch.zeros(3), torch.tensor([1.0, -2.0, 3.0])
    average.update_(mean, slope, 0)
    torch.testing.assert_close(mean, 1e-9 * slope, rtol=1e-6, atol=0)
    assert float(torch.tensor(1 - average.rate(0), dtype=torch.float32)) == 1.0


def test_the_rate_falls_after_each_epoch_and_never_stalls() -> None:
    average = MovingAverage(1e-3, 0.95, 7)
    rates = [average.rate(update) for update in range(0, 7000, 7)]
    assert [average.rate(update) for update in (0, 6, 7, 13, 14)] == [*rates[:1] * 2, *rates[1:2] * 2, rates[2]]
    for epoch, rate in enumerate(rates):
        assert rate == pytest.approx(1e-3 * 0.95**epoch, rel=1e-12)
    assert all(b < a for a, b in itertools.pairwise(rates))


def test_averages_start_uniform_and_small_from_a_generator() -> None:
    one, two = (MovingAverage.start(torch.zeros(50, 40), torch.Generator().manual_seed(s)) for s in (1, 1))
    assert torch.equal(one, two)
    assert 0.9e-6 < float(one.abs().max()) <= 1e-6
    assert abs(float(one.mean())) < 1e-7


def test_bad_numbers_and_sets_are_refused() -> None:
    for bad in (lambda: MovingAverage(0.0), lambda: MovingAverage(decay=1.1), lambda: Inertia(-0.1), lambda: Inertia(2),
                lambda: Ternary(-1.0), lambda: Ternary(math.nan)):  # fmt: skip
        with pytest.raises(ConfigError):
            bad()
    with pytest.raises(ConfigError, match="a Q of step 3: got the set 'quaternary'"):
        proposal_of("quaternary", 0.0, "a Q of step 3")
