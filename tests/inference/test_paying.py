"""Where it pays to look at the batch, and what early exit gains: relations, no timings."""

from __future__ import annotations

import json
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from cases import DEPTH, inputs, network
from systems import linear, randn

import node_oc as oc
from node_oc.errors import ConfigError
from node_oc.inference import EarlyExit, drops, paying, turns
from node_oc.inference.drops import measured_drops
from node_oc.inference.paying import EARLY, FULL, PLAIN, Timed, what_pays
from node_oc.inference.turns import Spread, in_turns
from node_oc.policies import Threshold
from node_oc.trajectory import rollout

EXITS = tuple(range(DEPTH + 1))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drops, "TIMES", 1)
    monkeypatch.setattr(drops, "ROUNDS", 1)
    monkeypatch.setattr(turns, "WARM", 0)
    monkeypatch.setattr(paying, "SINGLES", 3)
    monkeypatch.setattr(paying, "BURST", 10)


def confident(net: oc.Network, value: float = 0.75) -> EarlyExit:
    return EarlyExit(net.eval(), Threshold("confidence", value, EXITS))


def test_the_cheapest_looks_are_those_that_all_ways_of_looking_give() -> None:
    """Every set of looks, its cost added up as early exit runs: no other is cheaper than the path found."""
    exits, batch, rng = (0, 1, 2, 4, 5), 100, np.random.default_rng(0)
    for _ in range(20):
        depths = rng.choice(exits, 1000)
        parts = rng.random(5), rng.random(5) * rng.choice([0.1, 1, 10]), rng.random(5) * 0.2
        at = [partial(growing, part, grow) for part, grow in zip(parts, 0.1 + rng.random(3), strict=True)]
        found = drops._shortest(exits, batch, depths, *at)
        every = [(*chosen, 5) for m in range(5) for chosen in combinations(exits[:-1], m)]
        costs = {drop_at: cost_of(drop_at, exits, batch, depths, *at) for drop_at in every}
        assert costs[found] == pytest.approx(min(costs.values()), rel=1e-6)


def growing(part: np.ndarray, slope: float, n: float) -> np.ndarray:
    return part * (1 + slope * n)


def cost_of(
    drop_at: tuple[int, ...], exits: tuple[int, ...], batch: int, depths: np.ndarray, step: Any, look: Any, more: Any
) -> float:
    total, alive, k, pending = 0.0, float(batch), 0, 0.0
    for place, e in enumerate(exits):
        total += step(alive)[k:e].sum()
        k = e
        if e in drop_at:
            total += look(alive)[place] + pending
            alive, pending = batch * float((depths > e).mean()), 0.0
        else:
            pending += more(alive)[place]
    return total


def test_chosen_looks_are_exits_and_change_nothing(quick: None) -> None:
    early, x = confident(network("dense-tanh")), inputs(24)
    found = measured_drops(early, x, (4, 50))
    assert set(found) == {4, 50}
    assert all(set(drop_at) <= set(EXITS) and drop_at[-1] == DEPTH for drop_at in found.values())
    chosen = EarlyExit(early.model, early.policy, found)
    assert torch.equal(chosen(x).depths, early(x).depths)
    torch.testing.assert_close(chosen(x).outputs, early(x).outputs, rtol=1e-12, atol=1e-12)


def test_ways_are_timed_in_turns() -> None:
    order: list[str] = []
    ways = {name: lambda turn, name=name: order.append(f"{name}{turn}") for name in "abc"}
    times = in_turns(ways, 2)
    assert [len(found) for found in times.values()] == [2, 2, 2]
    assert order == ["a0", "b0", "c0", "b1", "c1", "a1", "c2", "a2", "b2", "a3", "b3", "c3"]


