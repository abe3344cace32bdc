"""Depth is an integer; time is looked up from it."""

from __future__ import annotations

import math

import pytest

from node_oc.discretization import DepthGrid
from node_oc.errors import ConfigError


def test_times_are_sums_of_steps() -> None:
    grid = DepthGrid((0.5, 1.0, 0.25))
    assert grid.t == (0.0, 0.5, 1.5, 1.75)
    assert (grid.depth, grid.horizon) == (3, 1.75)


def test_a_uniform_grid_is_a_residual_network_by_default() -> None:
    assert DepthGrid.uniform(4).h == (1.0,) * 4
    grid = DepthGrid.uniform(10, 0.1)
    assert grid.t[-1] == pytest.approx(grid.horizon)
    assert grid.horizon == pytest.approx(1.0)


def test_kept_steps_keep_their_own_size() -> None:
    assert DepthGrid((0.5, 1.0, 0.25)).keep([2, 0]).h == (0.25, 0.5)


def test_no_steps_is_a_grid_of_horizon_zero() -> None:
    grid = DepthGrid(())
    assert (grid.depth, grid.horizon, grid.t) == (0, 0, (0.0,))


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_step_that_is_not_positive_raises(bad: float) -> None:
    with pytest.raises(ConfigError, match="step size h_1"):
        DepthGrid((1.0, bad))
