"""The error of each step in J, and the loop that halves the worst."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from cases import doubles, inputs, network, pairs, target
from systems import decay, stir_, zero_
from torch import Tensor

from node_oc.discretization import EULER, HEUN, MIDPOINT, RK4, DepthGrid, Network, Tableau, refine
from node_oc.errors import ConfigError, DivergenceError
from node_oc.problem import Problem, SquaredError, adapt, indicators
from node_oc.problem.refinement import graded, mark
from node_oc.system.ode import Chebyshev, Coordinates, DenseVectorField, NeuralODE, Pad, VectorField
from node_oc.trajectory import Solution, Solver, rollout

X, Y = inputs(), target("squared-error")
BOTH = replace(Problem.regression(0.7), energy=0.1)
END = Problem.regression(0.0)
every_table = pytest.mark.parametrize("table", [EULER, MIDPOINT, HEUN, RK4], ids=lambda table: table.name)


def smooth(steps: int, table: Tableau) -> Network:
    """A smooth ODE of a control that varies, on [0, 1]."""
    g = torch.Generator().manual_seed(0)
    field = DenseVectorField(3, 4, time=True, generator=g)
    system = NeuralODE(field, lift=Pad(2, 3), head=Coordinates(3, 3), steps=steps, basis=Chebyshev(3)).double()
    stir_(system, 0.3)
    return Network(system, table=table)


@torch.no_grad()
def value(net: Network, problem: Problem, solver: Solver | None = None) -> float:
    trajectory = rollout(net, X) if solver is None else Solution(net, X, solver)
    return float(problem.evaluate(trajectory, Y).smooth)


# -- closed forms --------------------------------------------------------------------------------------------


def test_one_step_of_decay_by_hand() -> None:
    net, h = Network(decay(1), DepthGrid((0.4,))), 0.4
    x = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    problem = Problem(SquaredError(), SquaredError(), stage_weight=2.0)
    got = indicators(net, problem, x, torch.zeros_like(x))
    cost = SquaredError()(torch.ones(1, 1, 1), torch.zeros(1, 1)).item()  # of a state 1: costs are cost x^2
    moved = 2 * cost * (1 - h) * ((1 - h / 2) ** 2 - (1 - h))
    running = 2.0 * cost * (h / 2 * (1 + (1 - h / 2) ** 2) - h)
    one = 2 * (moved + running)  # and the factor 1 / (1 - 1/2) of a table of order 1
    torch.testing.assert_close(got.samples, one * x.T**2)
    torch.testing.assert_close(got.steps, torch.tensor([5 * one], dtype=torch.float64))
    assert got.error == pytest.approx(5 * one, rel=1e-12)
    assert got.bound == pytest.approx(abs(5 * one), rel=1e-12)


def test_energy_of_a_control_that_varies() -> None:
    class Still(VectorField):
        """f = 0 x, u(t) = a polynomial: only its energy is integrated."""

        group_names = ("u",)

        def __init__(self) -> None:
            super().__init__()
            self.u = torch.nn.Parameter(torch.ones((), dtype=torch.float64))

        def forward(self, t: float | Tensor, x: Tensor) -> Tensor:
            return 0 * self.u * x

    system = NeuralODE(Still(), steps=2, basis=Chebyshev(2))
    with torch.no_grad():
        system.coefficients[0].copy_(torch.tensor([1.0, 1.0]))  # u = 2 t, energy 4/3 against Euler's 1/2
    got = indicators(Network(system), replace(Problem.regression(1.0), energy=3.0), X, X)
    # A step from a of size h: Euler takes 4 a^2 h, its halves 2 h (a^2 + (a + h/2)^2); twice the difference.
    by_hand = [3 * 2 * (2 * h * (a**2 + (a + h / 2) ** 2) - 4 * a**2 * h) for a, h in ((0, 0.5), (0.5, 0.5))]
    torch.testing.assert_close(got.steps, torch.tensor(by_hand, dtype=torch.float64))


# -- relations -----------------------------------------------------------------------------------------------


@every_table
def test_the_estimate_comes_near_to_the_true_error(table: Tableau) -> None:
    net = smooth(12, table)
    exact = value(net, BOTH, Solver("dopri8", 1e-11, 1e-11))
    found = indicators(net, BOTH, X, Y)
    assert found.error / (exact - value(net, BOTH)) == pytest.approx(1, abs=0.1)


@every_table
def test_one_indicator_is_the_change_of_j_when_that_step_is_halved(table: Tableau) -> None:
    net = smooth(8, table)
    net.set_awake([0, 1, 2, 4, 5, 6, 7])
    found = indicators(net, BOTH, X, Y)
    changes = torch.tensor([value(refine(net, [k]), BOTH) - value(net, BOTH) for k in range(8)], dtype=torch.float64)
    richardson = 1 / (1 - 2.0**-table.order)
    torch.testing.assert_close(found.steps, richardson * changes, rtol=0.1, atol=1e-2 * float(changes.abs().max()))
    assert abs(found.steps[3]) < 1e-15


@pytest.mark.parametrize(("name", "table"), [p for p in pairs() if doubles(p[0])])
def test_every_system_has_indicators_of_its_shape(name: str, table: str) -> None:
    net = network(name, table)
    found = indicators(net, Problem.regression(0.3), X, target("squared-error"))
    assert found.samples.shape == (4, 6)
    assert bool(found.samples.isfinite().all())
    assert bool((found.spread >= found.steps.abs() - 1e-15).all())
    assert abs(found.error) <= found.bound <= float(found.spread.sum()) * (1 + 1e-12)
    for k in range(net.depth):
        assert net.system.is_identity(k) or not found.samples[k].any()


def test_sleeping_and_zero_steps_make_no_error() -> None:
    net = network("dense-tanh", "heun")
    zero_(net.system, 1)
    net.set_awake([0, 1, 3])
    found = indicators(net, BOTH, X, Y)
    torch.testing.assert_close(found.steps[[1, 2]], torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-15)
    assert found.steps[0] != 0


def test_indicators_leave_no_gradients_and_no_changes() -> None:
    net = network("dense-tanh")
    before = net(X)
    found = indicators(net, BOTH, X, Y)
    assert not found.samples.requires_grad
    assert all(p.grad is None for p in net.parameters())
    assert torch.equal(net(X), before)


def test_a_state_that_is_not_finite_is_named() -> None:
    with pytest.raises(DivergenceError, match="state x_0"):
        indicators(network("dense-tanh"), BOTH, X * math.inf, Y)


# -- the loop ------------------------------------------------------------------------------------------------


class Bump(VectorField):
    """x' = u exp(-((t - 0.6) / 0.05)^2) sin x."""

    group_names = ("u",)

    def __init__(self) -> None:
        super().__init__()
        self.u = torch.nn.Parameter(torch.tensor(8.0, dtype=torch.float64))

    def forward(self, t: float | Tensor, x: Tensor) -> Tensor:
        return self.u * math.exp(-(((float(t) - 0.6) / 0.05) ** 2)) * torch.sin(x)


