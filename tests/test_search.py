"""The depth rule on small sets: what it selects, certifies, and leaves out; and that it is resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from node_oc import search as module
from node_oc.config import SearchSection, TrainingSection
from node_oc.data import Part, Split, spirals
from node_oc.diagnosis import Budget, sample_losses
from node_oc.discretization import Network
from node_oc.errors import ConfigError
from node_oc.problem import Problem
from node_oc.search import Candidate, DepthSearch, Found, Protocol
from node_oc.system import DenseSystem

OPTIONS = TrainingSection(epochs=150, batch=0, learning_rate=5e-3, min_updates=0)


@pytest.fixture(scope="module")
def split() -> Split:
    return spirals(turns=0.5, train=200, val=2000, test=2000)


def network(depth: int, seed: int = 0) -> Network:
    generator = torch.Generator().manual_seed(seed)
    return Network(
        DenseSystem(2, 2, depth=depth, width=4, hidden=8, lift="pad", head="coordinates", generator=generator)
    )


@pytest.fixture(scope="module")
def found(split: Split) -> Found:
    return DepthSearch(Problem.classification(2), split, OPTIONS, fresh=network).run(network(6))


def test_the_answer_is_an_ordinary_network_within_the_budget(found: Found, split: Split) -> None:
    assert 1 <= found.depth < 6
    assert found.network.depth == found.depth == found.selected
    assert found.plain is not None
    assert found.plain.depth == found.depth
    loss = sample_losses(found.network, split.val, split.task) - sample_losses(found.reference, split.val, split.task)
    assert loss.mean() <= 0.01
    selected = next(c for c in found.candidates if c.depth == found.depth)
    assert selected.inside
    assert selected.excess <= found.budget.limit


def test_prices_rise_until_the_budget_is_left(found: Found) -> None:
    prices = [p.sparse.price for p in found.priced]
    assert prices == list(module.PRICES[: len(prices)])
    assert all(p.inside for p in found.priced[:-1])
    inside = [p for p in found.priced if p.inside]
    assert inside
    assert len(found.source.awake) == min(len(p.sparse.awake) for p in inside)


def test_candidates_are_first_awake_steps_and_one_shallower_one_failed(found: Found) -> None:
    awake = list(found.source.awake)
    assert all(list(c.steps) == awake[: c.depth] for c in found.candidates)
    by_depth = {c.depth: c.inside for c in found.candidates}
    assert found.depth == 1 or by_depth[found.depth - 1] is False


def test_certificates_go_from_deep_to_shallow_and_stop_at_the_first_failure(found: Found) -> None:
    sequence = [c.certificate for c in sorted(found.candidates, key=lambda c: -c.depth) if c.depth >= found.selected]
    reached = [c for c in sequence if c is not None]
    assert reached == sequence[: len(reached)]
    assert all(c.holds for c in reached[:-1])
    assert len(reached) == len(sequence) or not reached[-1].holds
    assert all(c.certificate is None for c in found.candidates if c.depth < found.selected)


def test_certify_makes_the_certified_depth_the_depth(split: Split) -> None:
    search = DepthSearch(
        Problem.classification(2), split, OPTIONS, SearchSection(certify=True, budget=0.02, plain=False)
    )
    found = search.run(network(6))
    assert found.depth == (found.certified_depth or 6)
    assert found.network.depth == found.depth
    assert found.plain is None


def test_a_small_validation_set_selects_and_certifies_nothing(split: Split) -> None:
    small = Split(split.train, Part(split.val.x[:500], split.val.y[:500]), split.test, split.task, split.classes,
                  split.features, split.x_scale)  # fmt: skip
    search = DepthSearch(Problem.classification(2), small, OPTIONS)
    assert len(search.protocol.selecting) == 500
    assert search.protocol.certifying is None


def test_the_halves_are_disjoint_and_fixed(split: Split) -> None:
    one, two = (DepthSearch(Problem.classification(2), split, OPTIONS).protocol for _ in range(2))
    assert one.certifying is not None
    assert torch.equal(one.selecting.x, two.selecting.x)
    both = torch.cat([one.selecting.x, one.certifying.x])
    assert len(both.unique(dim=0)) == len(split.val)


def test_a_fixed_price_is_the_only_one_and_price_zero_none(split: Split) -> None:
    for price, want in ((0.3, [0.3]), (0.0, [])):
        section = SearchSection(heal=False, plain=False)
        search = DepthSearch(Problem.classification(2).priced(price), split, OPTIONS, section, auto=False)
        found = search.run(network(3))
        assert [p.sparse.price for p in found.priced] == want
        assert all(c.raw == c.excess for c in found.candidates)  # not healed


def test_a_price_of_ones_own_is_not_silently_replaced(split: Split) -> None:
    with pytest.raises(ConfigError, match="auto=False"):
        DepthSearch(Problem.classification(2).priced(0.3), split, OPTIONS)


def test_a_finished_search_is_read_from_its_folder(split: Split, tmp_path: Path) -> None:
    def search(progress: Callable[..., None]) -> Found:
        return DepthSearch(Problem.classification(2), split, OPTIONS, fresh=network, folder=tmp_path,
                           progress=progress).run(network(3))  # fmt: skip

    first = search(lambda *a: None)
    calls: list[int] = []
    second = search(lambda *a: calls.append(1))
    assert not calls
    assert second.depth == first.depth
    pairs = zip(first.network.parameters(), second.network.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


class Scripted(Protocol):
    """A protocol by which candidates are inside the budget as a script says."""

    inside: frozenset[int] = frozenset()

    def attempt(self, source: Network, steps: Sequence[int], name: str, teacher: object = None) -> Candidate:
        return Candidate(len(steps), tuple(steps), source, 0.0, 0.0, len(steps) in self.inside)


def scripted(split: Split, inside: Iterable[int]) -> DepthSearch:
    search = DepthSearch(Problem.classification(2), split, OPTIONS)
    search.protocol = Scripted(search.problem, split, OPTIONS)
    search.protocol.inside = frozenset(inside)
    search.protocol.judge_by(network(12))
    return search


@pytest.mark.parametrize("answer", range(10))
def test_bisection_finds_the_smallest_depth_with_few_heals(split: Split, answer: int) -> None:
    tried: dict[int, Candidate] = {}
    assert scripted(split, range(answer, 10))._bisect(network(9), tried) == answer
    assert len(tried) <= 5


def test_where_no_candidate_is_inside_all_layers_are_needed(split: Split) -> None:
    assert scripted(split, ())._bisect(network(9), {}) is None


def test_without_a_reference_nothing_is_judged(split: Split) -> None:
    protocol = Protocol(Problem.classification(2), split, OPTIONS)
    assert not protocol.judged
    with pytest.raises(ConfigError, match="judge_by"):
        protocol.paired(network(1))


def test_regression_budget_is_relative_and_cut_at_the_reference_quantile() -> None:
    reference = np.linspace(0, 1, 1001)
    budget = Budget.against(0.1, "regression", reference)
    assert budget.ceiling == pytest.approx(0.999)
    d = budget.paired(np.array([5.0, 0.5]), np.array([0.5, 0.5]))
    assert d == pytest.approx([0.999 - 0.55, 0.5 - 0.55])
    assert budget.limit == 0
    assert budget.range[0] <= d.min()
    assert d.max() <= budget.range[1]


def test_where_the_first_price_is_too_dear_lower_ones_are_tried(split: Split) -> None:
    class Dear(DepthSearch):
        def _at_price(self, price: float, start: Network) -> object:  # type: ignore[override]
            asked.append((price, start is self.protocol.reference))
            return SimpleNamespace(inside=price < 0.005, network=network(2), sparse=SimpleNamespace(awake=(0, 1)))

    asked: list[tuple[float, bool]] = []
    search = Dear(Problem.classification(2), split, OPTIONS)
    search.protocol.judge_by(network(2))
    assert [entry.inside for entry in search._raise_price()] == [True, False, False]  # by rising price
    assert asked == [(0.03, True), (0.01, True), (0.003, True)]
