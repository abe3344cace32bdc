"""Neural ODEs as systems: bases, jumps of the control, horizons, fields of one's own, files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from systems import randn
from torch import Tensor, nn

from node_oc.config import TrainingSection
from node_oc.data import Part, Scale, spirals
from node_oc.diagnosis import diagnose
from node_oc.discretization import EULER, RK4, TABLEAUS, DepthGrid, Network, discretize
from node_oc.errors import ConfigError, ShapeError, StoreError
from node_oc.exporting import save_model
from node_oc.inference import Model
from node_oc.problem import Problem
from node_oc.search import DepthSearch, GrowthSearch
from node_oc.system.base import as_number
from node_oc.system.ode import (
    BASES,
    Basis,
    Chebyshev,
    ConvVectorField,
    Coordinates,
    DenseVectorField,
    Fourier,
    NeuralODE,
    Pad,
    Piecewise,
    Polynomial,
    UnrolledSystem,
    VectorField,
    Wavelet,
    basis_from,
    register_field,
)
from node_oc.system.ode.basis import basis_spec
from node_oc.training.loop import fit
from node_oc.trajectory import Solution, Solver, rollout

PLACES = torch.linspace(0, 1, 41, dtype=torch.float64)
CONTROLS: list[Basis] = [Piecewise(1), Piecewise(4), Polynomial(4), Chebyshev(4), Fourier(5), Wavelet(4, "db4")]
by_name = pytest.mark.parametrize("basis", CONTROLS, ids=lambda b: f"{type(b).__name__}-{b.size}")


def values(basis: Basis) -> Tensor:
    return torch.stack([basis.values(s) for s in PLACES])


def test_chebyshev_polynomials_are_cosines() -> None:
    angle = torch.arccos((2 * PLACES - 1).clamp(-1, 1))
    wanted = torch.stack([torch.cos(n * angle) for n in range(5)], 1)
    torch.testing.assert_close(values(Chebyshev(5)), wanted, rtol=0, atol=1e-12)


def test_polynomials_are_those_of_legendre() -> None:
    wanted = np.polynomial.legendre.legvander(2 * PLACES.numpy() - 1, 4)
    np.testing.assert_allclose(values(Polynomial(5)).numpy(), wanted, atol=1e-13)


def test_a_fourier_basis_has_the_period_of_the_horizon() -> None:
    found = values(Fourier(5))
    torch.testing.assert_close(found[0], found[-1], rtol=0, atol=1e-12)
    torch.testing.assert_close(found[:, 3], torch.cos(4 * math.pi * PLACES), rtol=0, atol=1e-12)
    torch.testing.assert_close(found[:, 4], torch.sin(4 * math.pi * PLACES), rtol=0, atol=1e-12)


def test_pieces_are_indicators_of_their_intervals() -> None:
    found = values(Piecewise(3, (0.2, 0.7)))
    assert torch.equal(found.sum(1), torch.ones(41).double())
    assert torch.equal(found.argmax(1), (PLACES >= 0.2).long() + (PLACES >= 0.7).long())


def test_wavelets_live_on_their_parts() -> None:
    """The k-th of a scale vanishes outside of its part of [0, 1]; the mother is PyWavelets' own."""
    import pywt

    found = values(Wavelet(8, "db4"))
    for level in range(3):
        for m in range(2**level):
            outside = (m / 2**level > PLACES) | ((m + 1) / 2**level < PLACES)
            assert found[outside, 2**level + m].abs().max() < 1e-6 if bool(outside.any()) else True
    psi = pywt.Wavelet("db4").wavefun(8)[1]
    wanted = np.interp(PLACES.numpy(), np.linspace(0, 1, len(psi)), psi)
    np.testing.assert_allclose(found[:, 1].numpy(), wanted, atol=2e-3)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: Piecewise(0), "at least 1"),
        (lambda: Piecewise(3, (0.5,)), "2 of them"),
        (lambda: Piecewise(3, (0.7, 0.2)), "ascending"),
        (lambda: Piecewise(2, (1.0,)), "between 0 and 1"),
        (lambda: Fourier(4), "odd"),
        (lambda: Wavelet(3), "1, 2, 4, 8"),
        (lambda: Wavelet(2, "db999"), "real wavelet"),
        (lambda: Wavelet(2, "cmor1.5-1.0"), "real wavelet"),
        (lambda: basis_from({"kind": "spline", "size": 2}), "one of"),
    ],
)
def test_a_basis_that_cannot_be_raises(make: Any, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        make()


@by_name
def test_a_basis_survives_json(basis: Basis) -> None:
    assert basis_from(json.loads(json.dumps(basis_spec(basis)))) == basis
    assert type(basis) in BASES.values()


def ode(basis: Basis | None = None, steps: int = 4, horizon: float = 2.0, **options: Any) -> NeuralODE:
    system = NeuralODE(DenseVectorField(3, 5, **options.pop("field", {})), lift=Pad(2, 3), head=Coordinates(2, 3),
                       horizon=horizon, steps=steps, basis=basis, **options).double()  # fmt: skip
    with torch.no_grad():
        for i, p in enumerate(system.coefficients):
            p.copy_(0.5 * randn(*p.shape, seed=i))
    return system


@by_name
@pytest.mark.parametrize("table", TABLEAUS)
def test_the_residual_network_equals_the_table_on_the_ode(basis: Basis, table: str) -> None:
    """Outputs, running costs and the gradient of the energy, from copies that share nothing."""
    system, x = ode(basis, field={"time": True}), randn(5, 2)
    net = Network(system, table=TABLEAUS[table])
    flat = discretize(net)
    torch.testing.assert_close(flat(x), net(x), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(rollout(flat, x).quadrature, rollout(net, x).quadrature, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(flat.control_energy(), net.control_energy(), rtol=1e-13, atol=0)
    assert not {p.data_ptr() for p in net.parameters()} & {p.data_ptr() for p in flat.parameters()}
    assert isinstance(flat.system, UnrolledSystem)
    again = Network.from_spec(json.loads(json.dumps(flat.spec()))).double()
    again.load_state_dict(flat.state_dict())
    assert torch.equal(again(x), flat(x))


@by_name
def test_more_steps_tend_to_the_solution_in_the_order_of_the_table(basis: Basis) -> None:
    system, x = ode(basis), randn(5, 2)
    if isinstance(basis, Wavelet):
        pytest.skip("not smooth: there is no order to see")
    exact = Solution(Network(system), x, Solver("dopri8", 1e-12, 1e-12)).final
    for table in (EULER, RK4):
        errors = [float((discretize(system, steps, table)(x) - exact).norm()) for steps in (16, 32)]
        assert math.log2(errors[0] / errors[1]) == pytest.approx(table.order, abs=0.35)


def test_a_jump_belongs_to_the_interval_on_either_side() -> None:
    """u = +1, then -1, x' = u: RK4 sees the left value at the end of the first step, the right one at its beginning."""

    class Push(VectorField):
        group_names = ("u",)
        timed = False

        def __init__(self) -> None:
            super().__init__()
            self.u = nn.Parameter(torch.ones(1, dtype=torch.float64))

        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            return self.u.expand_as(x)

    system = NeuralODE(Push(), steps=2, basis=Piecewise(2))
    with torch.no_grad():
        system.coefficients[0].copy_(torch.tensor([[1.0], [-1.0]]))
    net, x = Network(system, table=RK4), randn(3, 1)
    for states in (rollout(net, x).states, Solution(net, x).states, rollout(discretize(net), x).states):
        torch.testing.assert_close(states[1], x + 0.5, rtol=0, atol=1e-12)
        torch.testing.assert_close(states[2], x, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"basis": Piecewise(3)}, "Use a multiple of 3"),
        ({"times": (0.0, 1.0, 0.5)}, "t_0 = 0"),
        ({"times": (0.5, 1.0)}, "t_0 = 0"),
        ({"horizon": -1.0}, "positive horizon"),
        ({"horizon": math.inf}, "positive horizon"),
        ({"steps": 0}, "at least one step"),
    ],
)
def test_times_that_make_no_sense_raise(options: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        ode(**options)


def test_discretize_says_what_it_cannot_do() -> None:
    with pytest.raises(ConfigError, match="refine"):
        discretize(discretize(ode()))
    with pytest.raises(ConfigError, match="one of the two"):
        discretize(ode(), 3, times=(0.0, 2.0))
    with pytest.raises(ConfigError, match="at least 1"):
        discretize(ode(), 0)
    with pytest.raises(ConfigError, match=r"T = 2"):
        discretize(ode(), times=(0.0, 1.0))
    with pytest.raises(ConfigError, match=r"ends at 0.25 T"):
        discretize(ode(Piecewise(4)), 2)
    assert discretize(ode(), times=(0.0, 0.5, 2.0)).h == (0.5, 1.5)


def test_an_unrolled_system_wants_its_own_table() -> None:
    flat = discretize(ode(Fourier(3)), 4, RK4)
    assert flat.system.nodes == (0.0, 0.5, 1.0)
    with pytest.raises(ShapeError, match="table that the system was unrolled for"):
        Network(flat.system, flat.grid, EULER)
    with pytest.raises(ConfigError, match="one of"):
        flat.system.branch_at(0, 0.3, randn(2, 3))
    with pytest.raises(ConfigError, match="one of each a step"):
        UnrolledSystem([], times=(0.0,), h=(), lift=Pad(2, 3), head=Coordinates(2, 3))


def test_a_trained_horizon_counts_in_every_weight_of_time() -> None:
    """T twice as long: the same as a system of that horizon, in states, running costs, energy and h."""
    short, x = ode(Fourier(3), learn_horizon=True), randn(5, 2)
    with torch.no_grad():
        short.stretch.fill_(2.0)
    long = ode(Fourier(3), horizon=4.0)
    problem, y = Problem.classification(2), torch.arange(5) % 2
    for table in (EULER, RK4):
        one, two = (Network(system, table=table) for system in (short, long))
        assert one.h == two.h
        torch.testing.assert_close(one(x), two(x), rtol=1e-12, atol=1e-12)
        values = [problem.evaluate(rollout(net, x), y) for net in (one, two)]
        torch.testing.assert_close(values[0].total, values[1].total, rtol=1e-12, atol=0)
        torch.testing.assert_close(values[0].stage, values[1].stage, rtol=1e-12, atol=0)
        assert problem.scale(one) == pytest.approx(problem.scale(two))
        torch.testing.assert_close(discretize(one)(x), two(x), rtol=1e-12, atol=1e-12)
    one, two = (problem.evaluate(Solution(Network(system), x), y) for system in (short, long))
    torch.testing.assert_close(one.total, two.total, rtol=1e-5, atol=0)
    torch.testing.assert_close(one.stage, two.stage, rtol=1e-5, atol=0)
    assert float(short.horizon) == 4.0
    with torch.no_grad():
        short.stretch.fill_(-1.0)
    short.constrain_()
    assert float(short.horizon) > 0


def test_a_field_of_ones_own_has_any_state_and_can_be_written() -> None:
    system = NeuralODE(ConvVectorField(3, 4), steps=4, basis=Chebyshev(2))
    net, x = Network(system, table=RK4), torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    assert net(x).shape == x.shape
    torch.testing.assert_close(discretize(net)(x), net(x))
    again = Network.from_spec(json.loads(json.dumps(net.spec())))
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(x), net(x))
    with pytest.raises(ShapeError, match="logit distance"):
        system.affine_readout()

    class Mine(ConvVectorField):
        def spec(self) -> dict[str, Any]:
            return {"kind": "mine", "channels": 3, "hidden": 4}

    mine = Network(NeuralODE(Mine(3, 4), steps=2))
    with pytest.raises(StoreError, match="register_field"):
        Network.from_spec(mine.spec())
    register_field("mine", Mine)
    assert Network.from_spec(mine.spec()).depth == 2
    with pytest.raises(ConfigError, match="another name"):
        register_field("mine", ConvVectorField)


