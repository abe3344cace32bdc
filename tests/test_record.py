"""The record and the verdict: intervals, the work of a sweep, and the unflattering sentences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from node_oc.config import TrainingSection
from node_oc.data import spirals
from node_oc.diagnosis import Budget, Certificate
from node_oc.discretization import Network
from node_oc.problem import Problem
from node_oc.record import interval, sweep_work, verdict
from node_oc.search import Candidate, Found
from node_oc.system import DenseSystem
from node_oc.training import Plan, fit

SPLIT = spirals(turns=0.25, train=200, val=400, test=10)


def network(depth: int) -> Network:
    generator = torch.Generator().manual_seed(depth)
    return Network(DenseSystem(2, 2, depth=depth, width=4, hidden=8, generator=generator))


@pytest.fixture(scope="module")
def good() -> Network:
    net = network(4)
    options = TrainingSection(batch=0, learning_rate=1e-2)
    fit(net, Problem.classification(2), SPLIT.train, options, plan=Plan(updates=300))
    return net


def found(reference: Network, cropped: Network, plain: Network | None = None, **changes: object) -> Found:
    certificate = changes.pop("certificate", None)
    candidate = Candidate(cropped.depth, tuple(range(cropped.depth)), cropped, 0.0, 0.0, True, certificate)  # type: ignore[arg-type]
    fields: dict[str, object] = {
        "reference": reference, "budget": Budget(0.005, "classification"), "priced": [], "source": reference,
        "candidates": [candidate], "depth": cropped.depth, "network": cropped, "selected": cropped.depth,
        "certified_depth": None, "plain": plain, "selecting": 400, "certifying": 0, **changes,
    }  # fmt: skip
    return Found(**fields)  # type: ignore[arg-type]


def say(answer: Found, ours: float | None = None, sweep: int = 7) -> str:
    networks = {"full": answer.reference, "cropped": answer.network} | ({"plain": answer.plain} if answer.plain else {})
    return verdict(answer, SPLIT, networks, {"ours": ours, "sweep": sweep})


@pytest.mark.parametrize(
    ("depth", "layers"), [(1, 1 + 2), (2, 1 + 2 + 4), (3, 1 + 2 + 4 + 8 + 3), (4, 18), (8, 31 + 6 + 7)]
)
def test_the_work_of_an_upward_sweep_by_hand(depth: int, layers: int) -> None:
    assert sweep_work(depth) == layers


def test_intervals() -> None:
    wilson = interval(np.array([1.0] + [0.0] * 99), "classification")
    assert wilson["value"] == pytest.approx(0.99)
    assert (wilson["low"], wilson["high"]) == pytest.approx((0.9455, 0.9982), abs=1e-4)
    loss = interval(np.array([1.0, 3.0]), "regression")
    assert (loss["low"], loss["high"]) == pytest.approx((2 - 1.96, 2 + 1.96))


def test_the_answer_comes_first(good: Network) -> None:
    assert say(found(good, good.keep([0, 1]))).startswith("This network needs 2 of its 4 layers")
    assert "no shallower network" in say(found(good, good)).lower()


def test_a_better_plain_network_is_named(good: Network) -> None:
    bad = network(2)
    assert "did not pay here" in say(found(good, bad, plain=good.keep(range(4))))
    assert "did not pay here" not in say(found(good, good.keep(range(3)), plain=bad))


def test_a_reference_worse_than_the_plain_network_is_no_yardstick(good: Network) -> None:
    bad = network(3)
    said = say(found(bad, bad.keep([0, 1]), plain=good.keep(range(4))))
    assert "The full network is worse than a plain one of 2 layers, by " in said
    assert "believe a sweep" in said
    assert "is worse than a plain one" not in say(found(good, good.keep([0, 1]), plain=good.keep(range(4))))


def test_a_cheaper_sweep_is_named(good: Network) -> None:
    assert "would have taken about 0.5" in say(found(good, good.keep([0])), ours=14.0)
    assert "would have taken" not in say(found(good, good.keep([0])), ours=6.0)


def test_what_is_not_certified_says_why_and_what_it_takes(good: Network) -> None:
    small = good.keep([0, 1])
    assert "too few for two halves" in say(found(good, small))
    fails = Certificate(0.001, 0.009, 0.005, 1000, 4321)
    text = say(found(good, small, certificate=fails, certifying=1000))
    assert "upper limit 0.0090, about 4321 points needed" in text
    hopeless = Certificate(0.007, 0.009, 0.005, 1000, None)
    assert "no number of points would do" in say(found(good, small, certificate=hopeless, certifying=1000))
    holds = Certificate(0.0, 0.002, 0.005, 1000, 1000)
    assert "Certified on 1000 other points" in say(
        found(good, small, certificate=holds, certifying=1000, certified_depth=2)
    )


def test_validation_data_that_cannot_resolve_the_budget(good: Network) -> None:
    assert "cannot resolve a budget of 0.005" in say(found(good, good.keep([0]), selecting=50))
    assert "cannot resolve" not in say(found(good, good.keep([0]), selecting=400))
    nothing = Budget(0.0, "classification")  # asks for as many right answers, which any number of points can tell
    assert "cannot resolve" not in say(found(good, good.keep([0]), budget=nothing))


def test_a_linear_model_would_have_done(good: Network) -> None:
    assert "linear model" in say(found(good, good.keep([])))
