"""Cutting a network and counting what is left."""

from __future__ import annotations

import time

import pytest
import torch
from systems import randn, stir_, zero_
from torch import nn

from node_oc.cropping import awake_steps, crop, first_steps
from node_oc.discretization import TABLEAUS, DepthGrid, Network
from node_oc.errors import ShapeError
from node_oc.measuring import measure
from node_oc.system import ConvSystem, DenseSystem

H = (0.5, 1.0, 0.25, 2.0, 1.0)


def dense(table: str = "euler", width: int = 16, **arguments: object) -> Network:
    system = DenseSystem(3, 4, depth=5, width=width, hidden=24, **arguments)
    stir_(system)
    return Network(system, DepthGrid(H), TABLEAUS[table])


@pytest.mark.parametrize("table", TABLEAUS)
@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
@pytest.mark.parametrize("batch", [1, 7, 256])
def test_dropping_exactly_zero_steps_changes_no_bit(table: str, activation: str, batch: int) -> None:
    net, x = dense(table, activation=activation), randn(batch, 3).float()
    zero_(net.system, 0, 2, 4)
    small = crop(net)
    assert (small.depth, small.grid.h) == (2, (1.0, 2.0))
    assert torch.equal(small(x), net(x))


@pytest.mark.parametrize("batch", [1, 7, 256])
def test_dropping_sleepers_changes_no_bit(batch: int) -> None:
    net, x = dense(), randn(batch, 3).float()
    zero_(net.system, 3)
    net.set_awake([1, 3, 4])
    assert awake_steps(net) == [1, 4]
    assert torch.equal(crop(net)(x), net(x))


def test_a_network_that_is_zero_throughout_loses_every_step() -> None:
    net, x = dense(), randn(7, 3).float()
    zero_(net.system, *range(5))
    assert crop(net).depth == 0
    assert torch.equal(crop(net)(x), net.system.head(net.system.lift(x)))


@pytest.mark.parametrize("depth", range(6))
def test_a_cut_at_a_depth_reads_the_state_there(depth: int) -> None:
    net, x = dense(), randn(7, 3).float()
    state = net.system.lift(x)
    for k in range(depth):
        state, _ = net.advance(k, state)
    small = crop(net, depth=depth)
    assert (small.depth, small.grid.h) == (depth, H[:depth])
    assert torch.equal(small(x), net.system.head(state))


def test_a_cut_by_steps_keeps_those_with_their_own_sizes() -> None:
    net, x = dense("rk4"), randn(7, 3).float()
    small = crop(net, steps=[1, 3])
    assert (small.grid.h, small.table.name) == ((1.0, 2.0), "rk4")
    net.set_awake([1, 3])
    assert torch.equal(small(x), net(x))


def test_a_sleeper_that_is_kept_sleeps_on() -> None:
    net = dense()
    net.set_awake([0, 2])
    assert crop(net, depth=3).awake == (0, 2)


def test_the_original_is_untouched_and_shares_nothing() -> None:
    net, x = dense(), randn(7, 3).float()
    before = net(x)
    small = crop(net, depth=3)
    with torch.no_grad():
        for p in small.parameters():
            p.fill_(0.5)
    assert torch.equal(net(x), before)
    assert (net.depth, net.awake, net.grid.h) == (5, tuple(range(5)), H)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"depth": 6}, r"depth: got 6, expected 0\.\.5"),
        ({"depth": -1}, r"depth: got -1, expected 0\.\.5"),
        ({"steps": [2, 1]}, "steps: got .2, 1., expected increasing"),
        ({"steps": [1, 1]}, "without repeats"),
        ({"steps": [1, 5]}, r"step k: got 5, expected 0\.\.4"),
        ({"steps": [-1, 0]}, r"step k: got -1"),
        ({"depth": 1, "steps": [0]}, "a depth and steps"),
    ],
)
def test_a_cut_that_makes_no_sense_raises(wrong: dict, match: str) -> None:
    with pytest.raises(ShapeError, match=match):
        crop(dense(), **wrong)


def test_parameters_and_operations_by_hand() -> None:
    net = dense(width=16)
    cut = crop(net, depth=2)
    found = measure({"deep": net, "cut": cut}, randn(2, 3).float(), batches=(1, 3), calls=3)
    for name, depth in (("deep", 5), ("cut", 2)):
        parameters = (3 * 16 + 16) + depth * (16 * 24 + 24 + 24 * 16 + 16) + (16 * 4 + 4)
        assert found[name].parameters == parameters
        assert found[name].bytes == 4 * parameters
        assert found[name].flops == 2 * (3 * 16 + depth * 2 * 16 * 24 + 16 * 4)
        assert [*found[name].latency] == [1, 3]
        assert all(0 < latency.p50 <= latency.p95 for latency in found[name].latency.values())


def test_sleeping_steps_take_no_operations_and_rk4_takes_four_times() -> None:
    nets = {"rk4": dense("rk4"), "asleep": dense()}
    nets["asleep"].set_awake([1])
    found = measure(nets, randn(1, 3).float(), batches=(1,), calls=1)
    ends, step = 2 * (3 * 16 + 16 * 4), 2 * 2 * 16 * 24
    assert found["rk4"].flops == ends + 5 * 4 * step
    assert found["asleep"].flops == ends + step


def test_measuring_leaves_the_mode_and_counts_buffers() -> None:
    module = nn.BatchNorm1d(3).train()
    found = measure({"it": module}, randn(4, 3).float(), batches=(2,), calls=1)["it"]
    assert module.training
    assert (found.parameters, found.bytes) == (6, 4 * 12 + 8)
    assert (module.running_mean == 0).all()  # it was in evaluation mode meanwhile


class SlowAtFirst(nn.Module):
    """Its first ten calls take long, as those of a compiler would."""

    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls <= 10:
            time.sleep(0.01)
        return x


def test_warm_up_is_not_timed() -> None:
    found = measure({"it": SlowAtFirst()}, randn(1, 3), batches=(1,), calls=5)["it"]
    assert found.latency[1].p50 < 10


def test_the_first_steps_of_a_network_in_stages_are_those_of_each_stage_in_turn() -> None:
    net = Network(ConvSystem((1, 6, 6), 2, channels=(2, 3, 4), blocks=(3, 1, 3)), awake=[0, 2, 3, 4, 5, 6])
    assert [first_steps(net, m) for m in range(7)] == [
        [], [4], [3, 4], [0, 3, 4], [0, 3, 4, 5], [0, 2, 3, 4, 5], [0, 2, 3, 4, 5, 6]
    ]  # fmt: skip
    flat = Network(DenseSystem(2, 2, depth=5), awake=[0, 1, 3, 4])
    assert [first_steps(flat, m) for m in range(5)] == [[], [0], [0, 1], [0, 1, 3], [0, 1, 3, 4]]
