"""Where there is room for layers, what sleeps and wakes, and windows in which twins see the same batches."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from systems import randn, stir_
from torch import Tensor

from node_oc import store
from node_oc.config import TrainingSection
from node_oc.cropping import deepen
from node_oc.data import Part, spirals
from node_oc.discretization import RK4, DepthGrid, Network
from node_oc.errors import ShapeError, StoreError
from node_oc.problem import Problem
from node_oc.system import ConvSystem, DenseSystem
from node_oc.training.checkpoint import CHECKPOINT
from node_oc.training.growing import (
    AVERAGED,
    CHUNKS,
    LOOKED,
    check_zero_branch,
    in_turns,
    keeping,
    looking,
    room,
    waking,
    window,
)
from node_oc.training.loop import Plan, fit
from node_oc.trajectory import rollout

OPTIONS = TrainingSection(batch=32, checkpoint_seconds=0.0)
PART = spirals(train=256, val=4, test=4).train
PROBLEM = Problem.classification(2)
H = (0.5, 1.0, 0.25, 2.0, 1.0, 0.5)


def dense(depth: int = 6, seed: int = 0) -> Network:
    system = DenseSystem(2, 2, depth=depth, width=6, hidden=8, generator=torch.Generator().manual_seed(seed))
    stir_(system, seed=seed)
    system.constrain_()
    return Network(system, DepthGrid(H[:depth]))


def conv(blocks: tuple[int, ...] = (2, 2, 2), seed: int = 0) -> Network:
    generator = torch.Generator().manual_seed(seed)
    system = ConvSystem((1, 8, 8), 3, channels=(2, 3, 4)[: len(blocks)], blocks=blocks, generator=generator)
    stir_(system, seed=seed)
    system.constrain_()
    return Network(system, DepthGrid(H[: sum(blocks)]))


Make = Callable[..., Network]
NETWORKS = pytest.mark.parametrize("make", [dense, conv])
INPUTS: dict[Make, Tensor] = {dense: randn(7, 2).float(), conv: randn(7, 64).float()}


def state(net: Network) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in net.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# Room.


@pytest.mark.parametrize(
    ("awake", "runs"),
    [
        ((), [[0, 1, 2, 3, 4, 5]]),
        ((0, 1), [[2, 3, 4, 5]]),
        ((5,), [[0, 1, 2, 3, 4]]),
        ((1, 4), [[0], [2, 3], [5]]),
        (range(6), []),
    ],
)
def test_a_dense_network_has_a_run_for_each_gap(awake: Sequence[int], runs: list[list[int]]) -> None:
    assert room(keeping(dense(), awake)) == runs


@pytest.mark.parametrize(
    ("awake", "runs"),
    [
        ((), [[0, 1], [2, 3], [4, 5]]),
        ((0, 2, 4), [[1], [3], [5]]),
        ((1, 3, 5), [[0], [2], [4]]),
        ((2, 3), [[0, 1], [4, 5]]),
        ((0, 5), [[1], [2, 3], [4]]),
        ((0, 1, 3), [[2], [4, 5]]),
        (range(6), []),
    ],
)
def test_a_convolutional_network_has_a_run_for_each_stage_that_has_room(
    awake: Sequence[int], runs: list[list[int]]
) -> None:
    assert room(keeping(conv(), awake)) == runs


def test_stages_without_steps_divide_runs_too() -> None:
    assert room(keeping(conv((0, 2, 1)), ())) == [[0, 1], [2]]
    assert room(keeping(conv((2, 0, 2)), (0,))) == [[1], [2, 3]]


def test_every_gap_that_was_inserted_is_a_run() -> None:
    assert room(deepen(dense(3), 7)) == [[0], [2], [4], [6]]
    assert room(deepen(dense(3), 9)) == [[0], [2], [4, 5], [7, 8]]
    assert room(deepen(conv((1, 1, 1)), 7)) == [[0], [2], [4], [6]]
    assert room(deepen(conv((1, 1, 1)), 5)) == [[2], [4]]  # the later gaps first


@NETWORKS
def test_a_layer_does_the_same_at_two_neighbours_of_a_run(make: Make) -> None:
    """Woken with the same weights at k or at k + 1: both sleep, and no skip between them changes the state."""
    for awake in [(), (0,), (3,), (0, 5), (1, 2)]:
        net, x = keeping(make(), awake), INPUTS[make]
        net.grid = DepthGrid.uniform(6)
        runs = room(net)
        assert sorted(itertools.chain(*runs)) == sorted(set(range(6)) - set(awake))
        for run in runs:
            for k, after in itertools.pairwise(run):
                born = make(seed=1)
                for p, q in zip(born.system.control(after), born.system.control(k), strict=True):
                    p.data.copy_(q.data)
                woken = waking(net, (k,), born)(x)
                assert torch.equal(woken, waking(net, (after,), born)(x))
                assert not torch.equal(woken, net(x))


def test_turns_take_one_of_each_run() -> None:
    runs = [[0, 1], [2], [3, 4, 5]]
    assert [in_turns(runs, count) for count in (0, 1, 4)] == [[], [0], [0, 2, 3, 1]]
    assert in_turns(runs, 6) == in_turns(runs, 99) == [0, 2, 3, 1, 4, 5]
    assert in_turns([], 3) == in_turns([[]], 3) == []


# What sleeps and what wakes.


@NETWORKS
@pytest.mark.parametrize("steps", [(), (0,), (1, 4), (5, 2, 3), range(6)])
def test_keeping_some_steps_is_dropping_the_others_to_the_bit(make: Make, steps: Sequence[int]) -> None:
    net, x = make(), INPUTS[make]
    before = state(net)
    small = keeping(net, iter(steps))
    assert small.awake == tuple(sorted(steps))
    assert small.zero_steps() == tuple(sorted(set(range(6)) - set(steps)))
    assert net.awake == tuple(range(6))
    assert same(state(net), before)
    assert torch.equal(small(x), net.keep(sorted(steps))(x))
    net.set_awake(steps)
    assert torch.equal(small(x), net(x))


@NETWORKS
def test_keeping_leaves_inner_weights_and_what_is_awake_alone(make: Make) -> None:
    net = make()
    small = keeping(net, (1, 3))
    zeroed = {id(p) for k in (0, 2, 4, 5) for p in small.system.group(k)}
    for p, q in zip(small.parameters(), net.parameters(), strict=True):
        assert p is not q
        assert id(p) in zeroed or torch.equal(p, q)


@NETWORKS
def test_a_step_that_slept_while_it_was_not_zero_is_zero_afterwards(make: Make) -> None:
    net = make()
    net.set_awake([0, 1])
    assert keeping(net, (1, 2)).zero_steps() == (0, 3, 4, 5)


@NETWORKS
def test_waking_restores_the_controls_of_birth(make: Make) -> None:
    born, grown = make(), keeping(make(seed=1), (0, 3))
    before, at_birth = state(grown), state(born)
    deeper = waking(grown, (5, 1), born)
    assert deeper.awake == (0, 1, 3, 5)
    assert deeper.zero_steps() == (2, 4)
    assert waking(grown, iter((5, 1)), born).awake == (0, 1, 3, 5)  # read once
    for k in range(6):
        origin = born if k in (1, 5) else grown
        for p, q in zip(deeper.system.control(k), origin.system.control(k), strict=True):
            assert torch.equal(p, q)
    with torch.no_grad():
        for p in deeper.parameters():
            p.add_(1)
    assert grown.awake == (0, 3)
    assert same(state(grown), before)
    assert same(state(born), at_birth)


@NETWORKS
def test_what_woke_sleeps_again_to_the_bit(make: Make) -> None:
    grown, x = keeping(make(seed=1), (0, 3)), INPUTS[make]
    deeper = waking(grown, (1, 5), make())
    assert not torch.equal(deeper(x), grown(x))
    assert torch.equal(keeping(deeper, (0, 3))(x), grown(x))


class Leaky(DenseSystem):
    """A branch that is not zero where its group is, from step 2 on: a residual that its group does not scale."""

    def branch(self, k: int, x: Tensor) -> Tensor:
        return super().branch(k, x) + (1e-3 * x if k >= 2 else 0)


@NETWORKS
@pytest.mark.parametrize("awake", [(), (0, 3), range(6)])
def test_a_zero_group_makes_a_zero_branch(make: Make, awake: Sequence[int]) -> None:
    net = keeping(make(), awake)
    before = state(net)
    check_zero_branch(net, INPUTS[make])
    check_zero_branch(net.double(), INPUTS[make])  # the samples follow the network
    assert same(state(net.float()), before)


def test_a_branch_that_is_not_nothing_cannot_sleep() -> None:
    net = Network(Leaky(2, 2, depth=4, width=6, hidden=8))
    check_zero_branch(net, INPUTS[dense])  # nothing sleeps
    check_zero_branch(keeping(net, (2, 3)), INPUTS[dense])
    with pytest.raises(ShapeError, match=r"branch of step 3 with a zero group.*search\.way=cut"):
        check_zero_branch(keeping(net, (1, 2)), INPUTS[dense])
    with pytest.raises(ShapeError, match="branch of step 2"):
        check_zero_branch(keeping(net, ()), INPUTS[dense])


def test_a_sleeper_whose_group_is_not_zero_is_noticed() -> None:
    net = dense()
    net.set_awake([0, 1, 2, 4, 5])
    with pytest.raises(ShapeError, match="branch of step 3"):
        check_zero_branch(net, INPUTS[dense])


# Samples for a look.


def numbered(samples: int) -> Part:
    place = torch.arange(samples)
    return Part(torch.stack([place, -place], 1).float(), place)


@pytest.mark.parametrize("samples", [8, 103, 5003, 20_000])
def test_chunks_are_disjoint_equal_and_not_too_many(samples: int) -> None:
    chunks = list(looking(numbered(samples), dense(), 0, "grow-1"))
    assert [len(x) for x, _ in chunks] == [min(LOOKED, samples) // CHUNKS] * CHUNKS
    seen = torch.cat([y for _, y in chunks])
    assert len(seen) == len(seen.unique()) <= LOOKED == 5000
    for x, y in chunks:
        assert torch.equal(x, torch.stack([y, -y], 1).float())  # a sample keeps its target
    assert int(seen.max()) > 0.9 * samples - 1  # they come from everywhere


def test_fewer_samples_than_chunks_are_one_each() -> None:
    assert [len(x) for x, _ in looking(numbered(5), dense(), 0, "a")] == [1] * 5


def test_chunks_are_drawn_by_seed_and_name_and_by_nothing_else() -> None:
    def drawn(seed: int, name: str) -> Tensor:
        return torch.cat([y for _, y in looking(numbered(500), dense(), seed, name)])

    first = drawn(0, "grow-1")
    torch.rand(3)
    assert torch.equal(first, drawn(0, "grow-1"))
    assert not torch.equal(first, drawn(0, "grow-2"))
    assert not torch.equal(first, drawn(1, "grow-1"))


def test_chunks_have_the_precision_of_the_network() -> None:
    x, y = next(looking(numbered(80), dense().double(), 0, "a"))
    assert (x.dtype, y.dtype) == (torch.float64, torch.int64)
    part = numbered(80)
    x, y = next(looking(Part(part.x, part.x[:, :1]), dense().double(), 0, "a"))
    assert (x.dtype, y.dtype) == (torch.float64, torch.float64)


# Windows.


def grown() -> Network:
    return keeping(dense(4), (0, 2))


def trained(
    name: str = "w", *, order: str = "", updates: int = 20, folder: Path | None = None, **how: object
) -> Network:
    """A window on the same network every time."""
    net = grown()
    window(net, PROBLEM, PART, OPTIONS, updates=updates, name=name, order=order, folder=folder, **how)  # type: ignore[arg-type]
    return net


@pytest.mark.parametrize(("updates", "last"), [(20, 5), (18, 4), (1, 1)])
def test_a_window_ends_at_the_average_of_its_last_quarter(updates: int, last: int) -> None:
    net = grown()
    iterates: list[dict[str, Tensor]] = []
    rates: list[float] = []

    def note(name: str, done: int, of: int, info: object) -> None:
        assert (name, done, of) == ("w", len(iterates) + 1, updates)
        iterates.append(state(net))
        rates.append(info.learning_rate)  # type: ignore[attr-defined]

    window(net, PROBLEM, PART, OPTIONS, updates=updates, name="w", progress=note)
    assert AVERAGED == 0.25
    assert rates == [OPTIONS.learning_rate] * updates
    for name, p in net.state_dict().items():
        mean = torch.stack([iterate[name].double() for iterate in iterates[-last:]]).mean(0)
        torch.testing.assert_close(p.double(), mean, rtol=1e-6, atol=1e-7)
    moved = (state(net)["system.steps.0.inner.weight"] - iterates[-1]["system.steps.0.inner.weight"]).abs().max()
    assert moved > 1e-4 or updates == 1  # not the last iterate


def test_a_window_is_a_fit_that_averages() -> None:
    raw = grown()
    average = fit(raw, PROBLEM, PART, OPTIONS, plan=Plan("w", 20, cosine=False, average=AVERAGED))
    net = trained()
    assert same(dict(net.named_parameters()), average)
    assert not same(state(net), state(raw))
    assert PROBLEM.scale(net) == PROBLEM.scale(raw)


def test_sleepers_come_out_as_they_went_in() -> None:
    before, after = grown(), trained()
    assert after.awake == (0, 2)
    assert after.zero_steps() == (1, 3)
    for k in range(4):
        for p, q in zip(before.system.control(k), after.system.control(k), strict=True):
            if k in after.awake:
                assert not torch.allclose(p, q, rtol=1e-3, atol=1e-5)
            else:  # rows are held at their norm in every update: their last bit can move
                torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


def test_twins_of_one_order_end_at_the_same_bits() -> None:
    one = state(trained("shallow", order="grow-1"))
    assert same(one, state(trained("deep", order="grow-1")))
    assert not same(one, state(trained("deep", order="grow-2")))
    assert not same(one, state(trained("shallow")))
    assert same(one, state(trained("grow-1")))  # a name is the order where no other is given
    assert same(one, state(trained("grow-1", order="grow-1")))


def test_networks_of_different_depth_see_the_same_batches() -> None:
    def batches(awake: tuple[int, ...], plan: Plan) -> list[Tensor]:
        net, seen = keeping(dense(4), awake), []
        hook = net.system.lifting.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))  # type: ignore[union-attr]
        fit(net, PROBLEM, PART, OPTIONS.model_copy(update={"checkpoint_seconds": 3600.0}), plan=plan)
        hook.remove()
        return seen

    shallow = batches((0, 2), Plan("shallow", 10, order="both"))
    deep = batches((0, 1, 2, 3), Plan("deep", 10, order="both"))
    other = batches((0, 2), Plan("shallow", 10))
    assert len(shallow) == len(deep) == len(other) == 10
    assert all(torch.equal(a, b) for a, b in zip(shallow, deep, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(shallow, other, strict=True))


@pytest.mark.parametrize("order", ["", "twins"])
def test_a_window_that_is_run_again_is_read(tmp_path: Path, order: str) -> None:
    calls: list[object] = []
    once = state(trained(order=order, folder=tmp_path))
    assert (tmp_path / "w" / CHECKPOINT).exists()
    assert same(once, state(trained(order=order, folder=tmp_path, progress=lambda *a: calls.append(a))))
    assert not calls
    assert same(once, state(trained(order=order)))


@pytest.mark.parametrize("stop", [1, 9, 16, 20])
def test_a_window_that_is_interrupted_goes_on_to_the_same_bits(tmp_path: Path, stop: int) -> None:
    """Before the average begins, within it, and at the last update."""

    def interrupt(name: str, done: int, updates: int, info: object) -> None:
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(order="twins", folder=tmp_path, progress=interrupt)
    done: list[int] = []
    resumed = trained(order="twins", folder=tmp_path, progress=lambda name, update, *a: done.append(update))
    assert done == list(range(stop, 21))  # the update that was interrupted is made again
    assert same(state(resumed), state(trained(order="twins")))
    assert resumed.awake == (0, 2)


def test_windows_follow_one_another(tmp_path: Path) -> None:
    """The second starts from the average of the first, with or without a folder, and is no part of it."""

    def both(folder: Path | None) -> Network:
        net = trained("first", folder=folder)
        window(net, PROBLEM, PART, OPTIONS, updates=20, name="second", folder=folder)
        return net

    alone = trained("first")
    start = copy.deepcopy(alone)
    window(alone, PROBLEM, PART, OPTIONS, updates=20, name="second")
    assert not same(state(alone), state(start))
    assert same(state(alone), state(both(tmp_path)))
    assert same(state(alone), state(both(tmp_path)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


def test_a_folder_of_another_order_is_refused_and_one_without_is_as_before(tmp_path: Path) -> None:
    trained(order="one", folder=tmp_path)
    with pytest.raises(StoreError, match=r"another training \(plan differ"):
        trained(order="two", folder=tmp_path)
    trained("plain", folder=tmp_path)  # folders from before there were orders can be continued
    plan = store.load(tmp_path / "plain" / CHECKPOINT)[1]["identity"]["plan"]
    assert plan == {"name": "plain", "updates": 20, "cosine": False, "average": AVERAGED}


def test_a_table_of_several_stages_grows_too() -> None:
    system = DenseSystem(2, 2, depth=4, width=6, hidden=8)
    net = keeping(Network(system, table=RK4), (1,))
    check_zero_branch(net, INPUTS[dense])
    before = PROBLEM.evaluate(rollout(net, PART.x), PART.y).total
    window(net, PROBLEM, PART, OPTIONS, updates=60, name="w")
    assert PROBLEM.evaluate(rollout(net, PART.x), PART.y).total < before
    assert net.zero_steps() == (0, 2, 3)
