"""A budget of FLOPs or latency: the deepest cut that it pays for, against counting by hand."""

from __future__ import annotations

import itertools

import pytest
import torch

import node_oc as oc
from node_oc.config import Config, SearchSection, TrainingSection
from node_oc.data.split import Part, Scale, Split
from node_oc.discretization import Network
from node_oc.errors import ConfigError
from node_oc.record.afforded import afforded
from node_oc.search import Afforded, CostBudget, DepthSearch, Priced
from node_oc.system import DenseSystem
from node_oc.training.active import Sparse

ENDS, STEP = 2 * (3 * 5 + 5 * 2), 2 * 2 * 5 * 7  # FLOPs


def dense(depth: int = 6) -> Network:
    generator = torch.Generator().manual_seed(0)
    return Network(DenseSystem(3, 2, depth=depth, width=5, hidden=7, generator=generator)).double()


def share(depth: float, full: int = 6) -> float:
    return (ENDS + depth * STEP) / (ENDS + full * STEP)


X = torch.zeros(4, 3, dtype=torch.float64)


@pytest.mark.parametrize("depth", range(6))
def test_the_deepest_within_a_share_of_the_flops(depth: int) -> None:
    net = dense()
    for allowed in (share(depth), (share(depth) + share(depth + 1)) / 2):
        found = CostBudget("flops", allowed, 1, X).deepest(net, net)
        assert found == Afforded("flops", allowed, pytest.approx(share(depth)), 1, tuple(range(depth)))


def test_sleeping_steps_are_dropped_first_and_cost_nothing() -> None:
    net, source = dense(), dense()
    source.set_awake([1, 4, 5])
    assert CostBudget("flops", 0.99, 1, X).deepest(source, net).steps == (1, 4, 5)
    assert CostBudget("flops", share(2), 1, X).deepest(source, net).steps == (1, 4)
    assert CostBudget("flops", share(3), 1, X).pays(source, net)
    assert not CostBudget("flops", share(3) - 1e-9, 1, X).pays(source, net)


def test_a_budget_that_nothing_keeps_says_the_nearest() -> None:
    net = dense()
    budget = CostBudget("flops", 0.01, 1, X)
    for ask in (lambda: budget.check(net), lambda: budget.deepest(net, net)):
        with pytest.raises(ConfigError, match=rf"search.flops: got 0.01, expected at least {share(0):.3g}"):
            ask()


def test_latency_is_a_ratio_of_medians_and_luck_is_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds are made up here: a step costs 1, lift and head 1; one measurement of depth 4 comes out too low."""
    lucky = itertools.chain([0.5], itertools.repeat(1.0))

    def measure(modules: dict, x: torch.Tensor, batches: tuple[int, ...], *rest: float) -> dict:
        assert (x.shape, batches) == ((4, 3), (32,))

        def cost(name: str) -> oc.Measure:
            depth = modules[name].depth
            p50 = (1 + depth) * (next(lucky) if depth == 4 and name == "cut" else 1.0)
            return oc.Measure(0, 0, 0, {32: type("Latency", (), {"p50": p50})()}, {})

        return {name: cost(name) for name in modules}

    monkeypatch.setattr("node_oc.search.afford.measure", measure)
    net = dense()
    found = CostBudget("latency", 0.6, 32, X).deepest(net, net)
    assert (found.steps, found.share) == ((0, 1, 2), pytest.approx(4 / 7))  # 5/7 is too much, and found out


def test_a_section_sets_one_or_none() -> None:
    assert CostBudget.of(SearchSection(), X) is None
    assert CostBudget.of(SearchSection(flops=0.5), X) == CostBudget("flops", 0.5, 1, X)
    assert CostBudget.of(SearchSection(latency=0.5, latency_batch=8), X) == CostBudget("latency", 0.5, 8, X)
    with pytest.raises(ConfigError, match="one of the two"):
        Config.load(None, ["search.way=cut", "search.flops=0.5", "search.latency=0.5"])
    with pytest.raises(ConfigError, match=r"search\.flops: got a share with search\.way=grow"):
        Config.load(None, ["search.flops=0.5"])


def split() -> Split:
    """Two classes, the sign of the product of two inputs."""
    x = torch.randn(300, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = (x[:, 0] * x[:, 1] > 0).long()
    parts = [Part(x[a : a + 100], y[a : a + 100]) for a in (0, 100, 200)]
    one = Scale(torch.zeros(3), torch.ones(3))
    return Split(*parts, "classification", ("no", "yes"), ("a", "b", "c"), one)


@pytest.mark.parametrize(("budget", "words"), [(0.9, "Both budgets hold"), (0.0, "The budget of accuracy does not")])
def test_a_search_takes_the_deepest_paid_for_and_says_which_budget_fails(budget: float, words: str) -> None:
    options = TrainingSection(epochs=40, batch=0, min_updates=0, learning_rate=0.03, precision="64-true", threads=1)
    search = SearchSection(flops=share(1), budget=budget, plain=False, heal=False)
    cost = oc.SoftCrossEntropy(2, 0.1)
    ours = DepthSearch(oc.Problem(cost, cost, 1.0, 0.0, 0.0), split(), options, search, auto=False)
    found = ours.run(dense())
    assert found.afforded is not None
    assert found.afforded.steps == (0,)
    assert (found.depth, found.selected, len(found.candidates)) == (1, 1, 1)
    assert found.network.depth == 1
    assert found.candidates[0].inside == (found.candidates[0].excess <= budget) == (budget > 0)
    assert words in afforded(found)
    assert f"{100 * share(1):.3g} % of the full network's FLOPs" in afforded(found)


def searching(**section: object) -> DepthSearch:
    options = TrainingSection(epochs=1, batch=0, min_updates=0, precision="64-true", threads=1)
    cost = oc.SoftCrossEntropy(2, 0.1)
    search = SearchSection(budget=0.9, plain=False, heal=False, **section)  # type: ignore[arg-type]
    return DepthSearch(oc.Problem(cost, cost, 1.0, 0.0, 0.0), split(), options, search)


@pytest.mark.parametrize(("allowed", "steps"), [(share(4), (0, 2, 4)), (share(2), (5,)), (share(5.5), (0, 1, 2, 3, 5))])
def test_of_the_prices_that_fit_the_deepest_is_taken(
    allowed: float, steps: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three networks within the budget of accuracy, as a rising price left them awake."""
    priced = []
    for awake in ((0, 1, 2, 3, 5), (0, 2, 4), (5,)):
        network = dense()
        network.set_awake(awake)
        priced.append(Priced(Sparse(1.0, awake, (), ()), network, 0.0, 0.0, True))
    monkeypatch.setattr(DepthSearch, "_raise_price", lambda self: priced)
    found = searching(flops=allowed).run(dense())
    assert found.afforded is not None
    assert found.afforded.steps == steps


def test_what_rivals_cut_may_start_where_ours_did(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = dense(2)
    protocol = searching().protocol
    protocol.judge_by(trained)
    monkeypatch.setattr("node_oc.search.ledger.Ledger.train", lambda *a, **k: None)
    monkeypatch.setattr("node_oc.search.ledger.Ledger.row", lambda self, way, network, *rest: network)
    rivals = oc.Rivals(protocol, lambda depth: dense(depth + 1), depth=2, deep=lambda: trained)
    assert rivals.plain(2) is trained
    assert rivals.plain(1).depth == 2
    rivals = oc.Rivals(protocol, lambda depth: dense(depth + 1), depth=2)
    assert rivals.plain(2).depth == 3