def test_a_field_without_a_description_is_refused_when_it_is_read() -> None:
    class Unknown(DenseVectorField):
        spec = VectorField.spec

    net = Network(NeuralODE(Unknown(3, 4), lift=nn.Sequential(nn.Linear(2, 3)), head=Coordinates(2, 3), steps=2))
    with pytest.raises(StoreError, match=r"custom|Unknown"):
        Network.from_spec(net.spec())


def test_diagnosis_sees_the_value_of_the_control_in_each_layer() -> None:
    system = ode(Fourier(3), steps=8)
    net = Network(system)
    found = diagnose(net, Problem.classification(2), Part(randn(40, 2), torch.arange(40) % 2))
    norms = [math.sqrt(sum(float(p.detach().square().sum()) for p in system.control_at(k, 0.0)[2:])) for k in range(8)]
    assert found.profile.control == pytest.approx(norms)
    assert len(set(np.round(norms, 6))) > 3


def test_a_grid_of_ones_own_is_kept() -> None:
    assert Network(ode(steps=2)).grid == DepthGrid((1.0, 1.0))


@pytest.mark.parametrize(
    ("part", "what"), [(lambda: Pad(3, 2), "at least 3"), (lambda: Coordinates(3, 2), "at least 3")]
)
def test_parts_that_do_not_fit_raise(part: Any, what: str) -> None:
    with pytest.raises(ShapeError, match=what):
        part()


