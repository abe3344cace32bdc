"""The counting bound: J of appended zero steps to the bit, and each verdict on hand-made numbers."""

from __future__ import annotations

import dataclasses
import math
from itertools import accumulate

import cases
import pytest
import torch
from systems import randn, stir_, zero_

from node_oc.data import Part
from node_oc.diagnosis import Control, Counting, control_costs, counting, cuts, diagnose, profile
from node_oc.discretization import EULER, RK4, DepthGrid, Network, Tableau
from node_oc.errors import DataError
from node_oc.problem import CrossEntropy, Problem, SoftCrossEntropy
from node_oc.system import DenseSystem
from node_oc.trajectory import rollout

X = randn(30, 2)
PART = Part(X, torch.arange(30) % 3)
H = (0.5, 1.0, 0.3, 0.8, 1.4, 0.7)
N, M = 6, 2


def dense(table: Tableau = EULER) -> Network:
    system = DenseSystem(2, 3, depth=N, width=5, hidden=4)
    stir_(system)
    return Network(system.double(), DepthGrid(H), table)


def control(net: Network, problem: Problem) -> Control:
    found = profile(net, problem, PART, "classification")
    stage, terminal = problem.stage.least, problem.terminal.least
    assert stage is not None
    assert terminal is not None
    return Control(
        "net", tuple(e - stage for e in found.running), found.stage[-1] - stage, found.terminal[-1] - terminal,
        sum(control_costs(net, problem)), net.grid.h,
    )  # fmt: skip


def total(net: Network, problem: Problem) -> float:
    """J above its least value, evaluated on the network itself."""
    least = (problem.terminal.least or 0.0) + problem.stage_weight * net.grid.horizon * (problem.stage.least or 0.0)
    return problem.evaluate(rollout(net, PART.x), PART.y).total.item() - least


PROBLEMS = {
    "stage costs": Problem.classification(3),
    "light": Problem.classification(3, stage_weight=0.3),
    "energy and price": dataclasses.replace(Problem.classification(3), energy=0.02, group_price=0.1),
    "another terminal cost": Problem(CrossEntropy(), SoftCrossEntropy(3, 0.2), 0.7),
}


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
@pytest.mark.parametrize("table", [EULER, RK4], ids=["euler", "rk4"])
@pytest.mark.parametrize("asleep", [True, False])
def test_zero_steps_appended_to_m_layers_have_the_j_of_the_formula(
    problem: Problem, table: Tableau, asleep: bool
) -> None:
    """arXiv 2506.21453, SubResNet-M: the construction, in float64."""
    long = dense(table)
    short = long.keep(range(M))
    for k in range(M, N):  # zero controls; inner weights too, since the energy counts them
        for p in long.system.control(k):
            torch.nn.init.zeros_(p)
    if asleep:
        long.set_awake(range(M))
    formula = control(short, problem).above_least(problem.stage_weight, long.grid.horizon)
    assert total(long, problem) == pytest.approx(formula, abs=1e-12, rel=1e-12)


@pytest.mark.parametrize("system", ["dense-tanh", "conv-two-stages", "projecting"])
@pytest.mark.parametrize("m", range(5))
def test_a_cut_is_the_network_with_its_last_groups_at_zero(system: str, m: int) -> None:
    net = cases.network(system)
    problem = dataclasses.replace(Problem.classification(cases.OUTPUTS), group_price=0.2)
    part = Part(cases.inputs(), cases.target("cross-entropy"))
    least = problem.stage.least or 0.0
    found = profile(net, problem, part, "classification")
    excess = [e - least for e in found.stage]
    costs = control_costs(net, problem)
    trained = Control("net", tuple(excess[:-1]), excess[-1], excess[-1], sum(costs), net.grid.h)
    own = [*cuts(trained, excess, excess, costs), trained]
    zero_(net.system, *range(m, net.depth))
    J = problem.evaluate(rollout(net, part.x), part.y).total.item() - least * (1 + net.grid.horizon)
    assert own[m].above_least(1.0, net.grid.horizon) == pytest.approx(J, abs=1e-12)


# -- verdicts on hand-made numbers -------------------------------------------------------------------------


def made(excess: list[float], name: str = "trained", cost: float = 0.0, h: float = 1.0) -> Control:
    return Control(name, tuple(excess[:-1]), excess[-1], excess[-1], cost, (h,) * (len(excess) - 1))


