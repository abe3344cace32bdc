"""Look-ahead and continuation against exact values on chains; families, targets, the guarantee."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from node_oc import policy_from, stopping_depths
from node_oc.errors import ConfigError, DataError, ShapeError, StoreError
from node_oc.policies import (
    FAMILIES,
    FixedDepth,
    Readings,
    continuation,
    family,
    first_stop,
    fit_policy,
    follow,
    follow_oracle,
    guarantee,
    look_ahead,
    needed,
    one_step_rule,
)
from node_oc.problem.stopping import rule_value, snell_envelope

S, N, C = 6, 16, 0.03
RISK = torch.tensor([0.6, 0.57, 0.3, 0.28, 0.08, 0.02], dtype=torch.float64)  # chance of an error in each state
UP = torch.tensor([0.5, 0.6, 0.5, 0.7, 0.2, 0.0], dtype=torch.float64)  # of a step to the next one: not monotone
START = torch.tensor([0.4, 0.3, 0.2, 0.1, 0.0, 0.0], dtype=torch.float64)


def chain() -> tuple[list[Tensor], list[Tensor]]:
    p = torch.diag(1 - UP) + torch.diag(UP[:-1], 1)
    return [RISK + C * k for k in range(N + 1)], [p] * N


def paths(n: int, seed: int) -> Readings:
    """Samples of the chain; what is seen is which state it is in."""
    g = torch.Generator().manual_seed(seed)
    state = torch.multinomial(START, n, replacement=True, generator=g)
    states = [state]
    for _ in range(N):
        state = state + (torch.rand(n, generator=g, dtype=torch.float64) < UP[state]).long()
        states.append(state)
    seen = torch.stack(states)
    losses = (torch.rand(N + 1, n, generator=g, dtype=torch.float64) < RISK[seen]).double()
    return Readings(tuple(range(N + 1)), torch.eye(S)[seen], losses, RISK[seen], "classification")


@pytest.mark.parametrize("labels", [True, False])
def test_continuation_is_within_a_percent_of_the_envelope(labels: bool) -> None:
    costs, transitions = chain()
    best = snell_envelope(costs, transitions).value(START)
    policy = continuation(paths(20000, 0), C, labels=labels)
    states = torch.eye(S)
    stops = [policy.stops(k, states) for k in range(N)] + [torch.ones(S, dtype=torch.bool)]
    value = rule_value(stops, costs, transitions, START)
    assert best - 1e-9 <= value <= 1.01 * best
    assert rule_value(one_step_rule(costs, transitions), costs, transitions, START) > 1.01 * best  # it is not easy


@pytest.mark.parametrize("ratio", [0.3, 0.6, 0.9])
def test_look_ahead_is_optimal_in_the_monotone_case(ratio: float) -> None:
    """Two kinds of samples, losses that fall geometrically: a step that does not pay is followed by worse ones."""
    start = torch.tensor([0.5, 0.5], dtype=torch.float64)
    scale = torch.tensor([0.3, 0.9], dtype=torch.float64)
    costs = [scale * ratio**k + 0.03 * k for k in range(9)]
    transitions = [torch.eye(2, dtype=torch.float64)] * 8
    rule = one_step_rule(costs, transitions)
    assert rule_value(rule, costs, transitions, start) == pytest.approx(
        snell_envelope(costs, transitions).value(start), abs=1e-12
    )


def test_look_ahead_misses_a_late_gain() -> None:
    costs = [torch.tensor([e + 0.05 * k], dtype=torch.float64) for k, e in enumerate((0.5, 0.49, 0.1))]
    transitions, start = [torch.eye(1, dtype=torch.float64)] * 2, torch.ones(1, dtype=torch.float64)
    assert rule_value(one_step_rule(costs, transitions), costs, transitions, start) == pytest.approx(0.5)
    assert snell_envelope(costs, transitions).value(start) == pytest.approx(0.2)


def test_fitted_look_ahead_is_no_worse_than_the_exact_rule() -> None:
    costs, transitions = chain()
    policy = look_ahead(paths(20000, 1), C)
    states = torch.eye(S)
    stops = [policy.stops(k, states) for k in range(N)] + [torch.ones(S, dtype=torch.bool)]
    exact = rule_value(one_step_rule(costs, transitions), costs, transitions, START)
    value = rule_value(stops, costs, transitions, START)
    assert snell_envelope(costs, transitions).value(START) <= value <= 1.01 * exact


# -- readouts ------------------------------------------------------------------------------------------------


def population(n: int, seed: int, depth: int = 5, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Evidence that grows by ever less, clear for some samples and faint for others: readouts and classes."""
    g = torch.Generator().manual_seed(seed)
    target = torch.randint(0, classes, (n,), generator=g)
    clear, z, found = 3 * torch.rand(n, generator=g), torch.zeros(n, classes), []
    for k in range(depth + 1):
        signal = clear[:, None] * torch.nn.functional.one_hot(target, classes)
        z = z + 0.7**k * (signal + 0.6 * torch.randn(n, classes, generator=g))
        found.append(1.6 * z)
    return torch.stack(found), target


