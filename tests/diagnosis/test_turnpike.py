"""Verdicts on hand-made curves."""

from __future__ import annotations

import math

import pytest

from node_oc.diagnosis import entry_by_accuracy, turnpike
from node_oc.errors import DataError


def test_a_turnpike_is_found_where_the_distance_stays_small() -> None:
    found = turnpike([10.0, 4.0, 0.9, 0.5, 0.2, 0.1], 0.1)
    assert (found.found, found.entry, found.level) == (True, 2, 1.0)
    assert found.sentence == "Turnpike: from layer 2 of 5 on the distance to the minimisers stays below 1."


def test_a_slow_curve_has_none() -> None:
    found = turnpike([10.0, 8.0, 6.0, 4.0, 2.0], 0.1)
    assert (found.found, found.entry) == (False, None)
    assert found.sentence == "No turnpike: the distance never stays below 1 (it ends at 2)."


def test_a_curve_that_arrives_at_the_last_layer_has_none() -> None:
    found = turnpike([10.0, 8.0, 6.0, 4.0, 0.5])
    assert not found.found
    assert found.sentence == "No turnpike: the distance comes at the last layer only below 2 (it ends at 0.5)."


def test_entering_and_leaving_soon_again_does_not_count() -> None:
    assert not turnpike([10.0, 0.5, 0.5, 0.5, 3.0]).found
    assert turnpike([10.0, 0.5, 3.0, 0.5, 0.5]).entry == 3


def test_a_curve_that_leaves_after_most_of_the_depth_has_an_exit() -> None:
    found = turnpike([10.0, 4.0, *[0.5] * 12, 3.0, 6.0, 9.0], 0.1)
    assert (found.found, found.entry, found.exit, found.level) == (True, 2, 13, 1.0)
    assert found.sentence == (
        "Turnpike with a leaving arc: from layer 2 to layer 13 of 16 the distance to the minimisers stays below 1; "
        "then it leaves and ends at 9."
    )


@pytest.mark.parametrize(
    ("last", "long"),
    [(5, False), (6, False), (7, True), (8, True)],  # from layer 1 to this one of 10: more than 5
)
def test_near_for_more_than_half_of_the_time_is_long_enough(last: int, long: bool) -> None:
    found = turnpike([10.0, *[0.5] * last, *[5.0] * (10 - last)], 0.1)
    assert (found.found, found.exit) == (long, last if long else None)


def test_long_enough_is_measured_in_time() -> None:
    curve = [10.0, 0.5, 0.5, 0.5, 3.0, 3.0]
    assert not turnpike(curve, 0.1).found
    assert turnpike(curve, 0.1, [0.0, 0.1, 2.0, 5.0, 5.1, 5.2]).exit == 3
    assert not turnpike([10.0, *[0.5] * 8, 3.0], 0.1, [0.1 * k for k in range(9)] + [9.0]).found


def test_a_curve_that_stays_to_the_end_has_no_exit() -> None:
    assert turnpike([10.0, 4.0, *[0.5] * 12], 0.1).exit is None
    assert turnpike([10.0, *[0.5] * 12, 3.0, 0.5, 0.5], 0.1).entry == 14  # it left, but its end is near


def test_coming_back_at_the_last_layer_alone_is_a_leaving_arc_all_the_same() -> None:
    found = turnpike([10.0, *[0.5] * 12, 3.0, 0.5], 0.1)
    assert (found.entry, found.exit) == (1, 12)


def test_two_short_stays_do_not_add_up() -> None:
    assert not turnpike([10.0, *[0.5] * 4, 3.0, *[0.5] * 4, 3.0], 0.1).found


def test_starting_near_and_leaving_late() -> None:
    """A curve within a share of its own start cannot start near, unless it starts at the minimisers."""
    assert turnpike([0.0] * 8 + [1.0, 2.0]).exit == 7


def test_on_the_level_is_within_it() -> None:
    assert turnpike([10.0, 1.0, 1.0], 0.1).entry == 1


def test_a_smaller_share_is_a_later_entry() -> None:
    curve = [2.0**-k for k in range(20)]
    assert [turnpike(curve, share).entry for share in (0.5, 0.1, 0.01)] == [1, 4, 7]


def test_starting_at_the_minimisers_is_a_turnpike_from_the_start() -> None:
    assert turnpike([0.0, 0.0, 0.0]).entry == 0


@pytest.mark.parametrize("bad", [[], [1.0, math.nan, 0.1], [math.inf, 1.0]])
def test_no_curve_and_no_number_raise(bad: list[float]) -> None:
    with pytest.raises(DataError, match="distance over depth"):
        turnpike(bad)


def test_the_layer_that_is_not_finite_is_named() -> None:
    with pytest.raises(DataError, match="nan at layer 2"):
        turnpike([1.0, 0.5, math.nan, 0.1])


@pytest.mark.parametrize("t", [[0.0, 1.0], [0.0, 1.0, math.nan]])
def test_one_time_a_layer(t: list[float]) -> None:
    with pytest.raises(DataError, match="times of distance over depth"):
        turnpike([1.0, 0.5, 0.1], t=t)


@pytest.mark.parametrize(
    ("accuracy", "entry"),
    [
        ([0.5, 0.7, 0.99, 0.991, 0.992], 2),
        ([0.992, 0.7, 0.99, 0.7, 0.992], 4),
        ([0.9, 0.999, 0.999, 0.99], 1),  # better than the end is good enough
        ([0.9, 0.9, 0.9], 0),
        ([0.1], 0),
        ([0.5, 0.895, 0.9], 1),  # although 0.9 - 0.895 > 0.005 in floating point
    ],
)
def test_entry_by_accuracy_is_where_it_stays_within_the_budget_of_the_end(accuracy: list[float], entry: int) -> None:
    assert entry_by_accuracy(accuracy, 0.005) == entry


def test_a_turnpike_that_is_entered_late_says_for_how_long() -> None:
    found = turnpike([10.0] * 10 + [1.0, 1.0])
    assert (found.entry, found.exit) == (10, None)
    assert "late: for 1 of 11 units of time" in found.sentence
    assert "late" not in turnpike([10.0] + [1.0] * 10).sentence
