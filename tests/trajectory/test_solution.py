"""The ODE between grid points: its costs against scipy, its gradients against differences, its refusals."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest
import torch
from cases import OUTPUTS, inputs, network, target
from scipy.integrate import solve_ivp
from systems import decay, randn
from torch import Tensor, nn

from node_oc.discretization import RK4, TABLEAUS, DepthGrid, Network, discretize
from node_oc.errors import ConfigError, DataError, DivergenceError, ShapeError
from node_oc.problem import Problem, SoftCrossEntropy, SquaredError
from node_oc.problem.gradients import GradientWarning, check_gradients
from node_oc.system.ode import (
    Basis,
    Chebyshev,
    DenseVectorField,
    Fourier,
    NeuralODE,
    Pad,
    Piecewise,
    Polynomial,
    VectorField,
    Wavelet,
)
from node_oc.trajectory import Segmented, Solution, Solver, rollout

TIGHT = Solver("dopri8", 1e-11, 1e-11)
CONTROLS: dict[str, Basis] = {
    "constant": Piecewise(1), "piecewise": Piecewise(2), "polynomial": Polynomial(3), "chebyshev": Chebyshev(3),
    "fourier": Fourier(3), "wavelet": Wavelet(2),
}  # fmt: skip
# Of order two a step is cheap and many are needed: their tolerance is what still gives five digits.
TOLERANCE = {"dopri5": 1e-8, "dopri8": 1e-8, "bosh3": 1e-6, "fehlberg2": 2e-8, "adaptive_heun": 2e-6}


class Written(VectorField):
    """A field without parameters of interest, written down."""

    group_names = ("scale",)

    def __init__(self, f: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.f, self.scale = f, nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.scale * self.f(t, x)


def volterra(t: Tensor, x: Tensor) -> Tensor:
    a, b = x.unbind(-1)
    return torch.stack([a * (1 - b), b * (a - 1)], -1)


FIELDS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], float]] = {
    "decay": (lambda t, x: -x, 2.0),
    "Lotka and Volterra": (volterra, 3.0),
    "driven pendulum": (lambda t, x: torch.stack([x[..., 1], -torch.sin(x[..., 0]) + torch.cos(5 * t)], -1), 2.0),
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("controlled", [True, False])
def test_the_running_cost_is_that_of_scipy(name: str, controlled: bool) -> None:
    f, horizon = FIELDS[name]
    net = Network(NeuralODE(Written(f), horizon=horizon, steps=3).double())
    x, y = torch.tensor([[0.7, 1.2], [1.5, 0.4]], dtype=torch.float64), torch.tensor([[1.0, 0.5]]).double()
    solution = Solution(net, x, Solver("dopri8", 1e-11, 1e-11, controlled=controlled))
    running, _ = solution.accumulate(lambda readout: SquaredError()(readout, y))

    def augmented(t: float, state: np.ndarray) -> np.ndarray:
        point = torch.from_numpy(state[:4].reshape(2, 2))
        rate = f(torch.tensor(t), point).flatten()
        return np.append(rate, float((point - y).square().sum(1).mean()))

    ends = np.linspace(0, horizon, 4)
    found = solve_ivp(augmented, (0, horizon), [*x.flatten().tolist(), 0.0], "DOP853", ends, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(running.detach().numpy(), np.diff(found.y[4]), rtol=1e-9)
    np.testing.assert_allclose(solution.states[-1].detach().flatten().numpy(), found.y[:4, -1], rtol=1e-9)


def test_costs_of_a_decay_in_closed_form() -> None:
    """x' = -x, cost x^2: its integral over an interval is (x_k^2 - x_{k+1}^2) / 2."""
    net = Network(decay(3), DepthGrid((0.5, 1.0, 0.25)), awake=[0, 2])
    solution = Solution(net, randn(4, 1), TIGHT)
    running, at_end = solution.accumulate(lambda r: r.square()[..., 0])
    squares = torch.stack([x.square().mean() for x in solution.states])
    awake = (squares[:-1] - squares[1:]) / 2
    torch.testing.assert_close(running, torch.stack([awake[0], squares[1], awake[2]]), rtol=1e-10, atol=0)
    torch.testing.assert_close(solution.final, randn(4, 1) * math.exp(-0.75), rtol=1e-10, atol=0)
    assert at_end == squares[-1]


def ode(basis: Basis) -> Network:
    """A small neural ODE with a trained horizon, its coefficients generic."""
    system = NeuralODE(DenseVectorField(3, 4), lift=Pad(2, 3), head=nn.Linear(3, OUTPUTS), steps=2, basis=basis,
                       horizon=0.8, learn_horizon=True).double()  # fmt: skip
    with torch.no_grad():
        for i, p in enumerate(system.parameters()):
            p.copy_(0.6 * randn(*p.shape, seed=i) if p.dim() else torch.tensor(1.1))
    return Network(system, table=RK4)