TURNPIKE = made([1.0, 0.5, 0.1] + [0.01] * 18)
SHORT = made([1.0, 0.6, 0.2, 0.01], "a short network")


def test_numbers_by_hand() -> None:
    found = counting(TURNPIKE, [SHORT], gamma=2.0)
    assert found.objective == pytest.approx(2 * (1.6 + 17 * 0.01) + 0.01)
    assert found.bound == pytest.approx(2 * 1.8 + 2 * 17 * 0.01 + 0.01)
    assert found.gap == pytest.approx(found.objective - found.bound)
    assert [(r.of, r.level, r.measured) for r in found.levels] == [
        ("excess", 0.5, 2.0), ("excess", 0.2, 2.0), ("excess", 0.1, 3.0), ("excess", 0.05, 3.0)]  # fmt: skip
    assert [r.bound for r in found.levels] == pytest.approx([found.bound / (2 * e) for e in (0.5, 0.2, 0.1, 0.05)])


def test_step_sizes_and_control_cost_count() -> None:
    found = counting(made([1.0, 0.5, 0.25], cost=0.3, h=0.1), [made([1.0, 0.75], "other", cost=0.7, h=0.1)], 4.0)
    assert found.objective == pytest.approx(4 * 0.1 * 1.5 + 0.25 + 0.3)
    assert found.bound == pytest.approx(4 * 0.1 * 1.0 + 4 * 0.1 * 0.75 + 0.75 + 0.7)
    assert found.levels[0].measured == pytest.approx(0.2)


def test_a_turnpike_keeps_the_bound() -> None:
    found = counting(TURNPIKE, [SHORT], 1.0, distance=[math.sqrt(e) for e in (1.0, 0.5, 0.1, *[0.01] * 17)],
                     rate=lambda d: d**2)  # fmt: skip
    assert (found.verdict, found.owed) == ("holds", True)
    assert found.sentence.startswith("Counting bound holds: J is 1.78 above its least value, with a short network 1.98")
    assert "an excess of 0.2 or more lasts for 2 of 20 units of time, by the bound at most 9.9" in found.sentence
    assert [r.of for r in found.levels] == ["excess"] * 4 + ["distance"] * 4


def test_a_bound_of_more_time_than_there_is_says_so() -> None:
    assert "says nothing" in counting(made([1.0] * 5), [made([1.0] * 4, "other")], 1.0).sentence


def test_the_bound_does_not_grow_with_the_depth_once_the_minimisers_are_reached() -> None:
    reaches = made([1.0, 0.5, 0.0], "reaches")
    bounds = [counting(made([1.0, 0.5] + [0.0] * n), [reaches], 1.0).bound for n in (5, 50, 500)]
    assert bounds == [1.5] * 3


def test_a_network_without_a_turnpike_is_not_owed_the_bound_and_says_by_how_much() -> None:
    slow = made([1.0] * 19 + [0.5, 0.0])
    found = counting(slow, [SHORT, made([1.0, 0.9], "a shorter one")], 1.0)
    assert (found.verdict, found.owed, found.other) == ("not owed", False, "a short network")
    assert found.gap == pytest.approx(19.5 - 1.98)
    assert "17.5 more than with a short network (1.98); an excess of 0.2 or more lasts for 20 of 20" in found.sentence
    assert dict(found.others) == pytest.approx({"a short network": 1.98, "a shorter one": 1.0 + 19 * 0.9 + 0.9})


def violated(found: Counting, of: str) -> bool:
    return found.verdict == "violated" and found.sentence.startswith(f"Counting bound violated: {of} at least")


def test_numbers_that_violate_the_bound_are_flagged() -> None:
    """A J that stays under the time spent far away, because a terminal cost is under its 'least' value."""
    wrong = Control("trained", (1.0,) * 8, 1.0, -7.0, 0.0, (1.0,) * 8)
    found = counting(wrong, [SHORT], 1.0)
    assert violated(found, "excess")
    assert "for 8 units of time, but at most 1.86 by J of a short network" in found.sentence


def test_a_cost_below_its_least_value_is_flagged_even_where_nothing_is_exceeded() -> None:
    wrong = Control("trained", (-1.0,) * 4, 1.0, 0.0, 0.0, (1.0,) * 4)
    found = counting(wrong, [SHORT], 1.0)
    assert found.verdict == "violated"
    assert "below its least value" in found.sentence


@pytest.mark.parametrize("h", [(1.0, math.nan), (1.0, 0.0), (1.0, -1.0), (math.inf, 1.0)])
def test_step_sizes_are_positive(h: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="positive finite"):
        Control("trained", (1.0, 0.5), 0.1, 0.1, 0.0, h)