@pytest.mark.parametrize("kind", [DenseVectorField, ConvVectorField])
def test_an_unknown_activation_raises(kind: Any) -> None:
    with pytest.raises(ConfigError, match="one of"):
        kind(3, 4, "swish")


def test_initial_pieces_differ_and_smooth_controls_start_constant() -> None:
    pieces = NeuralODE(DenseVectorField(3, 5), basis=Piecewise(2), steps=2).coefficients[0]
    assert not torch.equal(pieces[0], pieces[1])
    smooth = NeuralODE(DenseVectorField(3, 5), basis=Fourier(3)).coefficients[0]
    assert torch.equal(smooth[1:], torch.zeros_like(smooth[1:]))


def test_rows_of_fixed_norm_stay_so_in_every_piece_and_when_unrolled() -> None:
    system = NeuralODE(DenseVectorField(3, 5, row_norm=2.0), basis=Piecewise(2), steps=4).double()
    with torch.no_grad():
        for i, p in enumerate(system.coefficients):
            p.copy_(randn(*p.shape, seed=i))
    net = Network(system)
    system.constrain_()
    torch.testing.assert_close(system.coefficients[0].norm(dim=-1), torch.full((2, 5), 2.0, dtype=torch.float64))
    torch.testing.assert_close(discretize(net)(randn(5, 3)), net(randn(5, 3)), rtol=1e-12, atol=1e-12)
    with pytest.raises(ConfigError, match="row_norm=0"):
        NeuralODE(DenseVectorField(3, 5, row_norm=2.0), basis=Fourier(3))