PROBLEM = Problem(SoftCrossEntropy(OUTPUTS), SoftCrossEntropy(OUTPUTS), stage_weight=0.7, energy=0.05)


def slopes(net: Network, j: Callable[[Network, Tensor], Tensor], x: Tensor) -> list[float]:
    """Derivatives of J in three directions of (weights, T, inputs) by differences of the fourth order."""
    params, found = list(net.parameters()), []
    for seed in range(3):
        ways = [randn(*p.shape, seed=10 * i + seed) for i, p in enumerate([*params, x])]
        values, size = [], 1e-3
        with torch.no_grad():
            for i in (-2, -1, 1, 2):
                for p, way in zip(params, ways, strict=False):
                    p.add_(way, alpha=i * size)
                values.append(float(j(net, x + i * size * ways[-1])))
                for p, way in zip(params, ways, strict=False):
                    p.sub_(way, alpha=i * size)
        found.append((values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * size))
    return found


def along(net: Network, j: Callable[[Network, Tensor], Tensor], x: Tensor) -> list[float]:
    """The same by the gradient."""
    params, x = list(net.parameters()), x.clone().requires_grad_()
    gradients = torch.autograd.grad(j(net, x), [*params, x])
    return [sum(float((g * randn(*g.shape, seed=10 * i + seed)).sum()) for i, g in enumerate(gradients))
            for seed in range(3)]  # fmt: skip


def by(solver: Solver) -> Callable[[Network, Tensor], Tensor]:
    return lambda net, x: PROBLEM.evaluate(Solution(net, x, solver), target("entropy", len(x))).smooth


BY_TABLE: dict[str, Callable[[Network, Tensor], Tensor]] = {
    "backprop": lambda net, x: PROBLEM.evaluate(rollout(net, x), target("entropy", len(x))).smooth,
    "checkpoint": lambda net, x: PROBLEM.evaluate(Segmented(net, x, (1,)), target("entropy", len(x))).smooth,
}


QUICK = {("dopri5", "backprop"), ("dopri5", "adjoint"), ("bosh3", "checkpoint")}  # the others: make long


@cache
def reference(control: str) -> list[float]:
    return slopes(ode(CONTROLS[control]), by(Solver("dopri8", 1e-9, 1e-9)), inputs(3))


@pytest.mark.parametrize(
    ("control", "method", "gradient"),
    [
        pytest.param(
            control,
            method,
            gradient,
            marks=() if (method, gradient) in QUICK and control != "wavelet" else pytest.mark.long,
        )
        for control in CONTROLS
        for method in TOLERANCE
        for gradient in ("backprop", "checkpoint", "adjoint")
    ],
)
def test_gradients_of_solvers_equal_differences(control: str, method: str, gradient: str) -> None:
    """In weights, horizon and inputs, to 1e-5; the differences are those of a solver at 1e-9."""
    net, x, tolerance = ode(CONTROLS[control]), inputs(3), TOLERANCE[method]
    got = along(net, by(Solver(method, tolerance, tolerance, gradient)), x)  # type: ignore[arg-type]
    wanted = reference(control)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.linalg.norm(wanted))


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("method", BY_TABLE)
@pytest.mark.parametrize("table", TABLEAUS)
def test_gradients_of_tables_equal_differences(control: str, method: str, table: str) -> None:
    """In weights, horizon and inputs, to 1e-8."""
    net, x = Network(ode(CONTROLS[control]).system, table=TABLEAUS[table]), inputs(3)
    wanted = slopes(net, BY_TABLE[method], x)
    got = along(net, BY_TABLE[method], x)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-8 * np.linalg.norm(wanted))


@pytest.mark.parametrize("name", ["dense-tanh", "unrolled-relu", "ode-fourier-horizon"])
def test_a_fine_grid_of_a_table_tends_to_the_solution(name: str) -> None:
    """RK4 with each interval taken in 16 steps, against the solver: states and running costs."""
    net, x, y = network(name, RK4), inputs(), target("entropy")
    solution = Solution(net, x, Solver("dopri8", 1e-10, 1e-10))
    running, _ = solution.accumulate(lambda readouts: PROBLEM.stage(readouts, y))
    states, costs = [net.system.lift(x)], []
    for k, h in enumerate(net.grid.h):
        state, cost = states[-1], torch.zeros(())
        for i in range(16):
            stages, slopes_ = [], []
            for a, c in zip(RK4.a, RK4.c, strict=True):
                stages.append(state + h / 16 * net.system.pace * sum(w * f for w, f in zip(a, slopes_, strict=True)))
                slopes_.append(net.system.branch_at(k, (i + c) / 16, stages[-1]))
                weight = h / 16 * net.system.pace * RK4.b[len(stages) - 1]
                cost = cost + weight * PROBLEM.stage(net.system.readout(stages[-1], k)[None], y).mean()
            state = state + h / 16 * net.system.pace * sum(b * f for b, f in zip(RK4.b, slopes_, strict=True))
        states.append(state)
        costs.append(cost)
    loose = {"rtol": 1e-4, "atol": 1e-4} if "relu" in name else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(solution.states[-1], states[-1], **loose)
    torch.testing.assert_close(running, torch.stack(costs), **loose)


