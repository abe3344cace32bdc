"""The convolutional system: stages, projections that stay, rows, what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from systems import randn, stir_
from torch.nn import functional as F

from node_oc.config import Config
from node_oc.discretization import Network
from node_oc.errors import ConfigError, ShapeError
from node_oc.system import ConvSystem, make_system
from node_oc.system.build import spread
from node_oc.trajectory import rollout


def conv(blocks: tuple[int, ...] = (2, 1, 2), **options: object) -> ConvSystem:
    system = ConvSystem((2, 8, 8), 3, channels=(3, 4, 5), blocks=blocks, **options).double()  # type: ignore[arg-type]
    stir_(system)
    return system


X = randn(4, 128)


def test_shapes_of_the_states() -> None:
    shapes = [tuple(x.shape[1:]) for x in rollout(Network(conv()), X).states]
    assert shapes == [(3, 8, 8)] * 3 + [(4, 4, 4)] + [(5, 2, 2)] * 2


@pytest.mark.parametrize("steps", [(), (0,), (4,), (1, 3), (2,), (0, 1, 2, 3, 4)])
def test_any_block_can_be_dropped_and_the_projections_stay(steps: tuple[int, ...]) -> None:
    full = Network(conv())
    small = full.keep(steps)
    full.set_awake(steps)
    assert torch.equal(small(X), full(X))
    assert ["projections" in n for n, _ in small.named_parameters()].count(True) == 4


def test_a_readout_goes_through_the_remaining_projections_alone() -> None:
    net = Network(conv())
    x = rollout(net, X).states[1]
    for projection in net.system.projections:  # type: ignore[union-attr]
        x = projection(F.avg_pool2d(x, 2))
    want = net.system.reading(torch.relu(x).mean((2, 3)))  # type: ignore[operator]
    torch.testing.assert_close(net.system.readout(rollout(net, X).states[1], 1), want, rtol=1e-13, atol=1e-13)


def test_the_head_projects_where_the_last_stages_are_empty() -> None:
    system = conv((1, 0, 0))
    assert system.head(randn(4, 3, 8, 8)).shape == (4, 3)
    assert torch.equal(Network(conv((0, 0, 0)))(X), conv((0, 0, 0)).head(conv((0, 0, 0)).lift(X)))


def test_rows_are_held_over_all_their_entries_until_released() -> None:
    system = conv(row_norm=2.0)
    system.constrain_()
    for k in range(system.depth):
        torch.testing.assert_close(
            system.control(k)[0].flatten(1).norm(dim=1), torch.full((len(system.control(k)[0]),), 2.0).double()
        )
    system.release_()
    stir_(system)
    before = system.control(0)[0].clone()
    system.constrain_()
    assert torch.equal(before, system.control(0)[0])
    assert system.spec()["row_norm"] == 0


def test_an_odd_image_keeps_its_last_row_and_column() -> None:
    system = ConvSystem((1, 7, 5), 2, channels=(2, 3), blocks=(0, 1)).double()
    assert system.skip(0, system.lift(randn(4, 35))).shape == (4, 3, 4, 3)


def test_states_are_channels_last() -> None:
    for x in rollout(Network(conv()), X).states:
        assert x.is_contiguous(memory_format=torch.channels_last)


def test_one_stage_of_sixteen_channels_is_not() -> None:
    """Faster there, by measurement; the numbers are the same."""
    net = Network(ConvSystem((1, 5, 5), 3, channels=(16,), blocks=(2,)))
    state = rollout(net, torch.randn(4, 25)).states[1]
    assert state.is_contiguous()
    assert not state.is_contiguous(memory_format=torch.channels_last)


def test_a_state_distance_is_refused() -> None:
    with pytest.raises(ShapeError, match="logit distance or the excess"):
        conv().affine_readout()


@pytest.mark.parametrize(("depth", "want"), [(0, (0, 0, 0)), (1, (0, 0, 1)), (5, (1, 2, 2)), (18, (6, 6, 6))])
def test_depth_is_spread_evenly_the_rest_to_the_last_stages(depth: int, want: tuple[int, ...]) -> None:
    assert spread(depth, 3) == want


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"image": (8, 8)}, "channels, rows, columns"),
        ({"image": (0, 8, 8)}, "channels, rows, columns"),
        ({"channels": (3,), "blocks": (1, 1)}, "one number of blocks"),
        ({"channels": (), "blocks": ()}, "one number of blocks"),
        ({"blocks": (1, -1, 1)}, "one number of blocks"),
        ({"row_norm": math.nan}, "row_norm"),
        ({"activation": "sin"}, "'sin'"),
    ],
)
def test_sizes_that_make_no_sense(arguments: dict[str, object], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        ConvSystem(**{"image": (1, 8, 8), "outputs": 3, **arguments})  # type: ignore[arg-type]


def made(features: int, **settings: object) -> ConvSystem:
    section = Config.load(overrides={"system": {"kind": "conv", **settings}}).system
    system = make_system(section, features, 3, 6, torch.Generator().manual_seed(0))
    assert isinstance(system, ConvSystem)
    return system


def test_a_configuration_gives_a_grey_square_or_the_image_that_it_names() -> None:
    assert made(784).image == (1, 28, 28)
    assert made(48, image=[3, 4, 4]).image == (3, 4, 4)
    with pytest.raises(ShapeError, match=r"\[1, 3, 3\] for 10 features"):
        made(10)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"kind": "conv", "width": 64}, "system.width"),
        ({"kind": "conv", "head": "coordinates"}, "system.head"),
        ({"kind": "dense", "channels": [4]}, "system.channels"),
        ({"kind": "dense", "image": [1, 2, 2]}, "system.image"),
        ({"kind": "conv", "table": "rk4"}, "system.table"),
        ({"kind": "conv", "channels": []}, "system.channels"),
    ],
)
def test_a_key_without_meaning_is_refused(settings: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        Config.load(overrides={"system": settings})


def test_several_stages_of_a_table_fit_a_system_of_one_width() -> None:
    assert Config.load(overrides={"system": {"kind": "conv", "channels": [4], "table": "rk4"}}).system.table == "rk4"


def test_a_branch_is_two_convolutions_after_their_activation() -> None:
    system = conv()
    inner_w, inner_b, outer_w, outer_b = system.control(3)
    x = randn(4, 4, 4, 4)
    z = system.projections[1](F.avg_pool2d(x, 2))
    want = F.conv2d(torch.relu(F.conv2d(torch.relu(z), inner_w, inner_b, padding=1)), outer_w, outer_b, padding=1)
    torch.testing.assert_close(system.branch(3, x), want, rtol=1e-13, atol=1e-13)
