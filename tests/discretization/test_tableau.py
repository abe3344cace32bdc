"""Tables that check themselves, and what is known about their fixed points."""

from __future__ import annotations

import math

import pytest
import torch
from systems import Field

from node_oc.discretization import EULER, HEUN, MIDPOINT, RK4, TABLEAUS, Tableau, step
from node_oc.errors import ConfigError


@pytest.mark.parametrize(
    ("a", "b", "c", "complaint"),
    [
        (((), (0.5,)), (0.0, 1.0), (0.0, 0.4), "row error 1.0e-01"),
        (((), (0.5,)), (0.5, 0.6), (0.0, 0.5), "sum of weights 1.1"),
        (((),), (0.5,), (0.0,), "sum of weights 0.5"),
        (((), ()), (0.5, 0.5), (0.0, 0.0), "rows \\[0, 0\\]"),
        (((0.0,), (1.0,)), (0.5, 0.5), (0.0, 1.0), "rows \\[1, 1\\]"),
        (((),), (0.5, 0.5), (0.0, 1.0), "rows \\[0\\], 2 weights"),
        (((), (1.0,)), (0.5, 0.5), (0.0,), "1 nodes"),
    ],
)
def test_a_wrong_table_raises(a: tuple, b: tuple, c: tuple, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Tableau("wrong", a, b, c, 1)


def test_tables_are_found_by_their_names() -> None:
    assert TABLEAUS == {"euler": EULER, "midpoint": MIDPOINT, "heun": HEUN, "rk4": RK4}
    assert [table.stages for table in TABLEAUS.values()] == [1, 2, 2, 4]


@pytest.mark.parametrize("table", TABLEAUS.values(), ids=TABLEAUS)
def test_weights_meet_the_order_conditions(table: Tableau) -> None:
    """sum b c^(q-1) = 1/q for q up to the order (Butcher; the quadrature part)."""
    for q in range(1, table.order + 1):
        moment = sum(b * c ** (q - 1) for b, c in zip(table.b, table.c, strict=True))
        assert moment == pytest.approx(1 / q, abs=1e-15)


def logistic(table: Tableau, x: float, h: float) -> float:
    """One step on x' = x (1 - x)."""
    after, _ = step(Field(lambda x: x * (1 - x), 1).double(), table, 0, torch.tensor([[x]], dtype=torch.float64), h)
    return after.item()


@pytest.mark.parametrize("table", TABLEAUS.values(), ids=TABLEAUS)
@pytest.mark.parametrize("equilibrium", [0.0, 1.0])
def test_equilibria_are_fixed_points(table: Tableau, equilibrium: float) -> None:
    assert logistic(table, equilibrium, 2.5) == equilibrium


@pytest.mark.parametrize("h", [0.5, 1.0, 3.0])
def test_midpoint_has_spurious_fixed_points(h: float) -> None:
    for x in (2 / h, 1 + 2 / h):
        assert logistic(MIDPOINT, x, h) == pytest.approx(x, rel=1e-14)


def sign_changes(table: Tableau, h: float) -> list[float]:
    """Where step(x) - x changes its sign on (0.05, 4)."""
    x = torch.linspace(0.05, 4, 4001, dtype=torch.float64)[:, None]
    after, _ = step(Field(lambda x: x * (1 - x), 1).double(), table, 0, x, h)
    sign = (after - x).flatten().sign()
    return x.flatten()[:-1][sign[:-1] != sign[1:]].tolist()


def test_fixed_points_of_rk4_come_in_near_1_and_euler_has_none() -> None:
    """Theory sheet, section 1 (Iserles 1990 for the phenomenon)."""
    for h in (1.0, 2.0, 3.0):
        assert sign_changes(EULER, h) == pytest.approx([1.0], abs=2e-3)
    near = [x for x in sign_changes(RK4, 3.0) if x < 1.5]
    assert near == pytest.approx([0.761, 1.0, 1.043], abs=2e-3)
    assert [x for x in sign_changes(RK4, 2.0) if x < 1.3] == pytest.approx([1.0], abs=2e-3)


def test_rk4_multiplies_a_linear_field_by_the_taylor_polynomial() -> None:
    h = 0.7
    after, stages = step(Field(torch.neg, 1).double(), RK4, 0, torch.ones(1, 1, dtype=torch.float64), h)
    assert after.item() == pytest.approx(sum((-h) ** q / math.factorial(q) for q in range(5)), rel=1e-14)
    assert len(stages) == 4


@pytest.mark.parametrize(("a", "b", "c"), [(((),), (math.nan,), (0.0,)), ((), (), ())])
def test_a_table_of_nan_or_of_nothing_is_refused(a: tuple, b: tuple, c: tuple) -> None:
    with pytest.raises(ConfigError, match="tableau"):
        Tableau("odd", a, b, c, 1)
