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
    assert not turnpike([10.0, 8.0, 6.0, 4.0, 0.5]).found


def test_entering_and_leaving_again_does_not_count() -> None:
    assert not turnpike([10.0, 0.5, 0.5, 0.5, 3.0]).found
    assert turnpike([10.0, 0.5, 3.0, 0.5, 0.5]).entry == 3


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
