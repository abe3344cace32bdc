"""Growth on tiny sets: what is enough, what wakes, what is asked afterwards, what it costs, and what is told."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from systems import Field, randn, stir_, zero_
from torch import Tensor

from node_oc import pipeline, store
from node_oc.config import Config, SearchSection, TrainingSection
from node_oc.cropping import deepen
from node_oc.data import Part, Split, spirals
from node_oc.diagnosis import sample_losses
from node_oc.discretization import TABLEAUS, DepthGrid, Network
from node_oc.errors import ConfigError, ShapeError
from node_oc.problem import Problem
from node_oc.problem.waking import Look
from node_oc.record import make_record as make_the_record
from node_oc.record.growth import grown as told
from node_oc.search import Candidate, Found, GrowthSearch, Protocol, Window
from node_oc.search import windows as module
from node_oc.search.compared import layers
from node_oc.search.windows import Grown, Windows
from node_oc.system import ConvSystem, DenseSystem
from node_oc.training import loop
from node_oc.training.batches import training_updates
from node_oc.training.checkpoint import training_work
from node_oc.training.loop import fit

OPTIONS = TrainingSection(epochs=60, batch=0, learning_rate=2e-2, min_updates=0)
PROBLEM = Problem.classification(2, eps=0.05)
BARE = SearchSection(heal=False, plain=False)


@pytest.fixture(scope="module")
def split() -> Split:
    return spirals(turns=0.5, train=200, val=400, test=4)


def dense(depth: int, seed: int = 0, ends: bool = False) -> Network:
    """Untrained, with lift and head of the spirals preset, which have no weights, or linear ones."""
    kind = {} if ends else {"lift": "pad", "head": "coordinates"}
    generator = torch.Generator().manual_seed(seed)
    return Network(DenseSystem(2, 2, depth=depth, width=4, hidden=8, generator=generator, **kind))


def conv(blocks: Sequence[int], seed: int = 0) -> Network:
    generator = torch.Generator().manual_seed(seed)
    return Network(ConvSystem((1, 6, 6), 2, channels=(2, 3, 4)[: len(blocks)], blocks=blocks, generator=generator))


def images(n: int, seed: int) -> Part:
    """Noise of 6 x 6 pixels, brighter in the upper or in the lower half."""
    x, y = randn(n, 6, 6, seed=seed), torch.arange(n) % 2
    x[:, :3] += y[:, None, None]
    x[:, 3:] += 1 - y[:, None, None]
    return Part(x.flatten(1).float(), y)


def state(net: Network) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in net.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def loss(net: Network, split: Split) -> float:
    return float(sample_losses(net, split.val, split.task).mean())


def roles(found: Found, *kinds: str) -> list[Window]:
    assert found.growth is not None
    return [window for window in found.growth.windows if window.role in kinds]


def depths(found: Found, kind: str) -> list[int]:
    return [len(window.steps) for window in roles(found, kind)]


def verdict(found: Found, task: str = "classification") -> str:
    assert found.growth is not None
    return told(found, found.growth, 0.0, task)


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows and refits that train nothing: what a growth does next is all that is left."""
    monkeypatch.setattr(module, "window", lambda *a, **k: None)
    monkeypatch.setattr(Protocol, "heal", lambda *a, **k: None)


def enough_from(monkeypatch: pytest.MonkeyPatch, depth: int) -> None:
    """From this depth on every network is as good as the deepest; nothing is ever good enough for its own sake."""
    monkeypatch.setattr(Windows, "enough", lambda self, name, one, other: one.depth >= depth)
    monkeypatch.setattr(Windows, "nothing_left", lambda self, grown: False)


Losses = dict[int, tuple[float, float]]


def scripted(monkeypatch: pytest.MonkeyPatch, losses: Losses) -> list[Candidate]:
    """What networks lose before and after their refit, by depth; returns the refitted ones in order."""
    refitted: list[Candidate] = []
    attempt = Protocol.attempt

    def scripted_(self: Protocol, source: Network, steps: Sequence[int], *rest: Any) -> Candidate:
        raw, excess = losses[len(steps)]
        found = attempt(self, source, steps, *rest)
        refitted.append(replace(found, raw=raw, excess=excess, inside=excess <= self.budget.limit))
        return refitted[-1]

    monkeypatch.setattr(Protocol, "attempt", scripted_)
    monkeypatch.setattr(Windows, "worse", lambda self, one, other: losses[one.depth][1] > losses[one.depth][0])
    return refitted


# What is enough.


def made_up(budget: float, task: str = "classification") -> Windows:
    """Windows for which a network is its own losses, with the records of two trainings."""
    protocol = SimpleNamespace(
        losses=lambda network: network, search=SearchSection(budget=budget), split=SimpleNamespace(task=task)
    )
    out = Windows(protocol, PROBLEM, 1, 0.03)
    out.records += [Window(name, "shallow", 0, 1, (0,), (), (), 0.5) for name in ("one", "two")]
    return out


def losing(values: NDArray[np.float64] | list[float]) -> Grown:
    return Grown(np.asarray(values, dtype=float), (0,))


PAIRS = 26  # half of them lost + s, half lost - s: the standard error is s / sqrt(26 - 1)


@pytest.mark.parametrize(
    ("budget", "lost", "error", "enough"),
    [
        (0.05, 0.049, 0.0, True),
        (0.05, 0.051, 0.0, False),
        (0.0, 0.019, 0.02, True),
        (0.0, 0.021, 0.02, False),
        (0.05, 0.049, 0.02, True),  # the larger of the two is allowed, not their sum
        (0.05, 0.051, 0.02, False),
        (0.01, 0.019, 0.02, True),
        (0.01, 0.021, 0.02, False),
        (0.01, -0.5, 0.02, True),  # better is enough
        (0.0, 0.0, 0.0, True),
    ],
)
def test_enough_is_a_loss_within_the_budget_or_its_own_error(
    budget: float, lost: float, error: float, enough: bool
) -> None:
    windows = made_up(budget)
    best = np.linspace(0, 1, PAIRS)
    d = lost + error * math.sqrt(PAIRS - 1) * np.resize([1.0, -1.0], PAIRS)
    other, twin = windows.records
    assert windows.enough("two", losing(best + d), losing(best)) is enough
    record = windows.records[1]
    assert (record.lost, record.allowed) == (pytest.approx(lost, abs=1e-12), pytest.approx(max(budget, error)))
    assert record.enough is enough
    assert windows.records[0] is other
    assert replace(record, lost=None, allowed=None) == twin