def test_a_table_is_no_solver_and_unknown_names_raise() -> None:
    for wrong in ({"method": "rk4"}, {"gradient": "magic"}, {"rtol": 0.0}, {"max_steps": -1}):
        with pytest.raises(ConfigError):
            Solver(**wrong)  # type: ignore[arg-type]


def test_a_projecting_skip_is_no_ode() -> None:
    with pytest.raises(ShapeError, match="interval of an ODE"):
        Solution(network("projecting"), inputs())


class Noisy(VectorField):
    group_names = ("linear.weight",)

    def __init__(self, extra: nn.Module) -> None:
        super().__init__()
        self.linear, self.extra = nn.Linear(2, 2), extra

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.extra(self.linear(x))


@pytest.mark.parametrize("extra", [nn.Dropout(0.5), nn.BatchNorm1d(2), nn.AlphaDropout()])
def test_noise_inside_an_adaptive_solve_is_refused_in_training_mode(extra: nn.Module) -> None:
    net = Network(NeuralODE(Noisy(extra), steps=2).double())
    with pytest.raises(ConfigError, match=r"in training mode.*noise driver"):
        Solution(net, inputs())
    Solution(net.eval(), inputs()).final  # noqa: B018 - it can be solved
    rollout(net.train(), inputs())  # a fixed grid is another matter


@pytest.mark.parametrize("extra", [nn.RReLU(), nn.Dropout1d()])
def test_a_random_field_is_refused_whatever_makes_it_random(extra: nn.Module) -> None:
    net = Network(NeuralODE(Noisy(extra), steps=2).double())
    with pytest.raises(ConfigError, match="noise driver"):
        Solution(net, inputs(64)).final  # noqa: B018


def test_controls_at_some_nodes_alone_are_no_ode() -> None:
    flat = discretize(ode(Fourier(3)).system, 2, RK4)
    with pytest.raises(ShapeError, match="solve the ODE that it came from"):
        Solution(flat, inputs())


def test_empty_batches_and_bad_numbers_raise() -> None:
    with pytest.raises(DataError, match="no samples"):
        Solution(ode(Fourier(3)), inputs()[:0])
    for wrong in ({"rtol": "1e-3"}, {"max_steps": 2.5}):
        with pytest.raises(ConfigError, match="positive number"):
            Solver(**wrong)  # type: ignore[arg-type]
    net = ode(Fourier(3))
    with pytest.raises(ConfigError, match="no methods"):
        check_gradients(net, PROBLEM, inputs(), target("entropy"), methods=())
    with pytest.raises(ConfigError, match="unfreeze"):
        check_gradients(net.requires_grad_(False), PROBLEM, inputs(), target("entropy"))


def test_inputs_that_are_not_finite_are_named() -> None:
    with pytest.raises(DivergenceError, match="a state that is not finite"):
        Solution(ode(Fourier(3)), inputs() * torch.nan).final  # noqa: B018


def test_sleeping_everywhere_costs_no_energy() -> None:
    net = ode(Fourier(3))
    net.set_awake([])
    assert Solution(net, inputs()).control_energy() == 0
    assert net.control_energy() == 0


@pytest.mark.parametrize(
    ("f", "solver", "what"),
    [
        (lambda t, x: x.square() * 10, Solver(), "shrank|not finite"),
        (lambda t, x: -1e4 * (x - torch.cos(t)), Solver(max_steps=20), "too many steps"),
        (lambda t, x: x * torch.where(t > 0.3, torch.nan, 1.0), Solver(), "shrank|not finite"),
        (lambda t, x: torch.where(t > 0.5, torch.inf, 1.0) * torch.ones_like(x), Solver(), "shrank|not finite"),
    ],
)
@pytest.mark.parametrize("gradient", ["backprop", "adjoint"])
def test_a_solver_that_gives_up_says_when_and_why(f: Callable, solver: Solver, what: str, gradient: str) -> None:
    net = Network(NeuralODE(Written(f), steps=2).double())
    way = replace(solver, gradient=gradient)  # type: ignore[arg-type]
    with pytest.raises(DivergenceError, match=rf"time t = 0[.\d]*.*({what}).*field.*loosen"):
        Solution(net, torch.ones(1, 1, dtype=torch.float64), way).final  # noqa: B018