READ, TARGET = population(4000, 0)
ALL = Readings.of(READ, TARGET)
FIT, HELD = ALL.take(torch.arange(2000)), ALL.take(torch.arange(2000, 4000))


@pytest.mark.parametrize("name", FAMILIES["classification"])
def test_a_family_goes_from_the_full_network_to_the_first_exit(name: str) -> None:
    found = [follow(policy, HELD) for policy in family(name, FIT)]
    depths = [one.depth for one in found]
    assert depths[0] == HELD.depth
    assert found[0].excess == 0
    assert depths[-1] < 0.1
    assert max(b - a for a, b in pairwise(depths)) < 0.3  # but for refits, ever shallower
    least = dict(zip((0.01, 0.05, 0.2), follow_oracle(HELD, (0.01, 0.05, 0.2)), strict=True))
    assert all(loss + c * depth <= min(one.cost(c) for one in found) for c, (depth, loss) in least.items())


@pytest.mark.parametrize("name", ["look-ahead", "continuation"])
def test_a_regressed_policy_is_read_back_and_stops_the_same_samples(name: str) -> None:
    for policy in family(name, FIT)[5::17]:
        again = policy_from(json.loads(json.dumps(policy.spec())))
        assert again == policy
        assert torch.equal(stopping_depths(again, READ), torch.tensor(ALL.exits)[first_stop(policy, ALL.features)])


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec["rules"].pop(),
        lambda spec: spec["costs"].pop(),
        lambda spec: spec["rules"][0][1].pop(),
        lambda spec: spec["rules"][0][3][0].pop(),
        lambda spec: spec["rules"][0].__setitem__(0, "much"),
        lambda spec: spec.update(task="regression"),
        lambda spec: spec.update(method="guessed"),
        lambda spec: spec.update(guard="high"),
    ],
)
def test_a_regressed_policy_that_was_edited_into_nonsense_is_refused(change: Callable[[dict], object]) -> None:
    spec = json.loads(json.dumps(look_ahead(FIT, C).spec()))
    change(spec)
    with pytest.raises(StoreError, match="altered"):
        policy_from(spec)


@pytest.mark.parametrize("target", [{"cost": -1.0}, {"depth": math.nan}, {"loss": math.inf}, {"loss": -0.1}])
def test_a_target_that_is_no_number_of_its_kind_is_refused(target: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="a finite number >= 0"):
        fit_policy(family("fixed", FIT), HELD, **target)


def test_no_policy_and_an_unknown_test_are_refused() -> None:
    with pytest.raises(ConfigError, match="policies: got none"):
        fit_policy([], HELD, loss=0.1)
    with pytest.raises(ConfigError, match="binomial or betting"):
        guarantee(family("fixed", FIT), HELD, 0.5, test="exact")  # type: ignore[arg-type]


def test_targets_are_reached() -> None:
    policies = [policy for name in FAMILIES["classification"] for policy in family(name, FIT)]
    found = [follow(policy, HELD) for policy in policies]
    deep = fit_policy(policies, HELD, depth=2.0)
    assert deep.depth <= 2
    assert deep.loss == min(one.loss for one in found if one.depth <= 2)
    near = fit_policy(policies, HELD, loss=0.01)
    assert near.excess <= 0.01
    assert near.depth == min(one.depth for one in found if one.excess <= 0.01 + 1e-12)
    assert near.depth < fit_policy(family("fixed", FIT), HELD, loss=0.01).depth
    assert fit_policy(policies, HELD, cost=0.02).cost(0.02) == min(one.cost(0.02) for one in found)


def test_a_regression_stops_by_what_changes() -> None:
    """A number that settles at a rate of its own."""
    g = torch.Generator().manual_seed(3)
    rate, y = 0.9 * torch.rand(600, 1, generator=g), torch.randn(600, 1, generator=g)
    readings = Readings.of(torch.stack([y * (1 - rate ** (k + 1)) for k in range(7)]), y, task="regression")
    fixed = fit_policy(family("fixed", readings), readings, depth=3.0)
    for name in ("change", "look-ahead", "continuation"):
        found = [follow(policy, readings) for policy in family(name, readings)]
        assert min(one.loss for one in found if one.depth <= 3) < 0.5 * fixed.loss
    with pytest.raises(ConfigError, match="no entropy"):
        family("entropy", readings)


