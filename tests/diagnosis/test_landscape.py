"""Slices of the loss and the largest curvature: a quadratic in closed form, and what filter normalisation promises."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from systems import Field, randn, stir_, zero_
from torch import Tensor

import node_oc as oc
from node_oc.diagnosis import filter_normalised, largest_curvature, loss_landscape
from node_oc.diagnosis.curvature import Hessian
from node_oc.diagnosis.landscape import trained_parameters
from node_oc.discretization import Network
from node_oc.errors import ConfigError, DataError
from node_oc.plots import draw_landscapes
from node_oc.plots.landscape import landscape
from node_oc.problem import Problem
from node_oc.system import DenseSystem
from node_oc.trajectory import rollout

X, Y = randn(8, 2), torch.arange(8) % 3
DATA = [(X[:5], Y[:5]), (X[5:], Y[5:])]
PROBLEM = Problem.classification(3)


def network(seed: int = 0, activation: str = "tanh") -> Network:
    generator = torch.Generator().manual_seed(seed)
    system = DenseSystem(2, 3, depth=3, width=4, hidden=5, activation=activation, generator=generator)  # type: ignore[arg-type]
    stir_(system.double())
    return Network(system)


def quadratic() -> tuple[Network, list[tuple[Tensor, Tensor]]]:
    """x_2 = x + u_0 + u_1 in one dimension, J = (x_2 - y)^2 at the end: the Hessian in u is 2 [[1, 1], [1, 1]]."""
    return Network(Field(torch.ones_like, 2).double()), [(torch.zeros(1, 1).double(), torch.ones(1, 1).double())]


def test_a_quadratic_loss_in_closed_form() -> None:
    net, data = quadratic()  # u = (1, 1), y = 1: J = (u_0 + u_1 - 1)^2
    problem, way = Problem.regression(0.0), {"system.u.0": torch.tensor(1.0), "system.u.1": torch.tensor(0.5)}
    other = {"system.u.1": torch.tensor(-2.0)}
    line = loss_landscape(net, problem, data, radius=2.0, points=5, directions=[way])
    assert line.places == (-2.0, -1.0, 0.0, 1.0, 2.0)
    assert line.values[0] == pytest.approx([(1 + 1.5 * a) ** 2 for a in line.places], rel=1e-12)
    plane = loss_landscape(net, problem, data, dimensions=2, points=3, directions=[way, other])
    for b, row in zip(plane.places, plane.values, strict=True):
        assert row == pytest.approx([(1 + 1.5 * a - 2 * b) ** 2 for a in plane.places], rel=1e-12)
    assert line.objective == plane.objective == 1.0
    assert (line.dimensions, plane.dimensions) == (1, 2)
    assert line.rise == pytest.approx((16 + 4) / 2 - 1)
    assert "it is lower somewhere" in line.sentence
    found = largest_curvature(net, problem, data)
    assert found.value == pytest.approx(4.0, rel=1e-12)
    assert found.resolved
    assert found.parameters == 2
    assert [v.item() for v in net.system.parameters()] == [1.0, 1.0]  # not changed


def test_a_direction_has_the_norm_of_every_filter_and_the_same_shape_the_same_way() -> None:
    a, b = network(0), network(1)
    ways = [filter_normalised(net, 3) for net in (a, b)]
    assert set(ways[0]) == set(trained_parameters(a))
    for name, p in a.named_parameters():
        d, other = ways[0][name], ways[1][name]
        if p.dim() < 2:
            assert not d.any()
            continue
        torch.testing.assert_close(d.norm(dim=1), p.norm(dim=1))
        cosine = torch.nn.functional.cosine_similarity(d, other, dim=1)
        torch.testing.assert_close(cosine, torch.ones_like(cosine))
    assert not torch.equal(
        filter_normalised(a, 4)["system.steps.0.inner.weight"], ways[0]["system.steps.0.inner.weight"]
    )
    assert not torch.equal(filter_normalised(a, 3, 1)["system.reading.weight"], ways[0]["system.reading.weight"])


def test_what_sleeps_is_not_moved() -> None:
    net = network()
    zero_(net.system, 1)
    net.set_awake([0, 2])
    assert not any("steps.1." in name for name in filter_normalised(net, 0))


def test_rescaling_a_relu_branch_changes_no_slice() -> None:
    """Inner weights and bias times c, outer weights over c: the same function, the same landscape; not so without."""
    net = network(activation="relu")
    scaled = copy.deepcopy(net)
    with torch.no_grad():
        for step, c in zip(scaled.system.steps, (3.0, 0.2, 7.0), strict=True):  # type: ignore[arg-type]
            step.inner.weight.mul_(c)
            step.inner.bias.mul_(c)
            step.outer.weight.div_(c)
    slices = [loss_landscape(one, PROBLEM, DATA, dimensions=2, points=3, seed=1) for one in (net, scaled)]
    for one, other in zip(slices[0].values, slices[1].values, strict=True):
        assert other == pytest.approx(one, rel=1e-11)
    raw = [{name: randn(*p.shape) * 0.3 for name, p in net.named_parameters()}]
    lines = [loss_landscape(one, PROBLEM, DATA, points=3, directions=raw) for one in (net, scaled)]
    assert lines[1].values[0][0] != pytest.approx(lines[0].values[0][0], rel=1e-2)


def test_the_middle_is_the_network_and_batches_count_with_their_samples() -> None:
    net = network()
    line = loss_landscape(net, PROBLEM, DATA, points=3)
    with torch.no_grad():
        assert line.objective == pytest.approx(float(PROBLEM.evaluate(rollout(net, X), Y).smooth), rel=1e-12)
    whole = loss_landscape(net, PROBLEM, [(X, Y)], points=3)
    assert line.values[0] == pytest.approx(whole.values[0], rel=1e-12)


def test_the_largest_eigenvalue_of_a_hessian_that_is_known_in_full() -> None:
    net = Network(DenseSystem(2, 3, depth=2, width=3, hidden=3).double())
    hessian = Hessian(net, PROBLEM, DATA)
    full = torch.stack([hessian @ row for row in torch.eye(hessian.size, dtype=torch.float64)])
    torch.testing.assert_close(full, full.T, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(Hessian(net, PROBLEM, [(X, Y)]) @ full[0], hessian @ full[0])
    values = torch.linalg.eigvalsh(full)
    found = largest_curvature(net, PROBLEM, DATA, tolerance=1e-8)
    assert found.value == pytest.approx(float(values[-1]), rel=1e-10)
    assert found.resolved
    early = largest_curvature(net, PROBLEM, DATA, tolerance=1e-8, products=3)
    assert not early.resolved
    assert "not resolved" in early.sentence
    assert min(abs(float(value) - early.value) for value in values) <= early.residual * (1 + 1e-9)
    assert largest_curvature(net, PROBLEM, DATA) == largest_curvature(net, PROBLEM, DATA)


def test_bad_input() -> None:
    net = network()
    for bad in ({"dimensions": 3}, {"points": 4}, {"radius": 0.0}, {"directions": []}):
        with pytest.raises(ConfigError, match=next(iter(bad))):
            loss_landscape(net, PROBLEM, DATA, **bad)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no samples"):
        loss_landscape(net, PROBLEM, [])
    with pytest.raises(DataError, match="0 samples"):
        largest_curvature(net, PROBLEM, [])
    with pytest.raises(ConfigError, match="products"):
        largest_curvature(net, PROBLEM, DATA, products=0)


def test_the_pictures_are_drawn_from_a_record_alone(tmp_path: Path) -> None:
    def record(dimensions: int) -> dict[str, object]:
        rows = []
        for name, seed in (("plain", 0), ("branch_dropout", 1), ("plain", 2)):
            made = loss_landscape(network(seed), PROBLEM, DATA, dimensions=dimensions, points=5)
            rows.append({"name": name, "curvature": 3.5, **made.record()})
        rows[0]["curvature"] = None
        return json.loads(json.dumps({"landscapes": rows, "title": "digits"}))  # type: ignore[no-any-return]

    line = landscape(record(1))
    (axes,) = line.axes
    drawn = [one for one in axes.lines if str(one.get_gid()).startswith("slice")]
    assert len(drawn) == 3
    assert drawn[0].get_color() == drawn[2].get_color() != drawn[1].get_color()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [  # type: ignore[union-attr]
        "plain, largest eigenvalue 3.5", "branch_dropout, largest eigenvalue 3.5",
    ]  # fmt: skip
    plane = landscape(record(2))
    assert len(plane.axes) == 4  # three networks and one scale for all
    assert len({ax.get_xlim() for ax in plane.axes[:3]}) == 1
    draw_landscapes(record(2), tmp_path / "plane.png")
    assert (tmp_path / "plane.png").stat().st_size > 1000
    with pytest.raises(ConfigError, match="no slices"):
        landscape({})
    with pytest.raises(ConfigError, match="slices of 1 and of 2 dimensions"):
        landscape({"landscapes": [*record(1)["landscapes"], *record(2)["landscapes"]]})  # type: ignore[misc]
    assert oc.loss_landscape is loss_landscape
