"""A network: a system on a grid, some of its steps awake."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from systems import Field, Projecting, decay, randn, stir_, zero_

from node_oc.discretization import EULER, HEUN, MIDPOINT, RK4, DepthGrid, Network, Tableau, step
from node_oc.errors import ShapeError, StoreError
from node_oc.system import DenseSystem

X = randn(5, 2).float()


def projecting() -> Projecting:
    return Projecting((2, 2, 3), 2, torch.Generator().manual_seed(0))


def test_euler_is_the_residual_network() -> None:
    system = DenseSystem(2, 3, depth=2, width=4, hidden=5)
    stir_(system)
    x = system.lift(X)
    for k, h in enumerate((0.5, 2.0)):
        x = x + h * system.branch(k, x)
    torch.testing.assert_close(Network(system, DepthGrid((0.5, 2.0)))(X), system.head(x))


def test_a_residual_network_has_unit_steps_all_awake() -> None:
    net = Network(DenseSystem(2, 3, depth=4))
    assert (net.grid.h, net.table, net.awake) == ((1.0,) * 4, EULER, (0, 1, 2, 3))


@pytest.mark.parametrize("table", [MIDPOINT, HEUN, RK4], ids=lambda table: table.name)
def test_several_stages_need_an_identity_skip(table: Tableau) -> None:
    system = projecting()
    after, _ = step(system, table, 0, X, 1.0)
    assert after.shape == (5, 2)
    with pytest.raises(ShapeError, match=f"step 1 with table {table.name}"):
        step(system, table, 1, X, 1.0)


def test_a_sleeping_step_that_projects_is_allowed_with_every_table() -> None:
    system = projecting()
    net = Network(system, table=RK4, awake=[0])
    x, _ = step(system, RK4, 0, X, 1.0)
    torch.testing.assert_close(net(X), system.head(system.skip(1, x)))


def test_awake_steps_are_a_set() -> None:
    net = Network(DenseSystem(2, 2, depth=4), awake=[3, 1, 3])
    assert net.awake == (1, 3)
    net.set_awake([])
    assert torch.equal(net(X), net.system.head(net.system.lift(X)))


@pytest.mark.parametrize("steps", [[4], [-1], [0, 9]])
def test_an_awake_step_that_does_not_exist_raises_and_changes_nothing(steps: list[int]) -> None:
    net = Network(DenseSystem(2, 2, depth=4), awake=[1])
    with pytest.raises(ShapeError, match=r"expected 0\.\.3"):
        net.set_awake(steps)
    assert net.awake == (1,)


def test_a_grid_of_another_depth_raises() -> None:
    with pytest.raises(ShapeError, match="depth of the grid: got 3, expected 4"):
        Network(DenseSystem(2, 2, depth=4), DepthGrid.uniform(3))


def test_zero_steps_are_exactly_zero() -> None:
    net = Network(DenseSystem(2, 2, depth=5))
    zero_(net.system, 1, 3)
    assert net.zero_steps() == (1, 3)
    with torch.no_grad():
        net.system.group(1)[1][0] = 1e-45  # the smallest float there is
    assert net.zero_steps() == (3,)


def test_smaller_steps_come_nearer_to_the_solution() -> None:
    x = torch.ones(1, 1, dtype=torch.float64)
    ends = [Network(decay(n), DepthGrid.uniform(n, 1 / n))(x).item() for n in (1, 2, 4)]
    assert ends == pytest.approx([0.0, 0.25, 0.75**4])


@pytest.mark.parametrize(
    "damage",
    [
        lambda spec: spec.pop("h"),
        lambda spec: spec.pop("system"),
        lambda spec: spec.update(table="rk5"),
        lambda spec: spec["system"].update(kind="quantum"),
        lambda spec: spec["system"].update(colour="blue"),
        lambda spec: spec["system"].pop("features"),
        lambda spec: spec.update(system=None),
    ],
)
def test_a_damaged_description_raises(damage: Callable[[dict], object]) -> None:
    spec = Network(DenseSystem(2, 2, depth=3)).spec()
    damage(spec)
    with pytest.raises(StoreError, match="description of a network"):
        Network.from_spec(spec)


def test_a_description_does_not_follow_later_changes() -> None:
    net = Network(DenseSystem(2, 2, depth=3))
    spec = net.spec()
    net.set_awake([0])
    net.system.release_()
    assert spec["awake"] == [0, 1, 2]
    assert spec["system"]["row_norm"] == 1.0


def test_the_control_is_held_over_the_step() -> None:
    """Every stage of step k uses u_k, so a field with u_k = 0 stands still and its neighbours do not."""
    system = Field(torch.cos, 3)
    zero_(system, 1)
    net = Network(system, table=RK4)
    x = net.system.lift(X[:, :1])
    states = [x]
    for k in range(3):
        states.append(net.advance(k, states[-1])[0])
    assert torch.equal(states[2], states[1])
    assert not torch.equal(states[1], states[0])