def test_what_no_policy_reaches_is_refused_with_the_nearest() -> None:
    late = Readings.of(READ, TARGET, exits=[2, 4])
    with pytest.raises(ConfigError, match="at least 2, the nearest"):
        fit_policy(family("fixed", late), late, depth=1.0)
    only = [FixedDepth(0, HELD.exits)]
    with pytest.raises(ConfigError, match=f"{follow(only[0], HELD).excess:.3g} or more, the nearest"):
        fit_policy(only, HELD, loss=0.0)
    for target in ({}, {"cost": 0.1, "depth": 2.0}, {"cost": -0.1}, {"cost": float("inf")}):
        with pytest.raises(ConfigError):
            fit_policy(only, HELD, **target)


@pytest.mark.parametrize("find", [look_ahead, continuation])
def test_bad_input_of_a_regression_is_refused(find) -> None:  # type: ignore[no-untyped-def]
    for cost in (-0.1, float("inf"), [0.1], [0.1] * 4 + [-0.1]):
        with pytest.raises(ConfigError, match="cost of a layer"):
            find(FIT, cost)
    with pytest.raises(DataError, match="50 at least"):
        find(FIT.take(torch.arange(20)), 0.1)


def test_readings_that_do_not_match_are_refused() -> None:
    with pytest.raises(ShapeError):
        Readings.of(READ, TARGET[:5])
    with pytest.raises(ConfigError, match="no exit at 9"):
        Readings.of(READ, TARGET, exits=[1, 9])
    with pytest.raises(ConfigError, match="exits"):
        follow(FixedDepth(2, (2, 5)), HELD)


# -- the guarantee -------------------------------------------------------------------------------------------


def test_the_guarantee_holds_and_what_is_chosen_without_it_does_not() -> None:
    """100 draws of 800 from a population whose losses are known: at 5 % at most 16 violations (alpha 1e-5)."""
    policies, rng = family("margin", FIT)[::4], np.random.default_rng(0)
    truth = {policy: follow(policy, HELD).excess for policy in policies}
    allowed = min(loss for loss in truth.values() if loss > 0.02) - 1e-6  # what one of them just does not keep
    broken = {"guaranteed": 0, "chosen": 0}
    depths: dict[str, list[float]] = {"guaranteed": [], "chosen": []}
    for _ in range(100):
        drawn = HELD.take(torch.from_numpy(rng.integers(0, len(HELD), 800)))
        found = {"guaranteed": guarantee(policies, drawn, allowed, rehearsal=FIT).outcome,
                 "chosen": fit_policy(policies, drawn, loss=allowed)}  # fmt: skip
        for name, outcome in found.items():
            broken[name] += truth[outcome.policy] > allowed
            depths[name].append(outcome.depth)
    assert broken["guaranteed"] <= 16 < broken["chosen"]
    assert np.mean(depths["guaranteed"]) < 0.7 * HELD.depth


def test_the_sequence_ends_at_the_first_failure() -> None:
    last, first, near = (FixedDepth(k, HELD.exits) for k in (5, 0, 4))
    assert guarantee([last, near], HELD, 0.1).outcome.depth == 4
    found = guarantee([last, first, near], HELD, 0.1)
    assert (found.outcome.depth, found.tested) == (5, 2)


@pytest.mark.parametrize("test", ["binomial", "betting"])
def test_a_guarantee_says_how_many_samples_it_needs(test) -> None:  # type: ignore[no-untyped-def]
    least = needed(0.02, 0.95, test)
    assert needed(0.005) == 598  # theory: at the very best
    silent = replace(HELD, losses=HELD.losses[-1:].expand(HELD.losses.shape))  # no exit loses anything
    full = family("fixed", silent)
    rehearsal = FIT if test == "binomial" else None
    if rehearsal is not None:
        full = [FixedDepth(5, FIT.exits), FixedDepth(4, FIT.exits)]
    with pytest.raises(DataError, match=f"{least}"):
        guarantee(full, silent.take(torch.arange(least - 1)), 0.02, rehearsal=rehearsal)
    found = guarantee(full, silent.take(torch.arange(least)), 0.02, rehearsal=rehearsal)
    assert found.outcome.depth == (4 if rehearsal is not None else 0)
    assert (found.test, found.n, found.needed) == (test, least, least)
    harmed = replace(silent.take(torch.arange(least)), losses=silent.losses[:, :least].clone())
    harmed.losses[:, 0] = torch.tensor([1.0] * 5 + [0.0])  # a single one is too many here
    assert guarantee(full, harmed, 0.02, rehearsal=rehearsal).outcome.depth == 5


def test_bad_guarantees_are_refused() -> None:
    for loss, confidence in ((0.0, 0.95), (0.1, 1.0), (-0.1, 0.9)):
        with pytest.raises(ConfigError):
            guarantee(family("fixed", FIT), HELD, loss, confidence)
    with pytest.raises(ConfigError):
        guarantee([], HELD, 0.01)