def test_an_adjoint_that_gives_up_on_the_way_back_says_so_too() -> None:
    net = Network(NeuralODE(Written(lambda t, x: -300 * (x - torch.cos(t))), steps=1).double())
    solution = Solution(net, torch.ones(2, 1).double(), Solver(rtol=1e-3, atol=1e-3, gradient="adjoint", max_steps=150))
    running, _ = solution.accumulate(lambda r: r.square().sum(-1))
    with pytest.raises(
        DivergenceError, match=r"adjoint by dopri5 at time t = 0.*too many steps; where the way there ended"
    ):
        running.sum().backward()


def test_fields_are_asked_with_a_time_that_is_a_tensor() -> None:
    """So that torch.cos(t) is right for tables, unrolled networks and solvers alike."""
    net = Network(NeuralODE(Written(lambda t, x: torch.cos(t) * x), steps=16).double(), table=RK4)
    wanted = randn(3, 2) * math.exp(math.sin(1.0))
    for out in (net(randn(3, 2)), discretize(net)(randn(3, 2)), Solution(net, randn(3, 2)).final):
        torch.testing.assert_close(out, wanted, rtol=1e-5, atol=1e-6)


def test_statistics_count_what_was_done() -> None:
    net = ode(Fourier(3))
    calls = []
    net.system.vector_field.register_forward_hook(lambda *_: calls.append(1))
    solution = Solution(net, inputs(), Solver())
    solution.final.sum().backward()
    assert solution.statistics.evaluations == len(calls) > 0
    assert solution.statistics.accepted >= net.depth
    before = len(calls)
    adjoint = Solution(net, inputs(), Solver(gradient="adjoint"))
    adjoint.final.sum().backward()
    assert adjoint.statistics.evaluations == len(calls) - before > before


def test_costs_that_do_not_count_take_the_steps_of_the_state() -> None:
    """A cost that varies faster than the state costs steps only where its error counts."""
    net = Network(NeuralODE(Written(lambda t, x: -x), horizon=1.0, steps=1).double())
    x, taken = torch.ones(1, 1, dtype=torch.float64), []
    for controlled in (True, False):
        solution = Solution(net, x, Solver("dopri5", 1e-8, 1e-8, controlled=controlled))
        solution.accumulate(lambda r: torch.cos(40 * r)[..., 0])
        taken.append(solution.statistics.accepted)
    alone = Solution(net, x, Solver("dopri5", 1e-8, 1e-8))
    assert alone.final.numel()
    assert taken[0] > 2 * taken[1]
    assert taken[1] == alone.statistics.accepted


class Contracting(VectorField):
    """f = lam (tanh(W x + b) - x): theory, "A warning that follows from the theory"."""

    group_names = ()

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        draw = partial(torch.randn, generator=generator, dtype=torch.float64)
        self.weight, self.bias = nn.Parameter(draw(16, 16) / 8), nn.Parameter(draw(16))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return 25 * (torch.tanh(x @ self.weight.T + self.bias) - x)


def test_the_adjoint_of_a_contracting_field_is_flagged_and_the_default_is_right() -> None:
    net = Network(NeuralODE(Contracting(), steps=1)).float()
    start = torch.randn(1, 16, generator=torch.Generator().manual_seed(1))
    problem = Problem(Nothing(), SquaredError(), stage_weight=1.0)
    with pytest.warns(GradientWarning, match="Do not train with: adjoint"):
        check = check_gradients(net, problem, start, torch.ones(1, 16))
    assert check.wrong == ("adjoint",)
    assert check.errors["backprop"] < 1e-4
    assert check.errors["adjoint"] > 0.5


class Nothing(SquaredError):
    def __call__(self, readout: Tensor, target: Tensor) -> Tensor:
        return 0 * super().__call__(readout, target)


def test_good_gradients_raise_no_warning() -> None:
    net = ode(Fourier(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check = check_gradients(
            net, PROBLEM, inputs(), target("entropy"), methods=("backprop", "checkpoint", "adjoint")
        )
    assert check.wrong == ()
    assert "all within 1%" in check.sentence
    assert check.evaluations["checkpoint"] - 2 == 2 * (check.evaluations["backprop"] - 2)  # two ask for steadiness


def test_a_method_that_gives_up_is_wrong_and_says_why() -> None:
    net = Network(NeuralODE(Contracting(), steps=1))
    with pytest.warns(GradientWarning):
        check = check_gradients(
            net, Problem(SquaredError(), SquaredError()), randn(1, 16), torch.ones(1, 16).double(),
            Solver(rtol=1e-9, atol=1e-9, max_steps=60), ("adjoint",),
        )  # fmt: skip
    assert check.errors["adjoint"] == math.inf
    assert "too many steps" in check.said["adjoint"]
