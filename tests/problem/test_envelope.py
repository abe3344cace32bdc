"""Backward induction against brute force over all stopping rules; stopping costs; the oracle."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from node_oc.errors import ConfigError, DataError, ShapeError
from node_oc.problem.stopping import layer_costs, oracle, snell_envelope, stopping_costs, tree


def random_tree(seed: int) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Every node has one to three children, three levels below the root; costs and probabilities at random."""
    g = torch.Generator().manual_seed(seed)
    costs, transitions, size = [torch.rand(1, generator=g, dtype=torch.float64)], [], 1
    for _ in range(3):
        children = torch.randint(1, 3, (size,), generator=g)
        wide = int(children.sum())
        p = torch.zeros(size, wide, dtype=torch.float64)
        for node, (first, count) in enumerate(zip((children.cumsum(0) - children).tolist(), children.tolist())):
            p[node, first : first + count] = torch.rand(count, generator=g, dtype=torch.float64) + 0.1
        transitions.append(p / p.sum(1, keepdim=True))
        costs.append(torch.rand(wide, generator=g, dtype=torch.float64))
        size = wide
    return costs, transitions, torch.ones(1, dtype=torch.float64)


def brute_force(costs: list[Tensor], transitions: list[Tensor], start: Tensor) -> tuple[float, float]:
    """Least expected cost over all stopping rules, each a choice at each node, and the least depth that attains it."""
    found = []
    for choice in product([False, True], repeat=sum(len(e) for e in costs[:-1])):
        there, spent, depth, rest = start, 0.0, 0.0, list(choice)
        for k, e in enumerate(costs):
            last = k == len(costs) - 1
            stop = torch.ones(len(e), dtype=torch.bool) if last else torch.tensor([rest.pop(0) for _ in e])
            spent += float((there * e)[stop].sum())
            depth += k * float(there[stop].sum())
            if not last:
                there = torch.where(stop, 0.0, there) @ transitions[k]
        found.append((spent, depth))
    least = min(spent for spent, _ in found)
    return least, min(depth for spent, depth in found if spent < least + 1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_backward_induction_is_brute_force_over_all_stopping_rules(seed: int) -> None:
    costs, transitions, start = random_tree(seed)
    found = snell_envelope(costs, transitions)
    least, depth = brute_force(costs, transitions, start)
    assert found.value(start) == pytest.approx(least, abs=1e-12)
    assert found.expected_depth(start) == pytest.approx(depth, abs=1e-12)
    assert float(found.stopping_law(start).sum()) == pytest.approx(1.0)


def test_the_envelope_of_a_population_is_the_best_rule_on_what_it_shows() -> None:
    """Means over the samples of every rule that sees only the observations, against the envelope of their tree."""
    g = torch.Generator().manual_seed(1)
    n, seen = 40, torch.randint(0, 2, (3, 40), generator=g)
    costs = stopping_costs(torch.rand(3, n, generator=g), 0.1)
    e, p, start, places = tree(seen, costs)
    found = snell_envelope(e, p)
    shown = [seen[0], 2 * seen[0] + seen[1]]
    values = []
    for rule in product([False, True], repeat=6):
        first = torch.tensor(rule[:2])[shown[0]]
        second = torch.tensor(rule[2:])[shown[1]]
        values.append(float(torch.where(first, costs[0], torch.where(second, costs[1], costs[2])).mean()))
    assert found.value(start) == pytest.approx(min(values), abs=1e-12)
    stopped = torch.stack([stop[place] for stop, place in zip(found.stops, places)]).int().argmax(0)
    assert float(costs.gather(0, stopped[None]).mean()) == pytest.approx(min(values), abs=1e-12)
    assert float(oracle(costs)[0].mean()) <= min(values)


def test_the_oracle_stops_at_the_first_least_cost() -> None:
    costs = stopping_costs(torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.5]]), 0.25)
    value, depth = oracle(costs)
    assert value.tolist() == [0.25, 0.0, 1.0]
    assert depth.tolist() == [1, 0, 0]


def test_costs_of_layers() -> None:
    assert stopping_costs(torch.zeros(3, 1), [0.5, 0.25])[:, 0].tolist() == [0.0, 0.5, 0.75]
    assert layer_costs(0.1, 4, [1, 1, 2, 0]).tolist() == pytest.approx([0.1, 0.1, 0.2, 0.0])
    assert float(layer_costs(0.3, 7, range(7)).mean()) == pytest.approx(0.3)


@pytest.mark.parametrize("cost", [-0.1, float("inf"), float("nan"), [0.1], [0.1, -0.1]])
def test_costs_that_are_negative_or_infinite_are_refused(cost: float | list[float]) -> None:
    with pytest.raises(ConfigError, match="cost of a layer"):
        stopping_costs(torch.zeros(3, 2), cost)


def test_what_else_is_refused() -> None:
    one = torch.ones(1, dtype=torch.float64)
    for weights in ([1.0], [-1.0, 2.0], [0.0, 0.0], [float("inf"), 1.0]):
        with pytest.raises(ConfigError):
            layer_costs(0.1, 2, weights)
    with pytest.raises(ConfigError):
        layer_costs(-1.0, 2)
    with pytest.raises(DataError):
        stopping_costs(torch.tensor([[0.0], [float("nan")]]), 0.1)
    with pytest.raises(ShapeError):
        stopping_costs(torch.zeros(3), 0.1)
    with pytest.raises(ShapeError):
        snell_envelope([one, one], [])
    with pytest.raises(DataError, match="probabilities"):
        snell_envelope([one, one], [torch.full((1, 1), 0.5, dtype=torch.float64)])
    with pytest.raises(DataError, match="negative"):
        snell_envelope([one, -one], [torch.ones(1, 1, dtype=torch.float64)])