def test_what_is_compared_is_the_same_network(quick: None) -> None:
    net, x = network("conv-two-stages"), inputs(24)
    early = confident(net, 0.5)
    outputs, depths = early(x)
    y = rollout(net, x).readouts[2].argmax(1)
    found = what_pays(early, x, y, batches=(1, 5), rounds=2)
    right = (rollout(net, x).readouts.argmax(2) == y).double().mean(1)
    mine = float((outputs.argmax(1) == y).double().mean())
    cut = next(k for k in range(DEPTH + 1) if right[k] >= mine)
    assert found.quality == pytest.approx({FULL: float(right[-1]), EARLY: mine, f"cut to {cut}": float(right[cut])})
    assert [(row.batch, row.way) for row in found.rows] == [
        (batch, way) for batch in (1, 5) for way in (FULL, PLAIN, EARLY, f"cut to {cut}")
    ]
    by_way = {row.way: row.depth for row in found.rows}
    assert by_way == {FULL: 4, PLAIN: 4, EARLY: float(depths.double().mean()), f"cut to {cut}": cut}
    assert [row.drop_at is not None for row in found.rows] == [False] * 6 + [True, False]
    assert all(row.ms.low <= row.ms.median <= row.ms.high for row in found.rows)
    assert all(row.gain == Spread(1, 1, 1) for row in found.rows if row.way == FULL)
    assert json.loads(json.dumps(found.record()))["sentence"] == found.sentence


def test_the_crop_is_the_readout_at_its_depth_in_the_models_units(quick: None) -> None:
    net, x = oc.Network(linear(*[-0.5 * torch.eye(1, dtype=torch.float64)] * 4)), randn(9, 1)
    model = oc.Model(net, oc.Scale(torch.zeros(1), torch.full((1,), 2.0)), oc.Scale(torch.tensor([5.0]), torch.ones(1)),
                     {"task": "regression", "features": ["t"]})  # fmt: skip
    early = EarlyExit(model, Threshold("change", 0.1, EXITS))
    torch.testing.assert_close(paying._cut(model, 2)(x), 5 + x / 8)
    torch.testing.assert_close(paying._readouts(early, x)[3], 5 + x / 16)
    found = what_pays(early, x, 5 + x[:, 0] / 32, batches=(1,), rounds=1, choose=False)
    assert found.quality[FULL] == pytest.approx(0, abs=1e-20)
    assert found.quality[EARLY] > 0


def test_a_crop_wants_a_depth_or_targets() -> None:
    early = confident(network("dense-tanh"))
    for cut in (None, -1, 5):
        with pytest.raises(ConfigError, match=r"cut: got .*, expected a depth in 0\.\.4, or targets"):
            what_pays(early, inputs(3), cut=cut)


def test_the_sentence_says_what_is_ahead_and_when_nothing_is() -> None:
    def row(batch: int, way: str, low: float, median: float, high: float) -> Timed:
        return Timed(batch, way, Spread(1, 1, 1), Spread(median, low, high), 3.0)

    rows = [row(1, EARLY, 2.0, 2.4, 2.6), row(1, "cut to 6", 3.0, 3.2, 3.3), row(8, EARLY, 3.8, 4.0, 4.1),
            row(8, "cut to 6", 3.0, 3.2, 3.3), row(9, EARLY, 1.9, 2.0, 2.1), row(9, "cut to 6", 1.8, 1.9, 2.0),
            row(10, EARLY, 0.7, 0.9, 1.1), row(10, "cut to 6", 0.8, 1.0, 1.2)]  # fmt: skip
    said = paying._sentence(rows, "cut to 6", {EARLY: 0.98})
    assert "at batch 1 cut to 6 (3.2 times as fast as the full network; early exit 2.4)" in said
    assert "at batch 8 early exit (4.0 times as fast as the full network; cut to 6 3.2)" in said
    assert "at batch 9 early exit or cut to 6 alike (2.0 and 1.9 times as fast)" in said
    assert "at batch 10 the full network" in said
    assert said.endswith("early exit is at 0.9800.")