def test_distances_that_do_not_belong_to_the_excess_are_flagged() -> None:
    far = [2.0] * 20  # alpha(2) = 4, but the excess is 0.01 for most of the way
    found = counting(TURNPIKE, [SHORT], 1.0, distance=far, rate=lambda d: d**2, distance_name="state distance")
    assert violated(found, "state distance")
    assert counting(TURNPIKE, [SHORT], 1.0, distance=far, rate=lambda d: 0.01 * d**2).verdict == "holds"


def test_a_violation_between_the_levels_shown_is_found() -> None:
    """Far for a moment at k = 0, then for long at a hundredth of it: below every level that is shown."""
    found = counting(TURNPIKE, [SHORT], 1.0, distance=[1000.0] + [10.0] * 19, rate=lambda d: 1e-6 * d**2 + 0.1)
    assert all(r.measured <= r.bound for r in found.levels)
    assert violated(found, "distance")


def test_exactly_on_the_bound_holds() -> None:
    flat = made([0.1] * 4 + [0.0])
    found = counting(flat, [dataclasses.replace(flat, name="the same")], 1.0)
    assert (found.verdict, found.gap) == ("holds", 0.0)
    assert counting(made([0.0] * 4), [made([0.0] * 3, "other")], 1.0).verdict == "holds"


def test_cuts_cost_what_the_formula_says() -> None:
    excess = (1.0, 0.5, 0.25, 0.125)
    trained = made(list(excess), cost=0.6)
    own = cuts(trained, excess, [2 * e for e in excess], (0.1, 0.2, 0.3))
    found = [c.above_least(3.0, 3.0) for c in own]
    before = [0.0, *accumulate(excess)]
    paid = [0.0, 0.1, 0.3]
    assert found == pytest.approx([3 * before[m] + 3 * (3 - m) * excess[m] + 2 * excess[m] + paid[m] for m in range(3)])
    assert own[1].name == "its own first 1 layer and zero steps"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"others": []}, "counting bound"),
        ({"gamma": 0.0}, "counting bound"),
        ({"gamma": math.nan}, "counting bound"),
        ({"trained": made([1.0])}, "counting bound"),
        ({"others": [made([1.0] * 30, "long")]}, "time of long"),
        ({"distance": [1.0] * 20}, "distance"),
        ({"distance": [1.0] * 3, "rate": float}, "distance"),
        ({"distance": [math.nan] * 20, "rate": float}, "distance"),
    ],
)
def test_bad_input_raises(change: dict[str, object], what: str) -> None:
    with pytest.raises(DataError, match=what):
        counting(**{"trained": TURNPIKE, "others": [SHORT], "gamma": 1.0, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_control_that_is_not_finite_raises(number: float) -> None:
    with pytest.raises(DataError, match="excess of x"):
        made([1.0, number, 0.0], "x")
    with pytest.raises(DataError, match="steps of x"):
        Control("x", (1.0, 1.0), 0.0, 0.0, 0.0, (1.0,))


# -- through diagnose -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_diagnose_compares_with_every_cut_and_the_other_network(problem: Problem) -> None:
    net = dense()
    other = net.keep(range(3))
    stir_(other, seed=7)
    found = diagnose(net, problem, PART, other=other).counting
    assert found is not None
    assert found.objective == pytest.approx(total(net, problem), rel=1e-12)
    assert len(found.others) == N + 1
    assert found.others[-1][0] == "the other network of 3 layers and zero steps"
    assert found.others[-1][1] == pytest.approx(control(other, problem).above_least(problem.stage_weight, sum(H)))
    assert found.bound == min(value for _, value in found.others)
    assert found.verdict in ("holds", "not owed")
    assert {r.of for r in found.levels} == {"excess", "state distance"}


def test_steps_of_several_stages_are_judged_by_the_excess_that_j_has_seen() -> None:
    problem = Problem.classification(3)
    found = diagnose(dense(RK4), problem, PART).counting
    assert found is not None
    assert found.objective == pytest.approx(total(dense(RK4), problem), rel=1e-12)
    assert {r.of for r in found.levels} == {"excess"}


def test_another_network_that_takes_longer_raises() -> None:
    net = dense()
    with pytest.raises(DataError, match="time of the other network"):
        diagnose(net.keep(range(2)), Problem.classification(3), PART, other=net)