def test_one_sample_has_no_error() -> None:
    assert made_up(0.1).enough("one", losing([0.1]), losing([0.0]))
    assert not made_up(0.1).enough("one", losing([1.0]), losing([0.0]))


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize(("worse", "enough"), [(0.05, True), (0.08, True), (0.15, False), (0.3, False), (-0.5, True)])
def test_in_regression_the_budget_is_relative(scale: float, worse: float, enough: bool) -> None:
    """Of 1000 samples 990 lose 1 and the others 2, where they are cut: d = 990 (worse - b) - 10 b 2, over 1000."""
    best = scale * np.where(np.arange(1000) < 990, 1.0, 2.0)
    loss = np.where(best == scale, 1 + worse, 7.0) * scale
    windows = made_up(0.1, "regression")
    assert windows.enough("one", losing(loss), losing(best)) is enough
    # Those that are cut lose 2 against 2.
    lost = scale * (990 * (worse - 0.1) - 10 * 0.1 * 2) / 1000
    assert windows.records[0].lost == pytest.approx(lost)
    assert windows.records[0].allowed is not None
    assert 0 < windows.records[0].allowed < 0.01 * scale  # the error alone: nothing else is allowed


@pytest.mark.parametrize(("task", "limit"), [("classification", 0.05), ("regression", 0.0)])
def test_nothing_is_left_where_the_loss_itself_is_within_the_budget(task: str, limit: float) -> None:
    windows = made_up(0.05, task)
    assert windows.nothing_left(losing([limit] * 4))
    assert windows.nothing_left(losing([0.0, 0.0, 0.0, 4 * limit]))  # their mean counts
    assert not windows.nothing_left(losing([limit, limit, limit, limit + 0.01]))


# Trials, and the answer.