def window(table: Tableau, steps: int = 4) -> Network:
    return Network(NeuralODE(Bump(), head=Coordinates(2, 2), steps=steps), table=table)


TARGET = torch.zeros_like(X)


@pytest.mark.parametrize("table", [MIDPOINT, RK4], ids=lambda table: table.name)
def test_layers_go_where_the_field_acts(table: Tableau) -> None:
    got = adapt(window(table), END, X, TARGET, tolerance=1e-3, max_depth=100)
    assert got.met
    assert got.network.depth == got.rounds[-1].depth == len(got.network.h)
    narrow = [t for t, h in zip(got.network.grid.t, got.network.h) if h == min(got.network.h)]
    assert all(0.45 <= t <= 0.75 for t in narrow)
    assert max(got.network.h) >= 4 * min(got.network.h)
    assert max(max(a, b) / min(a, b) for a, b in pairwise(got.network.h)) <= 2 * (1 + 1e-9)

    def error(net: Network) -> float:
        with torch.no_grad():
            j, exact = (float(END.evaluate(way, TARGET).smooth) for way in
                        (rollout(net, X), Solution(window(table, 32), X, Solver("dopri8", 1e-11, 1e-11))))  # fmt: skip
        return abs(j - exact)

    assert error(got.network) <= 1e-3
    assert error(window(table, got.network.depth)) > 2 * error(got.network)


