"""Equilibria and fixed points of a step: the logistic equation in closed form and by polynomial roots."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.polynomial import Polynomial
from systems import Field, Projecting, randn, stir_
from torch import Tensor

from node_oc.diagnosis.equilibria import preserves_equilibria, resting_stages
from node_oc.diagnosis.fixed_points import FixedPoints, fixed_points
from node_oc.diagnosis.roots import jacobian, roots
from node_oc.discretization import EULER, HEUN, MIDPOINT, RK4, TABLEAUS, DepthGrid, Tableau
from node_oc.discretization.step import step
from node_oc.errors import ConfigError, ShapeError
from node_oc.system import DenseSystem
from node_oc.system.ode import DenseVectorField, Fourier, NeuralODE

TABLES = (EULER, MIDPOINT, HEUN, RK4)
X = Polynomial([0.0, 1.0])


def logistic() -> Field:
    return Field(lambda x: x * (1 - x), 1).double()


def search(table: Tableau, h: float, low: float = -3.0, high: float = 3.0, starts: int = 12) -> FixedPoints:
    x = torch.linspace(low, high, starts, dtype=torch.float64)[:, None]
    return fixed_points(logistic(), table, 0, h, x)


def at(found: FixedPoints) -> list[float]:
    return [float(p.x) for p in found.points]


def polynomial_roots(table: Tableau, h: float, low: float, high: float) -> list[float]:
    """Real roots in [low, high] of step(x) - x, the step of the table as a polynomial: an independent reference."""
    slopes: list[Polynomial] = []
    for row in table.a:
        stage = X + sum((h * w * s for w, s in zip(row, slopes)), Polynomial([0.0]))
        slopes.append(stage * (1 - stage))
    p = sum((h * w * s for w, s in zip(table.b, slopes)), Polynomial([0.0]))
    found = []
    for z in p.roots():
        if abs(z.imag) > 1e-4 or not low <= z.real <= high:
            continue
        x = z.real
        for _ in range(20):  # Newton: eigenvalues of a companion matrix of degree 16 have few digits
            x -= p(x) / p.deriv()(x)
        found.append(x)
    return sorted(found)


# -- the search ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("h", [0.25, 0.8, 1.0, 1.5, 3.0, 5.0])
def test_midpoint_has_two_spurious_points_for_every_h(h: float) -> None:
    found = search(MIDPOINT, h, high=2 + 2 / h)
    np.testing.assert_allclose(at(found), sorted([0, 1, 2 / h, 1 + 2 / h]), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose([float(p.x) for p in found.spurious], [2 / h, 1 + 2 / h], rtol=1e-9)
    np.testing.assert_allclose([float(p.x) for p in found.equilibria], [0, 1], atol=1e-9)
    for p in found.points:
        x = float(p.x)
        assert p.field == pytest.approx(abs(x * (1 - x)), abs=1e-8)
        middle = x + h / 2 * x * (1 - x)  # step'(x) = 1 + h f'(m) m'(x)
        slope = 1 + h * (1 - 2 * middle) * (1 + h / 2 * (1 - 2 * x))
        assert p.radius == pytest.approx(abs(slope), abs=1e-7)
        assert p.attracting == (abs(slope) < 1)
        assert p.isolated
    assert "2 SPURIOUS" in found.sentence


def test_where_a_spurious_point_meets_an_equilibrium_they_are_one() -> None:
    found = search(MIDPOINT, 2.0)
    np.testing.assert_allclose(at(found), [0, 1, 2], atol=1e-5)
    assert [p.spurious for p in found.points] == [False, False, True]
    assert [p.isolated for p in found.points] == [True, False, True]
    assert "1 of them need not be isolated" in found.sentence


@pytest.mark.parametrize("table", [EULER, HEUN, RK4], ids=lambda t: t.name)
@pytest.mark.parametrize("h", [0.5, 1.9, 2.5, 3.0, 4.0])
def test_every_real_root_of_the_step_polynomial_is_found(table: Tableau, h: float) -> None:
    low, high = -2.0, 3.0
    expected = polynomial_roots(table, h, low, high)
    found = search(table, h, low, high, starts=6)
    inside = [x for x in at(found) if low <= x <= high]
    np.testing.assert_allclose(inside, expected, atol=1e-8)
    for p in found.points:
        assert p.spurious == (min(abs(float(p.x)), abs(float(p.x) - 1)) > 1e-6)
    if table is EULER:
        assert not found.spurious
        assert found.sentence.startswith("No spurious fixed point")


def test_rk4_gets_spurious_points_near_one_between_two_and_three() -> None:
    near = [round(float(p.x), 3) for p in search(RK4, 3.0).spurious if 0.5 < float(p.x) < 1.5]
    assert near == [0.761, 1.043]
    assert [round(float(p.x), 3) for p in search(RK4, 2.0).spurious if 0.5 < float(p.x) < 1.5] == []


def test_a_point_that_the_step_only_touches_is_found() -> None:
    tangent = Field(lambda x: (x - 0.3) ** 2 * (x + 1), 1).double()
    found = fixed_points(tangent, EULER, 0, 1.0, torch.tensor([[-2.0], [2.0]]))
    np.testing.assert_allclose(at(found), [-1, 0.3], atol=1e-5)


def test_what_lies_outside_of_the_starts_is_found_in_the_interval() -> None:
    starts = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    assert len(fixed_points(logistic(), MIDPOINT, 0, 0.1, starts).points) == 2
    np.testing.assert_allclose(
        at(fixed_points(logistic(), MIDPOINT, 0, 0.1, starts, interval=(-1, 30))), [0, 1, 20, 21], atol=1e-8
    )


def pair(x: Tensor) -> Tensor:
    """Two logistic equations turned by 0.7: equilibria and fixed points are all pairs, turned."""
    c, s = math.cos(0.7), math.sin(0.7)
    turn = torch.tensor([[c, -s], [s, c]], dtype=x.dtype)
    z = x @ turn
    return (z * (1 - z)) @ turn.T


def test_in_the_plane_they_are_pairs() -> None:
    h = 1.25
    starts = 4 * torch.rand(150, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1
    turn = torch.tensor([[math.cos(0.7), -math.sin(0.7)], [math.sin(0.7), math.cos(0.7)]], dtype=torch.float64)
    found = fixed_points(Field(pair, 1, size=2).double(), MIDPOINT, 0, h, starts @ turn.T)
    each = [0.0, 1.0, 2 / h, 1 + 2 / h]
    expected = torch.tensor([[a, b] for a in each for b in each], dtype=torch.float64)
    mine = torch.stack([p.x for p in found.points]) @ turn
    order = torch.tensor(sorted(range(len(mine)), key=lambda i: tuple(mine[i].round(decimals=6).tolist())))
    torch.testing.assert_close(mine[order], expected, atol=1e-8, rtol=0)
    assert len(found.equilibria) == 4
    centre = next(p for p in found.points if (p.x @ turn - 1).norm() < 1e-6)  # the Jacobian there is a multiple of I
    assert centre.radius == pytest.approx(abs(1 - h + h**2 / 2), abs=1e-8)


def test_states_of_any_shape() -> None:
    flat = Field(torch.sin, 1).double()
    flat.lift = lambda x: x  # type: ignore[method-assign]
    found = fixed_points(flat, EULER, 0, 1.0, randn(5, 2, 1, 2))
    assert found.points
    assert found.points[0].x.shape == (2, 1, 2)
    assert all(p.field < 1e-9 and not p.spurious for p in found.points)


def test_a_zero_branch_keeps_every_state() -> None:
    still = Field(torch.zeros_like, 1).double()
    found = fixed_points(still, RK4, 0, 1.0, torch.tensor([[0.3], [0.3]]), interval=None)
    assert [p.isolated for p in found.points] == [False]
    assert found.points[0].radius == 1
    assert "1 of them need not be isolated" in found.sentence


def test_no_fixed_point_is_said() -> None:
    away = Field(lambda x: 1 + x**2, 1).double()
    found = fixed_points(away, EULER, 0, 1.0, torch.linspace(-1, 1, 3)[:, None])
    assert found.points == ()
    assert found.sentence == "No fixed point of step 0 of euler with h = 1 was found from 3 starts."


def test_a_float32_system_is_searched_in_float64_and_not_changed() -> None:
    system = Field(lambda x: x * (1 - x), 1)
    found = fixed_points(system, MIDPOINT, 0, 0.8, torch.linspace(-1, 4, 6)[:, None])
    np.testing.assert_allclose(at(found), [0, 1, 2.5, 3.5], atol=1e-10)
    assert system.u[0].dtype == torch.float32
    assert system.u[0].requires_grad


def test_far_away_a_bounded_field_looks_solved_and_is_left_out() -> None:
    dense = DenseSystem(2, 2, depth=1, width=2, hidden=8, generator=torch.Generator().manual_seed(1))  # float32
    found = fixed_points(dense, EULER, 0, 1.0, randn(4, 2))
    assert {p.x.dtype for p in found.points} == {torch.float64}
    assert all(p.field < 1e-10 and not p.spurious and p.isolated for p in found.points)


def test_a_trained_horizon_makes_steps_longer() -> None:
    class Twice(Field):
        pace = 2.0

    system = Twice(lambda x: x * (1 - x), 1).double()
    found = fixed_points(system, MIDPOINT, 0, 0.4, torch.linspace(-1, 4, 6)[:, None])
    np.testing.assert_allclose(at(found), [0, 1, 2.5, 3.5], atol=1e-9)
    assert found.points[1].radius == pytest.approx(abs(1 - 0.8 + 0.32))


def test_what_cannot_be_searched() -> None:
    with pytest.raises(ConfigError, match="h_0"):
        fixed_points(logistic(), EULER, 0, 0.0, torch.zeros(1, 1))
    with pytest.raises(ConfigError, match="starts"):
        fixed_points(logistic(), EULER, 0, 1.0, torch.zeros(0, 1))
    with pytest.raises(ConfigError, match="interval"):
        fixed_points(Field(pair, 1, size=2), EULER, 0, 1.0, torch.zeros(1, 2), interval=(0, 1))
    with pytest.raises(ShapeError, match="identity"):
        fixed_points(Projecting([2, 3], 2, torch.Generator()), EULER, 0, 1.0, torch.zeros(1, 2))
    with pytest.raises(ShapeError, match="step k"):
        fixed_points(logistic(), EULER, 1, 1.0, torch.zeros(1, 1))


def test_jacobian_and_roots_of_a_linear_map() -> None:
    A, b = randn(4, 4, seed=1), randn(4, seed=2)
    value, slope = jacobian(lambda x: x @ A.T - b, torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(slope, A)
    torch.testing.assert_close(value, A.sum(1) - b)
    torch.testing.assert_close(
        roots(lambda x: x @ A.T - b, randn(3, 4), 1e-6)[0], torch.linalg.solve(A, b), atol=1e-9, rtol=0
    )


# -- preservation ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLEAUS.values(), ids=lambda t: t.name)
def test_every_table_preserves_equilibria_by_proof_and_in_fact(table: Tableau) -> None:
    proof = preserves_equilibria(table)
    assert (proof.preserved, proof.by, proof.residual) == (True, "table", 0.0)
    assert resting_stages(table.a) == tuple(range(table.stages))
    assert preserves_equilibria(table, logistic()) == proof
    x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)  # the field is exactly zero there
    assert torch.equal(step(logistic(), table, 0, x, 17.0)[0], x)


def test_the_proof_fails_where_a_stage_needs_itself_or_a_later_one() -> None:
    assert resting_stages([[0.5]]) == ()  # implicit midpoint
    assert resting_stages([[], [0.5, 0.5]]) == (0,)  # trapezoidal rule
    assert resting_stages([[0.0, 0.5], []]) == (0, 1)  # explicit, in another order
    assert resting_stages([[], [1.0], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]) == (0, 1)
    trapezoidal = object.__new__(Tableau)  # what a Tableau refuses to be
    for name, value in {"name": "trapezoidal", "a": ((), (0.5, 0.5)), "b": (0.5, 0.5), "c": (0.0, 1.0)}.items():
        object.__setattr__(trapezoidal, name, value)
    answer = preserves_equilibria(trapezoidal)
    assert (answer.preserved, answer.by, answer.residual) == (False, "table", None)
    assert "stages 1 of trapezoidal" in answer.sentence


class Moving(Field):
    """u(t) (x - a(t)) with a(t) = move t and u(t) = 1 + t; t = 0.5 (k + c), steps of 0.5."""

    def __init__(self, move: float, depth: int = 3) -> None:
        super().__init__(torch.zeros_like, depth)
        self.move = move
        self.double()

    @property
    def varies_within_steps(self) -> bool:
        return True

    def branch_at(self, k: int, c: float, x: Tensor) -> Tensor:
        t = 0.5 * (k + c)
        return (1 + t) * (x - self.move * t)

    def branch(self, k: int, x: Tensor) -> Tensor:
        return self.branch_at(k, 0.0, x)


GRID = DepthGrid.uniform(3, 0.5)


def test_an_equilibrium_that_moves_within_the_step_is_lost_and_by_how_much_is_told() -> None:
    move = 0.8
    answer = preserves_equilibria(MIDPOINT, Moving(move), torch.tensor([[3.0], [-1.0]]), grid=GRID)
    assert (answer.preserved, answer.by, answer.equilibria) == (False, "test", 3)
    # The first stage rests at a(t_k); the second sees a(t_k + h/2) = a + move h/2, with u = 1 + t_k + h/2.
    worst = (1 + 1.0 + 0.25) * move * 0.25
    assert answer.residual == pytest.approx(worst)
    assert answer.field == pytest.approx(worst)
    assert "step 2" in answer.sentence
    first = preserves_equilibria(MIDPOINT, Moving(move), torch.tensor([[3.0]]), grid=GRID, steps=[0])
    assert first.residual == pytest.approx(1.25 * move * 0.25)


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_an_equilibrium_that_stays_is_kept_by_test(table: Tableau) -> None:
    answer = preserves_equilibria(table, Moving(0.0), torch.tensor([[3.0]]), grid=GRID)
    assert (answer.preserved, answer.by, answer.equilibria) == (True, "test", 3)
    assert answer.residual < 1e-10
    assert "vanishes at every node" in answer.sentence


def test_euler_sees_the_first_node_alone() -> None:
    assert preserves_equilibria(EULER, Moving(0.8), torch.tensor([[3.0]]), grid=GRID).preserved


def test_a_neural_ode_whose_control_is_a_function_of_time() -> None:
    field = DenseVectorField(2, 6, generator=torch.Generator().manual_seed(2))
    still = NeuralODE(field, steps=2, horizon=2.0)
    assert preserves_equilibria(RK4, still).by == "table"
    ode = NeuralODE(field, steps=2, horizon=2.0, basis=Fourier(3))
    starts = randn(20, 2)
    same = preserves_equilibria(RK4, ode, starts)  # but for their start, its coefficients are zero
    assert same.preserved
    assert same.equilibria > 0
    stir_(ode)
    answer = preserves_equilibria(RK4, ode, starts)
    assert answer.preserved is False
    assert answer.residual is not None
    assert answer.residual > 0.01
    # With controls of its own in every stage, taken from u(t), the residual network answers the same.
    assert preserves_equilibria(RK4, ode.unroll(nodes=(0.0, 0.5, 1.0)), starts).residual == pytest.approx(
        answer.residual
    )


def test_no_equilibrium_is_no_answer() -> None:
    class Away(Moving):
        def branch_at(self, k: int, c: float, x: Tensor) -> Tensor:
            return 1 + c + x**2

    answer = preserves_equilibria(RK4, Away(0.0), torch.tensor([[3.0]]))
    assert answer.preserved is None
    assert answer.sentence.startswith("Not answered")
    with pytest.raises(ConfigError, match="starts"):
        preserves_equilibria(RK4, Moving(0.0))