def tried(room: int) -> list[tuple[int, int]]:
    """Depths of the shallow and the deep network of every trial where none is ever enough."""
    if room == 1:
        return [(0, 1)]
    deep = [min(2**i, room) for i in range(1, (room - 1).bit_length() + 1)]
    return list(zip([1, *deep], deep, strict=False))


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("room", range(1, 9))
def test_the_answer_is_the_fewest_layers_that_are_enough(
    split: Split, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    for answer in range(room + 1):
        enough_from(monkeypatch, answer)
        found = GrowthSearch(PROBLEM, split, OPTIONS, BARE).run(dense(room))
        trials = tried(room)
        ends = next((i for i, (shallow, _) in enumerate(trials) if shallow >= answer), None)
        trials = trials if ends is None else trials[: ends + 1]
        assert found.candidates[0].steps == tuple(range(answer))
        assert list(zip(depths(found, "shallow"), depths(found, "deep"), strict=True)) == trials
        assert found.reference.depth == trials[-1][1]
        assert found.growth is not None
        assert found.growth.stopped == ("no room" if ends is None else "enough")
        assert (found.growth.limit, found.growth.started) == (room, min(2, room))


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("room", [1, 2, 4, 6, 8])
def test_fewer_layers_are_asked_from_half_of_the_last_shallow_network_on_and_each_number_once(
    split: Split, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    for answer in range(room + 1):
        enough_from(monkeypatch, answer)
        found = GrowthSearch(PROBLEM, split, OPTIONS, BARE).run(dense(room))
        asked = depths(found, "cut")
        low = depths(found, "shallow")[-1] // 2 or -1
        high = depths(found, "shallow" if found.growth and found.growth.stopped == "enough" else "deep")[-1]
        assert all(low < depth < high for depth in asked), (answer, asked, (low, high))
        assert len(asked) == len(set(asked)) <= math.ceil(math.log2(high - low))


@dataclass
class Trained:
    """One window, as it was asked for."""

    name: str
    before: Grown
    after: Grown
    batches: list[tuple[int, ...]]


def watch(monkeypatch: pytest.MonkeyPatch) -> dict[str, Trained]:
    """What goes into every window and comes out of it, by name, and which samples it sees."""
    seen: dict[str, Trained] = {}
    batches: list[tuple[int, ...]] = []
    train, draw = Windows.train, loop.batch_indices

    def trained(self: Windows, grown: Grown, name: str, role: str, order: str = "") -> Grown:
        batches.clear()
        after = train(self, grown, name, role, order)
        seen[name] = Trained(name, grown, after, list(batches))
        return after

    def drawn(*arguments: Any) -> Tensor | None:
        indices = draw(*arguments)
        batches.append(() if indices is None else tuple(indices.tolist()))
        return indices

    monkeypatch.setattr(Windows, "train", trained)
    monkeypatch.setattr(loop, "batch_indices", drawn)
    return seen


def controls(net: Network, steps: Iterable[int]) -> list[Tensor]:
    return [p.detach() for k in steps for p in net.system.control(k)]


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


def test_a_trial_is_two_networks_from_the_same_weights_on_the_same_batches(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    enough_from(monkeypatch, 4)
    seen, born = watch(monkeypatch), dense(4)
    untouched = state(born)
    options = OPTIONS.model_copy(update={"batch": 32, "epochs": 20})
    found = GrowthSearch(PROBLEM, split, options, BARE).run(born)
    assert [(w.name, w.role, w.steps, w.woke) for w in roles(found, "start", "shallow", "deep")] == [
        ("grow-0-start", "start", (0, 1), ()),
        ("grow-1-shallow", "shallow", (0,), ()), ("grow-1-deep", "deep", (0, 1), ()),
        ("grow-2-shallow", "shallow", (0, 1), ()), ("grow-2-deep", "deep", (0, 1, 2, 3), (2, 3)),
    ]  # fmt: skip
    length = round(0.1 * training_updates(options, len(split.train)))
    for i, before in ((1, "grow-0-start"), (2, "grow-1-deep")):
        shallow, deep = seen[f"grow-{i}-shallow"], seen[f"grow-{i}-deep"]
        assert shallow.batches == deep.batches
        assert len(shallow.batches) == length
        assert len(set(shallow.batches)) == length
        assert shallow.before.seen == deep.before.seen == i * length
        assert shallow.after.seen == deep.after.seen == (i + 1) * length
        kept = shallow.before.order
        assert deep.before.order[: len(kept)] == kept
        for net in (shallow.before.network, deep.before.network):
            assert equal(controls(net, kept), controls(seen[before].after.network, kept))
        assert all(bool((p == 0).all()) for k in {*range(4)} - {*kept} for p in shallow.before.network.system.group(k))
        assert not equal(controls(shallow.after.network, kept), controls(shallow.before.network, kept))
    assert seen["grow-1-deep"].batches != seen["grow-2-deep"].batches
    assert equal(controls(seen["grow-2-deep"].before.network, (2, 3)), controls(born, (2, 3)))  # weights of birth
    assert same(state(born), untouched)


@pytest.mark.parametrize(("answer", "high"), [(3, "grow-3-shallow"), (5, "grow-3-deep")])
def test_what_is_asked_afterwards_are_the_first_layers_of_the_answer_for_one_window(
    split: Split, monkeypatch: pytest.MonkeyPatch, answer: int, high: str
) -> None:
    enough_from(monkeypatch, answer)
    seen = watch(monkeypatch)
    found = GrowthSearch(PROBLEM, split, OPTIONS, BARE).run(dense(8))
    source = seen[high].after
    cuts = roles(found, "cut")
    assert cuts
    for window in cuts:
        depth = len(window.steps)
        assert (window.name, window.steps, window.updates) == (f"cut-{depth}", source.order[:depth], 6)
        assert window.start == source.seen
        before = seen[window.name].before.network
        assert equal(controls(before, window.steps), controls(source.network, window.steps))
    assert same(state(found.source), state(seen[f"cut-{answer}"].after.network))  # the answer goes on from there
    assert same(state(found.reference), state(seen["grow-3-deep"].after.network))


@pytest.mark.usefixtures("idle")
def test_growth_stops_where_nothing_is_left_to_gain(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    enough_from(monkeypatch, 8)
    monkeypatch.setattr(Windows, "nothing_left", lambda self, grown: grown.depth >= 4)
    found = GrowthSearch(PROBLEM, split, OPTIONS, BARE).run(dense(8))
    assert found.growth is not None
    assert (found.growth.stopped, found.reference.depth) == ("nothing left", 4)
    assert found.source.awake == (0, 1, 2, 3)  # no fewer are enough
    assert "no deeper network can be better by more" in verdict(found)
    assert found.growth.looks  # of the step that would have been next
    assert [each.step for each in found.growth.looks] == [4]


@pytest.mark.usefixtures("idle")
def test_looks_cost_the_samples_times_the_layers_that_they_run_through(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    enough_from(monkeypatch, 4)
    for batch, share in ((0, 1.0), (50, 4.0)):
        options = OPTIONS.model_copy(update={"batch": batch})
        found = GrowthSearch(PROBLEM, split, options, BARE).run(dense(4))
        assert found.growth is not None
        assert found.growth.look_work == pytest.approx(share * (2 + 1))  # once, at two layers; then there is no room


# What it says it needs.


def separable(split: Split) -> Split:
    """Two classes apart on either side of the diagonal: the coordinates themselves are logits."""
    x = randn(700, 2).float()
    x = x[(x[:, 0] - x[:, 1]).abs() > 0.3]
    y = (x[:, 1] > x[:, 0]).long()
    return replace(split, train=Part(x[:200], y[:200]), val=Part(x[200:], y[200:]))


@pytest.mark.parametrize("ends", [False, True])
def test_a_linear_task_needs_no_layer(split: Split, ends: bool, tmp_path: Path) -> None:
    easy = separable(split)
    search = GrowthSearch(PROBLEM, easy, OPTIONS, SearchSection(plain=False), folder=tmp_path)
    found = search.run(dense(3, ends=ends))
    assert (found.depth, found.network.depth, found.source.awake) == (0, 0, ())
    assert loss(found.network, easy) <= 0.005
    assert verdict(found).startswith("0 layers")
    assert (tmp_path / "refit-0").exists() is ends  # without weights there is nothing to train


def test_room_for_one_layer_is_enough_room(split: Split) -> None:
    found = GrowthSearch(PROBLEM, split, OPTIONS, SearchSection(plain=False)).run(dense(1))
    assert [(w.name, w.steps) for w in roles(found, "start", "shallow", "deep")] == [
        ("grow-0-start", (0,)), ("grow-1-shallow", ()), ("grow-1-deep", (0,))
    ]  # fmt: skip
    assert (found.depth, found.reference.depth) == (1, 1)
    assert found.growth is not None
    assert found.growth.stopped == "no room"
    assert loss(found.network, split) < 0.5 * loss(dense(0), split)


def test_a_whole_growth_answers_within_the_budget(split: Split) -> None:
    options = OPTIONS.model_copy(update={"epochs": 200})
    found = GrowthSearch(PROBLEM, split, options, fresh=dense).run(dense(6))
    assert 1 <= found.depth <= found.reference.depth
    assert found.network.depth == found.depth == found.selected
    assert loss(found.network, split) <= loss(found.reference, split) + 0.005
    assert found.plain is not None
    assert found.plain.depth == found.depth
    (refit,) = roles(found, "refit")
    assert (refit.updates, refit.steps) == (100, tuple(range(found.depth)))
    assert found.growth is not None
    assert (refit.loss == pytest.approx(loss(found.network, split))) is found.growth.refitted


# A fixed price.


def at_price(price: float, split: Split, room: int) -> Found:
    options = OPTIONS.model_copy(update={"learning_rate": 5e-3})
    return GrowthSearch(PROBLEM.priced(price), split, options, SearchSection(plain=False), auto=False).run(dense(room))


def test_at_too_high_a_price_the_first_layers_sleep_and_nothing_wakes(split: Split) -> None:
    found = at_price(1e3, split, 6)
    assert (found.depth, found.reference.depth, found.network.depth) == (0, 0, 0)
    growth = found.growth
    assert growth is not None
    assert (growth.stopped, growth.fixed, growth.price) == ("price", True, 1e3)
    assert [(w.role, w.steps) for w in growth.windows] == [("grown", (0, 1)), ("refit", ())]
    assert len(growth.looks) == 1
    assert growth.looks[0].ratio < 1
    text = verdict(found)
    assert "At the price of 1000 nothing woke" in text
    assert f"{growth.looks[0].ratio:.2g}" in text
    assert "problem.price=auto" in text


@pytest.mark.parametrize("room", [1, 2])
def test_a_high_price_is_not_called_low_where_there_is_no_other_layer(split: Split, room: int) -> None:
    found = at_price(1e3, split, room)
    assert found.reference.depth == 0
    assert "so low" not in verdict(found)
    assert f"all {room}" not in verdict(found)


def test_at_too_low_a_price_everything_wakes(split: Split) -> None:
    found = at_price(1e-6, split, 4)
    growth = found.growth
    assert growth is not None
    assert (growth.stopped, growth.fixed, found.reference.depth) == ("no room", True, 4)
    assert [w.steps for w in roles(found, "grown")] == [(0, 1), (0, 1, 2, 3)]
    woke = roles(found, "grown")[1]
    assert set(woke.woke) == {2, 3}
    assert all(each.pays and each.ratio > 1 for each in woke.looks)
    assert "The price of 1e-06 is so low that every step woke, up to 4 layers" in verdict(found)


def test_at_a_price_a_small_step_stays_if_it_pays_and_none_wakes_twice(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"grow-0": [0, 1], "grow-1": [2]}  # what a window sends to zero; nothing trains it back
    paying = {"sleep-0": {1}, "wake-0": {2}, "sleep-1": {1}, "wake-1": {3}, "sleep-2": {1}}
    looked: list[tuple[str, list[int], int]] = []

    def train(net: Network, *a: object, name: str, **k: object) -> None:
        zero_(net.system, *small.get(name, ()))

    def looks(self: Windows, grown: Grown, steps: Iterable[int], name: str) -> list[Look]:
        steps = list(steps)
        assert not {*steps} & {*grown.network.awake}
        looked.append((name, steps, grown.depth))
        return [Look(k, 4.0 if k in paying.get(name, ()) else 0.01, 0.0, 1.0) for k in steps]

    monkeypatch.setattr(module, "window", train)
    monkeypatch.setattr(Windows, "looks", looks)
    monkeypatch.setattr(Windows, "enough", lambda *a: False)
    found = GrowthSearch(PROBLEM.priced(0.1), split, OPTIONS, BARE, auto=False).run(dense(6))
    # Step 0 falls asleep after the first window, step 2 after the second; neither is asked to wake again.
    assert [(w.steps, w.woke) for w in roles(found, "grown")] == [((0, 1), ()), ((1, 2), (2,)), ((1, 3), (3,))]
    assert looked == [
        ("sleep-0", [0, 1], 0), ("wake-0", [2], 1),
        ("sleep-1", [1, 2], 0), ("wake-1", [3], 1),
        ("sleep-2", [1], 1), ("wake-2", [4, 5], 2),
    ]  # fmt: skip
    assert found.growth is not None
    assert found.growth.stopped == "price"
    assert [each.step for each in found.growth.looks] == [4, 5]
    assert found.reference.depth == 2
    assert found.source.awake == (1, 3)
    assert "the largest ratio seen is 0.1" in verdict(found)


@pytest.mark.parametrize(("price", "auto"), [(0.3, True), (0.0, False)])
def test_the_budget_decides_or_a_price_and_not_both(split: Split, price: float, auto: bool) -> None:
    with pytest.raises(ConfigError, match="price"):
        GrowthSearch(PROBLEM.priced(price), split, OPTIONS, auto=auto)


class Restless(Field):
    """A branch that moves the state where its group is zero, too."""

    def branch(self, k: int, x: Tensor) -> Tensor:
        return self.u[k] * self.f(x) + 1e-3


@pytest.mark.parametrize("price", [0.0, 0.1])
def test_what_cannot_sleep_is_refused_before_any_training(split: Split, tmp_path: Path, price: float) -> None:
    calls: list[object] = []
    search = GrowthSearch(PROBLEM.priced(price), split, OPTIONS, auto=not price, folder=tmp_path,
                          progress=lambda *a: calls.append(a))  # fmt: skip
    with pytest.raises(ShapeError, match=r"search\.way=cut"):
        search.run(Network(Restless(torch.tanh, 4, 2)))
    assert not calls
    assert not list(tmp_path.iterdir())
    GrowthSearch(PROBLEM, split, OPTIONS, BARE).run(Network(Field(torch.tanh, 4, 2)))  # and this one can


# The refit, and the certificate.


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize(
    ("answer", "losses", "refits", "depth", "kept"),
    [
        (3, {3: (0.1, 0.005)}, [3], 3, True),  # on the limit
        (3, {3: (-0.1, -0.2)}, [3], 3, True),
        (3, {3: (0.002, 0.002)}, [3], 3, True),
        (3, {3: (0.002, 0.003)}, [3], 3, False),  # within the budget both, but worse
        (3, {3: (0.005, 0.5)}, [3], 3, False),
        (3, {3: (0.1, 0.00501), 8: (0.0, -0.1)}, [3, 8], 8, True),
        (3, {3: (0.1, 0.00501), 8: (0.0, 0.2)}, [3, 8], 8, False),
        (3, {3: (0.00501, 0.1), 8: (0.0, 0.0)}, [3, 8], 8, True),
        (8, {8: (0.0, -0.1)}, [8], 8, True),
        (8, {8: (0.0, 0.004)}, [8], 8, False),
    ],
)
def test_a_refit_counts_where_it_helps_and_the_deepest_is_refitted_where_the_answer_is_outside(
    split: Split, monkeypatch: pytest.MonkeyPatch, answer: int, losses: Losses, refits: list[int], depth: int,
    kept: bool,
) -> None:  # fmt: skip
    enough_from(monkeypatch, answer)
    tried = scripted(monkeypatch, losses)
    found = GrowthSearch(PROBLEM, split, OPTIONS, SearchSection(plain=False)).run(dense(8))
    assert depths(found, "refit") == [c.depth for c in tried] == [c.depth for c in found.candidates] == refits
    assert found.depth == found.selected == found.network.depth == depth
    assert found.reference.depth == 8
    chosen = found.candidates[-1]
    assert (chosen.network, chosen.inside) == (found.network, True)
    assert (chosen.raw, chosen.excess) == (losses[depth][0], min(losses[depth]))
    assert (found.network is tried[-1].network) is kept
    assert found.growth is not None
    assert found.growth.refitted is kept
    assert ("it was worse" in verdict(found)) is not kept
    if not kept:
        steps = range(depth)
        grown = found.reference if depth == 8 else found.source
        assert equal(controls(found.network, steps), controls(grown, steps))
    assert roles(found, "refit")[-1].lost == losses[depth][1]  # what the training came to, kept or not


@pytest.mark.usefixtures("idle")
def test_without_healing_the_answer_is_as_it_grew(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    enough_from(monkeypatch, 3)
    scripted(monkeypatch, {3: (0.001, 0.001)})
    found = GrowthSearch(PROBLEM, split, OPTIONS, BARE).run(dense(8))
    assert found.depth == 3
    assert not roles(found, "refit")
    assert equal(controls(found.network, range(3)), controls(found.source, range(3)))
    assert found.growth is not None
    assert not found.growth.refitted
    assert "it was worse" not in verdict(found)  # there was no refit that could have been


def test_a_refit_that_ruins_the_network_is_not_the_answer(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    def ruin(self: Protocol, network: Network, *a: object, **k: object) -> None:
        zero_(network.system, *range(network.depth))  # which turns the spirals round: almost all are wrong

    enough_from(monkeypatch, 2)
    monkeypatch.setattr(Protocol, "heal", ruin)
    options = OPTIONS.model_copy(update={"epochs": 200})
    found = GrowthSearch(PROBLEM, split, options, SearchSection(plain=False)).run(dense(4))
    assert found.growth is not None
    assert not found.growth.refitted
    assert loss(found.network, split) <= loss(found.reference, split) + 0.005 < 0.5
    assert "it was worse" in verdict(found)


@pytest.fixture(scope="module")
def halved() -> Split:
    """Enough validation points for two halves."""
    return spirals(turns=0.5, train=200, val=2000, test=4)


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize(("budget", "certified"), [(0.9, 2), (1e-4, None)])
def test_with_certify_the_reference_is_kept_where_nothing_is_certified(
    halved: Split, monkeypatch: pytest.MonkeyPatch, budget: float, certified: int | None
) -> None:
    enough_from(monkeypatch, 2)
    scripted(monkeypatch, {2: (0.0, 0.0)})
    section = BARE.model_copy(update={"certify": True, "budget": budget})
    found = GrowthSearch(PROBLEM, halved, OPTIONS, section).run(dense(6))
    assert (found.selecting, found.certifying) == (1000, 1000)
    assert (found.selected, found.reference.depth, found.certified_depth) == (2, 4, certified)
    assert (found.network is found.reference) == (certified is None)
    assert found.depth == found.network.depth == (certified or 4)
    (candidate,) = found.candidates
    assert candidate.certificate is not None
    assert candidate.certificate.holds == (certified is not None)
    text = verdict(found)
    assert layers(2) in text
    assert ("no depth is certified" in text) == (certified is None)


@pytest.mark.usefixtures("idle")
def test_too_few_points_certify_nothing(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    enough_from(monkeypatch, 2)
    scripted(monkeypatch, {2: (0.0, 0.0)})
    found = GrowthSearch(PROBLEM, split, OPTIONS, BARE.model_copy(update={"certify": True})).run(dense(6))
    assert found.network is found.reference
    assert (found.depth, found.selected, found.certified_depth, found.certifying) == (4, 2, None, 0)


# What it costs.


def grow_freely(split: Split, folder: Path) -> Found:
    return GrowthSearch(PROBLEM, split, OPTIONS, folder=folder, fresh=dense).run(dense(6))


def grow_at_price(split: Split, folder: Path) -> Found:
    search = GrowthSearch(PROBLEM.priced(1e-6), split, OPTIONS, auto=False, folder=folder, fresh=dense)
    return search.run(dense(4))


def grow_on(split: Split, folder: Path) -> Found:
    return GrowthSearch(PROBLEM, split, OPTIONS, folder=folder, fresh=dense).run(deepen(dense(1), 3))


@pytest.mark.parametrize("grow", [grow_freely, grow_at_price, grow_on])
def test_the_windows_are_all_the_work_there_was(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grow: Callable[[Split, Path], Found]
) -> None:
    monkeypatch.setattr(Windows, "nothing_left", lambda self, grown: False)
    found = grow(split, tmp_path)
    work = [entry for entry in training_work(tmp_path) if not entry["training"].startswith("plain-")]
    assert found.growth is not None
    windows = found.growth.windows
    assert {entry["training"] for entry in work} == {w.name for w in windows if w.steps}
    assert sum(w.updates * len(w.steps) for w in windows) == sum(entry["layer_steps"] for entry in work) > 0
    assert len({w.name for w in windows}) == len(windows)
    # What a network has seen is what its own windows add up to: each starts where one with the same layers ended.
    ends = {0} | {w.start + w.updates for w in windows}
    assert {w.start for w in windows} <= ends


def test_a_growth_that_is_run_again_is_read_from_its_folder(split: Split, tmp_path: Path) -> None:
    first = grow_freely(split, tmp_path)
    calls: list[int] = []
    search = GrowthSearch(PROBLEM, split, OPTIONS, folder=tmp_path, fresh=dense, progress=lambda *a: calls.append(1))
    second = search.run(dense(6))
    assert not calls
    assert same(state(first.network), state(second.network))
    assert first.growth is not None
    assert second.growth is not None
    assert first.growth == replace(second.growth, look_seconds=first.growth.look_seconds)


# Deepening.

H = (0.5, 2.0, 0.25)


@pytest.mark.parametrize(
    ("depth", "awake", "h"),
    [
        (4, (0, 1, 2), (0.5, 2.0, 0.25, 0.25)),
        (5, (0, 1, 3), (0.5, 2.0, 2.0, 0.25, 0.25)),
        (7, (1, 3, 5), (0.5, 0.5, 0.5, 2.0, 2.0, 0.25, 0.25)),
        (9, (1, 3, 6), (0.5, 0.5, 0.5, 2.0, 2.0, 2.0, 0.25, 0.25, 0.25)),
    ],
)
def test_new_steps_are_spread_evenly_later_places_first(
    depth: int, awake: tuple[int, ...], h: tuple[float, ...]
) -> None:
    deep = deepen(Network(dense(3).system, DepthGrid(H)), depth)
    assert (deep.depth, deep.awake, deep.grid.h) == (depth, awake, h)


@pytest.mark.parametrize("old", range(5))
def test_gaps_differ_by_one_at_most_and_the_later_ones_are_wider(old: int) -> None:
    for depth in range(old + 1, 3 * old + 5):
        deep = deepen(dense(old), depth)
        gaps = [b - a - 1 for a, b in itertools.pairwise([-1, *deep.awake, depth])]
        assert sum(gaps) == depth - old
        assert gaps == sorted(gaps)
        assert gaps[-1] - gaps[0] <= 1


def stirred(net: Network, table: str) -> Network:
    """Generic weights, the rows of norm 1 as training leaves them, and unequal steps."""
    stir_(net.system)
    net.system.constrain_()
    return Network(net.system, DepthGrid(H), TABLEAUS[table])


def stirred_dense(table: str) -> Network:
    return stirred(dense(3), table)


def stirred_conv(table: str) -> Network:
    return stirred(conv((1, 2, 0)), table)


@pytest.mark.parametrize(
    ("make", "table", "x"),
    [(stirred_dense, table, randn(7, 2).float()) for table in TABLEAUS]
    + [(stirred_conv, "euler", randn(7, 36).float())],
)
@pytest.mark.parametrize("depth", [4, 9])
def test_a_deepened_network_computes_the_same_to_the_bit(
    make: Callable[[str], Network], table: str, x: Tensor, depth: int
) -> None:
    net = make(table)
    before, out = state(net), net(x)
    deep = deepen(net, depth, torch.Generator().manual_seed(1))
    assert deep.table is net.table
    assert torch.equal(deep(x), out)
    with torch.no_grad():
        for p in deep.parameters():
            p.fill_(0.5)
    assert (net.depth, net.awake, net.grid.h) == (3, (0, 1, 2), H)  # it shares nothing with the one that it came from
    assert same(state(net), before)
    assert torch.equal(net(x), out)


def test_new_steps_have_the_weights_that_a_generator_gives() -> None:
    one, two, other = (deepen(dense(2), 5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert same(state(one), state(two))
    new = [k for k in range(5) if k not in one.awake]
    assert all(not torch.equal(a, b) for a, b in zip(controls(one, new)[::4], controls(other, new)[::4], strict=True))
    assert len({float(p.sum()) for p in controls(one, new)[::4]}) == 3  # and each its own
    assert same(state(deepen(dense(2), 5)), state(deepen(dense(2), 5)))


@pytest.mark.parametrize(("depth", "match"), [(3, r"depth: got 3, expected more than 3"), (0, "depth: got 0")])
def test_without_room_there_is_nothing_to_deepen(depth: int, match: str) -> None:
    with pytest.raises(ShapeError, match=match):
        deepen(dense(3), depth)


def test_a_network_that_has_sleeping_steps_is_to_be_cropped_first() -> None:
    net = dense(3)
    net.set_awake([0, 2])
    with pytest.raises(ShapeError, match=r"2 of 3 steps awake.*crop"):
        deepen(net, 6)


# A network that was trained before.


def continued(net: Network, split: Split, options: TrainingSection) -> Network:
    fit(net, PROBLEM.terminal_only(), split.train, options)
    return net


def test_a_network_that_is_too_shallow_goes_on_deeper(monkeypatch: pytest.MonkeyPatch) -> None:
    hard = spirals(turns=1.5, train=200, val=400, test=4)
    options = OPTIONS.model_copy(update={"epochs": 400})
    generator = torch.Generator().manual_seed(2)
    shallow = Network(DenseSystem(2, 2, depth=1, width=8, hidden=16, lift="pad", head="coordinates",
                                  generator=generator))  # fmt: skip
    continued(shallow, hard, options)
    deep, seen = deepen(shallow, 4), watch(monkeypatch)
    before = state(deep)
    found = GrowthSearch(PROBLEM, hard, options, SearchSection(plain=False)).run(deep)
    first = roles(found, "shallow")[0]
    assert found.growth is not None
    assert found.growth.started == 1
    assert found.growth.windows[0] is first  # no window before the first trial: it is trained already
    assert (first.name, first.start, first.steps) == ("grow-1-shallow", 0, deep.awake)
    x = hard.val.x
    assert torch.equal(seen["grow-1-shallow"].before.network(x), shallow(x))
    twin = seen["grow-1-deep"].before
    assert len(twin.order) == 2
    assert equal(controls(twin.network, twin.order), controls(deep, twin.order))  # its own layer, and a newborn one
    assert (deep.awake, same(state(deep), before)) == ((1,), True)
    assert found.depth > 1
    assert loss(found.network, hard) < 0.5 * loss(continued(shallow, hard, options), hard)


@pytest.mark.usefixtures("idle")
def test_a_trained_network_that_is_enough_has_its_depth_or_less(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    for answer in range(7):
        enough_from(monkeypatch, answer)
        deep = deepen(dense(4), 8)
        found = GrowthSearch(PROBLEM, split, OPTIONS, BARE).run(deep)
        # Where the first trial says that it is enough, no fewer than half of it are asked about.
        steps = found.candidates[0].steps
        assert len(steps) == max(3, answer)
        assert (depths(found, "start"), depths(found, "shallow"), depths(found, "deep")) == ([], [4], [8])
        assert roles(found, "shallow")[0].steps == deep.awake
        assert roles(found, "deep")[0].steps[:4] == deep.awake
        if answer <= 4:
            assert {*steps} <= {*deep.awake}


@pytest.mark.usefixtures("idle")
def test_a_trained_network_without_layers_gets_one_then_twice_as_many(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    enough_from(monkeypatch, 4)
    found = GrowthSearch(PROBLEM, split, OPTIONS, BARE).run(deepen(dense(0), 4))
    assert list(zip(depths(found, "shallow"), depths(found, "deep"), strict=True)) == [(0, 1), (1, 2), (2, 4)]
    assert [w.woke for w in roles(found, "deep")] == [(0,), (1,), (2, 3)]
    assert found.growth is not None
    assert found.growth.started == 0


# Stages.


@pytest.fixture(scope="module")
def halves(split: Split) -> Split:
    parts = {name: images(n, seed) for seed, (name, n) in enumerate({"train": 200, "val": 100, "test": 4}.items())}
    return replace(split, **parts, features=tuple(f"p{i}" for i in range(36)))


def test_stages_grow_in_turns_the_most_promising_first(halves: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    enough_from(monkeypatch, 6)
    looked: dict[str, list[Look]] = {}
    look = Windows.looks

    def looks(self: Windows, grown: Grown, steps: Iterable[int], name: str) -> list[Look]:
        looked[name] = look(self, grown, steps, name)
        return looked[name]

    monkeypatch.setattr(Windows, "looks", looks)
    found = GrowthSearch(PROBLEM, halves, OPTIONS, BARE).run(conv((2, 2, 2)))
    start, *deep = roles(found, "start", "deep")
    assert start.steps == (4, 2)  # the first of the last stage, then the first of the one before
    assert deep[0].steps == (4, 2)
    assert [each.step for each in looked["grow-1"]] == [0, 3, 5]  # the next of every stage
    best = sorted(looked["grow-1"], key=lambda each: -each.squared)
    assert deep[1].woke == tuple(each.step for each in best[:2])
    assert deep[1].looks == tuple(best[:2])
    assert [len(w.steps) for w in deep] == [2, 4, 6]
    assert len(found.source.awake) == 6


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("rank", list(itertools.permutations(range(3))))
def test_the_rank_of_the_stages_is_the_order_of_waking(
    halves: Split, monkeypatch: pytest.MonkeyPatch, rank: tuple[int, ...]
) -> None:
    """Three stages of three steps; the one of rank 0 always promises most."""
    monkeypatch.setattr(
        Windows, "looks",
        lambda self, grown, steps, name: [Look(k, 0.1 ** rank.index(k // 3), 0.0, 1.0) for k in steps],
    )  # fmt: skip
    enough_from(monkeypatch, 9)
    found = GrowthSearch(PROBLEM, halves, OPTIONS, BARE).run(conv((3, 3, 3)))
    waiting = {0: [0, 1, 2], 1: [4, 5], 2: [7, 8]}  # the next steps of each stage, when steps 6 and 3 are awake
    expected = [6, 3]
    for count in (2, 4, 1):
        turns = [stage for stage in rank if waiting[stage]] * 3
        for stage in turns:
            if waiting[stage] and count:
                expected.append(waiting[stage].pop(0))
                count -= 1
    assert roles(found, "deep")[-1].steps == tuple(expected)
    assert depths(found, "deep") == [2, 4, 8, 9]


def test_one_stage_and_empty_stages_have_a_first_step_too(halves: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "window", lambda *a, **k: None)
    enough_from(monkeypatch, 1)
    for blocks, first in (((3,), (0, 1)), ((3, 0), (0, 1)), ((0, 1, 1), (1, 0)), ((1, 0, 2), (1, 0))):
        found = GrowthSearch(PROBLEM, halves, OPTIONS, BARE).run(conv(blocks))
        assert roles(found, "start")[0].steps == first


# What is written down.


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, dict[str, Any], Path]:
    """A run with its answer, 3 layers of 5 by decree; pictures are drawn elsewhere."""
    kept: list[Found] = []
    make, enough = make_the_record, Windows.enough

    def decreed(self: Windows, name: str, one: Grown, other: Grown) -> bool:
        enough(self, name, one, other)
        return one.depth >= 3

    def make_record(*arguments: Any) -> dict[str, Any]:
        kept.append(arguments[4])
        return make(*arguments)

    config = Config.preset("spirals", {
        "data.turns": 0.5, "data.train": 200, "data.val": 400, "data.test": 100, "system.depth": 5,
        "training.epochs": 60, "training.learning_rate": 2e-2, "training.min_updates": 0, "search.plain": False,
        "export.onnx": False, "export.torch_export": False,
    })  # fmt: skip
    folder = tmp_path_factory.mktemp("runs") / "grown"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Windows, "enough", decreed)
        patch.setattr(Windows, "nothing_left", lambda self, grown: False)
        patch.setattr("node_oc.pipeline.running.make_record", make_record)
        patch.setattr("node_oc.pipeline.running.draw_all", lambda *a: {})
        record = pipeline.run(config, folder)
    return kept[0], record, folder


def test_the_report_has_the_growth_as_it_was(ran: tuple[Found, dict[str, Any], Path]) -> None:
    found, record, folder = ran
    read = store.read_json(folder / "report.json")
    assert read["growth"] == json.loads(json.dumps(record["growth"]))
    growth, entry = found.growth, read["growth"]
    assert growth is not None
    assert [len(window["woke"]) for window in entry["windows"] if window["role"] == "deep"] == [0, 2, 1]
    assert len(entry["windows"]) == len(growth.windows)
    for written, window in zip(entry["windows"], growth.windows, strict=True):
        assert tuple(written["steps"]) == window.steps
        for name in ("name", "role", "start", "updates", "loss", "lost", "allowed", "enough"):
            assert written[name] == getattr(window, name)
        promised = {each.step: each for each in window.looks}
        assert [(e["step"], e["ratio"], e["pays"]) for e in written["woke"]] == [
            (k, promised[k].ratio, promised[k].pays) if k in promised else (k, None, None) for k in window.woke
        ]
    for name in ("stopped", "limit", "started", "fixed", "price", "refitted", "look_work"):
        assert entry[name] == getattr(growth, name)
    assert [(e["step"], e["ratio"], e["pays"]) for e in entry["looks"]] == [
        (e.step, e.ratio, e.pays) for e in growth.looks
    ]
    assert entry["updates"] == 60
    assert (entry["limit"], read["depth"]["N"], read["depth"]["depth"]) == (5, found.reference.depth, found.depth)


def test_the_verdict_names_the_depth_of_the_reference(ran: tuple[Found, dict[str, Any], Path]) -> None:
    found, record, folder = ran
    assert (found.source.awake, found.reference.depth) == ((0, 1, 2), 5)
    assert layers(found.depth) in record["verdict"]
    assert layers(found.reference.depth) in record["verdict"]
    assert "in the middle of growth" in record["verdict"]
    assert pipeline.read_network(folder, "full").depth == found.reference.depth
    assert pipeline.read_network(folder, "cropped").depth == found.depth
    priced = pipeline.read_network(folder, "priced")
    assert (priced.depth, priced.awake) == (5, found.source.awake)  # the room is kept


def made(stopped: str, tried: Sequence[int] = (2, 4, 8), fixed: bool = False) -> Any:
    """An answer of 3 layers of 8 that were tried, with room for 20."""
    windows = [SimpleNamespace(role="shallow", steps=tuple(range(m)), woke=tuple(range(2, m)), lost=0.25 / m)
               for m in tried]  # fmt: skip
    looks = (Look(8, 0.25, 0.0, 1.0), Look(9, -1.0, 0.0, 1.0))
    growth = SimpleNamespace(windows=windows, looks=looks, price=0.3, fixed=fixed, stopped=stopped, limit=20,
                             started=2, refitted=True)  # fmt: skip
    return SimpleNamespace(
        reference=SimpleNamespace(depth=8), depth=3, selected=3, budget=SimpleNamespace(limit=0.005, budget=0.005),
        candidates=[SimpleNamespace(depth=3, excess=0.001, inside=True)], growth=growth,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (made("enough"), ["twice the layers gained no more than the budget"]),
        (made("nothing left"), ["the loss itself is within the budget"]),
        (made("no room"), ["the largest depth, 20 layers", "0.0312", "system.depth"]),
        (made("no room", fixed=True), ["The price of 0.3 is so low", "up to 20 layers", "problem.price"]),
        (made("price", fixed=True, tried=(2,)), ["At the price of 0.3 nothing woke", "0.5", "problem.price=auto"]),
        (made("price", fixed=True), ["No other step pays at the price of 0.3", "0.5"]),
    ],
)
def test_why_growth_ended_is_told(found: Any, words: list[str]) -> None:
    for task, worse, how in (
        ("classification", 0.0123, "1.23 points worse"), ("classification", -0.0123, "1.23 points better"),
        ("classification", 0.0, "as good as"), ("regression", -0.1, "within the budget"),
    ):  # fmt: skip
        text = told(found, found.growth, worse, task)
        assert all(word in text for word in [*words, "3 layers", "up to 8", "8 layers", how])
    others = {"twice the layers", "the loss itself", "the largest depth", "so low", "nothing woke", "No other step"}
    assert sum(other in text for other in others) == 1


def test_an_answer_far_better_than_what_judged_it_is_not_believed() -> None:
    assert "hardly learned" in told(made("enough"), made("enough").growth, -0.051, "classification")
    assert "hardly learned" not in told(made("enough"), made("enough").growth, -0.049, "classification")


def test_towards_a_network_in_the_middle_of_growth_nothing_is_distilled(split: Split) -> None:
    with pytest.raises(ConfigError, match=r"search.distil.*search.way=cut"):
        GrowthSearch(PROBLEM, split, OPTIONS, SearchSection(distil=True))


def test_a_search_that_is_run_again_tells_its_own_story(split: Split) -> None:
    search = GrowthSearch(PROBLEM, split, OPTIONS, BARE)
    one, two = search.run(dense(4)), search.run(dense(4))
    assert one.growth is not None
    assert two.growth is not None
    assert [(w.name, w.lost) for w in one.growth.windows] == [(w.name, w.lost) for w in two.growth.windows]


@pytest.mark.parametrize("n", range(20, 400, 20))
def test_one_sample_more_is_within_its_own_error_whatever_their_number(n: int) -> None:
    loss = np.zeros(n)
    loss[0] = 1.0
    windows = made_up(0.001)
    assert windows.enough("one", losing(loss), losing(np.zeros(n)))