def test_rounds_tell_what_happened() -> None:
    net = window(HEUN)
    got = adapt(net, BOTH, X, TARGET, tolerance=0.0, max_depth=13)
    assert not got.met
    assert net.depth == 4
    assert got.rounds[0].h == (0.25,) * 4
    assert 11 <= got.rounds[-1].depth <= 13
    assert all(a.depth < b.depth for a, b in pairwise(got.rounds))
    first = indicators(net, BOTH, X, TARGET)
    assert got.rounds[0].indicators == tuple(first.steps.tolist())
    assert (got.rounds[0].error, got.rounds[0].bound) == (first.error, first.bound)
    assert got.sentence.startswith(f"4 to {got.network.depth} layers, no more than 13 being allowed: ")


def test_a_met_tolerance_changes_nothing() -> None:
    net = window(RK4)
    got = adapt(net, END, X, TARGET, tolerance=1e3, max_depth=50)
    assert got.network is net
    assert got.met
    assert got.sentence.startswith("4 layers: the estimated error of J, ")


def test_training_comes_between_two_looks() -> None:
    seen: list[int] = []

    def train(net: Network) -> None:
        seen.append(net.depth)
        with torch.no_grad():
            for p in net.parameters():
                p.mul_(0.5)

    net = window(MIDPOINT)
    got = adapt(net, END, X, TARGET, tolerance=0.0, max_depth=9, train=train)
    assert seen == [one.depth for one in got.rounds[1:]]
    assert next(got.network.parameters()).item() == 8 * 0.5 ** len(seen)
    assert next(net.parameters()).item() == 8
    with torch.no_grad():
        last = END.evaluate(rollout(got.network, X), TARGET)
    assert got.rounds[-1].objective == float(last.smooth)


def test_nothing_to_do_stops() -> None:
    net = network("dense-tanh")
    zero_(net.system, *range(4))
    got = adapt(net, END, X, Y, tolerance=0.0, max_depth=50)
    assert (len(got.rounds), got.met) == (1, True)


@pytest.mark.parametrize(
    ("eta", "share", "marked"),
    [
        ([1, -5, 2, 0], 0.5, [1]),
        ([1, -5, 2, 0], 0.625, [1]),
        ([1, -5, 2, 0], 0.7, [1, 2]),
        ([1, -5, 2, 0], 1.0, [1, 2, 0]),
        ([1, 1, 1, 1], 0.5, [0, 1]),
        ([0, 0], 0.5, []),
        ([], 0.5, []),
    ],
)
def test_marking(eta: list[float], share: float, marked: list[int]) -> None:
    assert mark(torch.tensor(eta, dtype=torch.float64), share) == marked


@pytest.mark.parametrize(
    ("h", "step", "together"),
    [
        ((1, 1, 1), 1, {1}),
        ((2, 1, 2), 1, {0, 1, 2}),
        ((4, 2, 1, 1, 2, 4), 2, {0, 1, 2}),
        ((4, 2, 1, 1, 2, 4), 4, {4, 5}),
        ((1, 2, 1), 1, {1}),
    ],
)
def test_longer_neighbours_are_halved_too(h: tuple[float, ...], step: int, together: set[int]) -> None:
    assert graded(Network(decay(len(h)), DepthGrid(h)), step) == together


def test_neighbours_that_sleep_or_project_are_left_alone() -> None:
    grid = DepthGrid((2.0, 1.0, 2.0, 2.0))
    assert graded(Network(decay(4), grid, awake=[1, 2]), 1) == {1, 2}
    assert graded(Network(network("conv-two-stages").system, grid), 1) == {0, 1}


@pytest.mark.parametrize(
    ("name", "wrong"), [("tolerance", -1.0), ("tolerance", math.nan), ("share", 0.0), ("share", 1.5), ("max_depth", 3)]
)
def test_arguments_out_of_range_are_refused(name: str, wrong: float) -> None:
    arguments = {"tolerance": 0.1, "max_depth": 8, "share": 0.5, name: wrong}
    with pytest.raises(ConfigError, match=f"{name}: got {wrong}"):
        adapt(window(EULER), END, X, TARGET, **arguments)  # type: ignore[arg-type]
