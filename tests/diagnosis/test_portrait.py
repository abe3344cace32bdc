"""The phase portrait in numbers: fields, planes and minimiser sets with known answers; every kind of system."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from cases import FEATURES, OUTPUTS, SYSTEMS, network
from systems import Field, Projecting, randn, stir_
from torch import Tensor

from node_oc.data.split import Part
from node_oc.diagnosis.plane import principal_plane
from node_oc.diagnosis.portrait import PANELS, TRACED, Portrait, no_portrait, portrait
from node_oc.discretization import RK4, DepthGrid, Network
from node_oc.errors import ShapeError
from node_oc.problem import CrossEntropy, Problem, SoftCrossEntropy, SquaredError
from node_oc.system import ConvSystem, DenseSystem
from node_oc.trajectory.rollout import rollout


def part(features: int, classes: int = 2, n: int = 60) -> Part:
    return Part(randn(n, features), torch.arange(n) % classes)


def problem(classes: int = 2, eps: float = 0.05) -> Problem:
    cost = SoftCrossEntropy(classes, eps)
    return Problem(cost, cost)


def dense(classes: int, width: int, depth: int = 3, **options: object) -> Network:
    system = DenseSystem(2, classes, depth=depth, width=width, hidden=7, **options).double()  # type: ignore[arg-type]
    stir_(system)
    return Network(system, DepthGrid.uniform(depth, 0.5))


def spots(found: Portrait) -> Tensor:
    """Where the arrows stand, (side * side, 2), row by row from below."""
    rows = [[x, y] for y in np.linspace(*found.y, found.side) for x in np.linspace(*found.x, found.side)]
    return torch.tensor(rows, dtype=torch.float64)


# -- two entries -----------------------------------------------------------------------------------------------


def turning(x: Tensor) -> Tensor:
    return torch.stack([-x[..., 1] - 0.2 * x[..., 0], 2 * x[..., 0]], -1)


def test_two_entries_are_shown_as_they_are() -> None:
    system = Field(turning, 3, size=2).double()
    with torch.no_grad():
        for k in range(3):
            system.u[k].fill_(1.0 - 0.4 * k)
    net, data = Network(system, DepthGrid((0.5, 0.25, 1.0)), RK4), part(2)
    found = portrait(net, problem(), data)
    assert (found.plane, found.share, found.layers, found.t) == ("state", 1.0, (0, 1, 2), (0.0, 0.5, 0.75))
    assert not found.constant
    assert not found.units
    for k, arrows in zip(found.layers, found.arrows, strict=True):
        expected = (1.0 - 0.4 * k) * turning(spots(found))
        torch.testing.assert_close(torch.tensor(arrows, dtype=torch.float64), expected, rtol=1e-4, atol=1e-9)
    states = torch.stack(rollout(net, data.x).states).transpose(0, 1).detach()
    torch.testing.assert_close(torch.tensor(found.paths, dtype=torch.float64), states[:TRACED], rtol=1e-4, atol=0)
    assert found.labels == [0, 1] * (TRACED // 2)
    assert np.isfinite(np.array(found.paths)).all()
    low, high = states[:TRACED].amin((0, 1)), states[:TRACED].amax((0, 1))
    assert found.x[0] < float(low[0])
    assert found.x[1] > float(high[0])
    assert found.y[0] < float(low[1])
    assert found.y[1] > float(high[1])
    assert json.loads(json.dumps(found.record()))["side"] == found.side


def test_the_same_field_in_every_step_is_shown_once() -> None:
    same = Field(turning, 4, size=2).double()
    found = portrait(Network(same), problem(), part(2))
    assert (found.constant, found.layers, len(found.arrows), found.units) == (True, (0,), 1, True)
    with torch.no_grad():
        same.u[2].fill_(0.999)
    assert not portrait(Network(same), problem(), part(2)).constant


def test_the_sets_of_two_classes_are_the_lines_of_their_gap() -> None:
    eps = 0.05
    net = Network(Field(turning, 2, size=2).double())  # the readout is the state
    for each, sign in zip(portrait(net, problem(eps=eps), part(2)).sets, (1, -1), strict=True):
        lead = each.point[0] - each.point[1]
        assert lead == pytest.approx(sign * math.log((1 - eps) / eps), rel=1e-4)
        assert each.direction == pytest.approx((math.sqrt(0.5), math.sqrt(0.5)), rel=1e-4)
    assert portrait(net, Problem(CrossEntropy(), CrossEntropy()), part(2)).sets == ()


# -- more entries ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_sets_lie_where_projected_states_do(classes: int) -> None:
    net, data, task = dense(classes, 6), part(2, classes), problem(classes)
    found = portrait(net, task, data)
    states = torch.stack(rollout(net, data.x).states).flatten(0, 1)
    origin, basis, share = principal_plane(net, states, True)
    torch.testing.assert_close(basis.T @ basis, torch.eye(2, dtype=torch.float64))
    assert found.share == pytest.approx(share)
    assert 0 < share < 1
    cost, read = task.stage, net.system.affine_readout()
    assert isinstance(cost, SoftCrossEntropy)
    for each in found.sets:
        on = (cost.project(states, torch.full((len(states),), each.label), read) - origin) @ basis  # points of X*_c
        off = on - torch.tensor(each.point, dtype=torch.float64)
        if each.direction is not None:
            along = torch.tensor(each.direction, dtype=torch.float64)
            off = off - (off @ along)[:, None] * along
        assert float(off.detach().abs().max()) < 1e-3
    assert {each.direction is None for each in found.sets} == {classes > 2}
    assert len(found.sets) == classes


def test_arrows_are_the_field_at_the_slice_through_the_mean_state_projected() -> None:
    net, data = dense(3, 5), part(2, 3)
    found = portrait(net, problem(3), data)
    states = torch.stack(rollout(net, data.x).states)
    origin, basis, _ = principal_plane(net, states.flatten(0, 1), True)
    assert found.plane == "readout"
    for k, arrows in zip(found.layers, found.arrows, strict=True):
        middle = states[k].mean(0)
        on_slice = origin + spots(found) @ basis.T
        on_slice = on_slice + (middle - on_slice) - (middle - on_slice) @ basis @ basis.T
        torch.testing.assert_close((on_slice - origin) @ basis, spots(found))
        torch.testing.assert_close(
            (on_slice - middle - (on_slice - middle) @ basis @ basis.T).norm(), middle.new_zeros(())
        )
        expected = net.system.branch(k, on_slice) @ basis
        torch.testing.assert_close(torch.tensor(arrows, dtype=torch.float64), expected, rtol=1e-3, atol=1e-4)
    paths = (states - origin) @ basis
    kept = torch.tensor(found.paths, dtype=torch.float64)
    torch.testing.assert_close(kept, paths[:, :TRACED].transpose(0, 1), rtol=1e-3, atol=1e-4)


def test_the_plane_is_what_the_readout_sees_and_where_states_spread_most() -> None:
    net = dense(2, 4, head="coordinates", lift="pad")  # sees x_1 - x_0 alone
    states = randn(500, 4) * torch.tensor([0.1, 0.1, 1.0, 5.0], dtype=torch.float64)
    _, basis, share = principal_plane(net, states, True)
    seen = torch.tensor([1.0, -1.0, 0.0, 0.0], dtype=torch.float64) / math.sqrt(2)
    assert abs(float(basis[:, 0] @ seen)) == pytest.approx(1, abs=1e-12)
    assert abs(float(basis[3, 1])) == pytest.approx(1, abs=0.01)
    assert share == pytest.approx(25 / 26, abs=0.02)
    third = torch.eye(4, dtype=torch.float64)[2]  # second to what the readout sees, in which they spread most
    _, basis, share = principal_plane(net, 9 * randn(500, 1) * seen + 2 * randn(500, 1, seed=1) * third, True)
    assert abs(float(basis[:, 0] @ seen)) == pytest.approx(1, abs=1e-12)
    assert abs(float(basis[2, 1])) == pytest.approx(1, abs=1e-12)
    assert share == pytest.approx(1)
    _, of_regression, _ = principal_plane(net, states, False)  # both coordinates are seen
    assert float(of_regression[2:].abs().max()) < 1e-12


def test_regression_has_no_classes_and_no_sets() -> None:
    net = dense(2, 3)
    found = portrait(net, Problem(SquaredError(), SquaredError()), Part(randn(9, 2), randn(9, 2)))
    assert (found.labels, found.sets, len(found.paths)) == ([], (), 9)


def test_a_readout_of_too_low_a_rank_has_no_sets() -> None:
    assert portrait(dense(4, 2), problem(4), part(2, 4)).sets == ()


def test_states_that_spread_one_way_get_axes_of_their_own() -> None:
    wide = Part(randn(40, 2) * torch.tensor([1.0, 100.0], dtype=torch.float64), torch.arange(40) % 2)
    net = Network(Field(torch.zeros_like, 1, size=2).double())
    found = portrait(net, problem(), wide)
    assert found.y[1] - found.y[0] > 5 * (found.x[1] - found.x[0])
    found = portrait(net, problem(), part(2))
    assert found.y[1] - found.y[0] == pytest.approx(found.x[1] - found.x[0])
    assert set(np.array(found.arrows).ravel()) == {0.0}


def test_of_a_deep_network_some_layers_are_shown() -> None:
    net = dense(2, 2, depth=40)
    assert portrait(net, problem(), part(2)).layers == (0, 1, 3, 8, 18, 39)
    net.set_awake([2, 5, 7])
    assert portrait(net, problem(), part(2)).layers == (2, 5, 7)


def test_classes_have_as_many_samples_each() -> None:
    data = Part(randn(100, 2), torch.tensor([0] * 90 + [1] * 10))
    labels = portrait(dense(2, 2), problem(), data).labels
    assert (labels.count(0), labels.count(1)) == (14, 10)


# -- every kind of system --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_has_a_portrait_or_a_reason(name: str) -> None:
    net = network(name)
    data = Part(randn(12, FEATURES), torch.arange(12) % OUTPUTS)
    if why := no_portrait(net, data):
        assert why.endswith(".")
        assert ("maps" in why) == ("conv" in name)
        with pytest.raises(ShapeError, match="phase portrait"):
            portrait(net, problem(OUTPUTS), data)
        return
    before = {key: value.clone() for key, value in net.state_dict().items()}
    found = portrait(net, problem(OUTPUTS), data)
    assert len(found.layers) <= PANELS
    assert np.isfinite(np.array(found.arrows)).all()
    assert np.array(found.paths).shape == (12, net.depth + 1, 2)
    json.dumps(found.record())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert found.constant == (name in ("ode-constant", "adopted-shared-loop"))


def test_why_there_is_none() -> None:
    conv = Network(ConvSystem((1, 4, 4), 2, channels=(2,), blocks=(2,)))
    assert "maps" in no_portrait(conv, part(16))
    assert "one entry" in no_portrait(Network(Field(torch.sin, 2).double()), Part(randn(3, 1), torch.zeros(3).long()))
    asleep = dense(2, 3)
    asleep.set_awake([])
    assert "awake" in no_portrait(asleep, part(2))
    assert "skips" in no_portrait(Network(Projecting([2, 3, 2], 2, torch.Generator()).double()), part(2))
    assert no_portrait(dense(2, 3), part(2)) == ""


def test_where_the_readout_is_not_affine_the_states_choose_the_plane() -> None:
    class Bent(DenseSystem):
        def head(self, x: Tensor) -> Tensor:
            return torch.tanh(super().head(x))

        def affine_readout(self) -> tuple[Tensor, Tensor]:
            raise ShapeError("readout", got="a bent one", expected="an affine readout", do="Use the logit distance.")

    net = Network(Bent(2, 2, depth=2, width=4, hidden=3).double())
    found = portrait(net, problem(), part(2))
    assert (found.plane, found.sets) == ("states", ())
    states = torch.stack(rollout(net, part(2).x).states).flatten(0, 1).detach()
    sizes = torch.linalg.svdvals(states - states.mean(0)).square()
    assert found.share == pytest.approx(float(sizes[:2].sum() / sizes.sum()))