def test_a_control_from_another_library_compiles_into_one_graph_and_exports() -> None:
    net, x = Network(ode(Wavelet(2), steps=2), table=RK4), randn(5, 2)
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(net, fullgraph=True)(x), net(x), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(torch.export.export(net, (x,)).module()(x), net(x), rtol=1e-10, atol=1e-12)


class Own(VectorField):
    """A field put together by hand."""

    group_names = ("b.weight",)

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3, bias=False)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.b(torch.tanh(self.a(x)))


def test_fields_that_cannot_be_controlled_raise() -> None:
    tied = Own()
    tied.b.weight = tied.a.weight
    with pytest.raises(ConfigError, match="another parameter's tensor"):
        NeuralODE(tied)
    misnamed = Own()
    misnamed.group_names = ("nope",)  # type: ignore[misc]
    with pytest.raises(ConfigError, match=r"\['nope'\]"):
        NeuralODE(misnamed)

    class Bare(Own):
        def __init__(self) -> None:
            VectorField.__init__(self)

    with pytest.raises(ConfigError, match="without parameters"):
        NeuralODE(Bare())
    with pytest.raises(ConfigError, match="Fourier"):
        NeuralODE(Own(), basis="fourier")  # type: ignore[arg-type]


def test_a_field_without_a_group_is_never_zero() -> None:
    free = Own()
    free.group_names = ()  # type: ignore[misc]
    net = Network(NeuralODE(free, steps=3))
    assert net.zero_steps() == ()
    assert discretize(net).zero_steps() == ()
    assert Problem.classification(2).scale(net) == 0.5


def test_a_frozen_parameter_stays_frozen() -> None:
    field = Own()
    field.a.requires_grad_(False)
    net = Network(NeuralODE(field, head=Coordinates(2, 3), steps=2))
    start = {name: p.detach().clone() for name, p in net.named_parameters()}
    options = TrainingSection(epochs=3, min_updates=3, batch=0, threads=1)
    part = Part(randn(20, 3).float(), torch.arange(20) % 2)
    fit(net, Problem.classification(2), part, options)
    moved = [not torch.equal(p, start[name]) for name, p in net.named_parameters()]
    assert moved == [p.requires_grad for p in net.parameters()] == [False, False, True]
    with pytest.raises(ConfigError, match="frozen"):
        fit(discretize(net), Problem.classification(2), part, options)


@pytest.mark.parametrize("horizon", [2.5, 3.0, 0.7])
def test_a_trained_horizon_in_float32_is_discretized(horizon: float) -> None:
    system = NeuralODE(DenseVectorField(3, 5), horizon=horizon, steps=12, learn_horizon=True)
    with torch.no_grad():
        system.stretch.fill_(1.3)
    x = randn(4, 3).float()
    net = Network(system, table=RK4)
    torch.testing.assert_close(discretize(net, 12)(x), net(x))
    end = as_number(system.horizon)
    assert discretize(system, times=[0.0, 1.0, end] if end > 1 else [0.0, end]).h[0] > 0
    with pytest.raises(ConfigError, match="t_0 = 0"):
        discretize(system, times=[0.5, end])
    with pytest.raises(ConfigError, match="t_0 = 0"):
        discretize(system, times=[])


def test_a_grid_that_is_not_the_systems_own_raises() -> None:
    with pytest.raises(ShapeError, match="times of a neural ODE are its own"):
        Network(ode(steps=4), DepthGrid((1.0,) * 4))
    with pytest.raises(ConfigError, match="T = 5"):
        NeuralODE(Own(), horizon=5.0, times=(0.0, 1.0))


def test_a_search_for_layers_wants_layers() -> None:
    split = spirals(train=60, val=30, test=20)
    net = Network(NeuralODE(DenseVectorField(2, 4), steps=3))
    for search in (DepthSearch(Problem.classification(2), split), GrowthSearch(Problem.classification(2), split)):
        with pytest.raises(ConfigError, match="crop_horizon"):
            search.run(net)


def test_what_a_file_cannot_describe_is_not_exported(tmp_path: Path) -> None:
    model = Model(Network(NeuralODE(Own(), steps=2)), Scale(torch.zeros(3), torch.ones(3)), None, {})
    with pytest.raises(StoreError, match="register_field"):
        save_model(model, tmp_path / "own")
