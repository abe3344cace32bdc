"""Refining: more layers, the same function to the order of the table."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from cases import SYSTEMS, H, build, doubles, inputs, network, pairs, target
from systems import Field, decay, stir_, zero_
from torch import Tensor

from node_oc.discretization import EULER, HEUN, MIDPOINT, RK4, DepthGrid, Network, Tableau, discretize, refine
from node_oc.errors import ConfigError, ShapeError
from node_oc.problem import Problem, SquaredError
from node_oc.system import DenseSystem
from node_oc.system.ode import Basis, Chebyshev, Coordinates, DenseVectorField, Fourier, NeuralODE, Pad, Piecewise
from node_oc.trajectory import rollout

KUTTA = Tableau("kutta", ((), (0.5,), (-1.0, 2.0)), (1 / 6, 2 / 3, 1 / 6), (0.0, 0.5, 1.0), 3)
RALSTON = Tableau("ralston", ((), (2 / 3,)), (1 / 4, 3 / 4), (0.0, 2 / 3), 2)
EVERY = [EULER, MIDPOINT, HEUN, RALSTON, KUTTA, RK4]
X, Y = inputs(), target("squared-error")


def halvable(net: Network) -> list[int]:
    return [k for k in range(net.depth) if net.system.is_identity(k)]


REFINED = [(s, t) for s, t in pairs() if doubles(s)]
every_pair = pytest.mark.parametrize(("name", "table"), REFINED)
every_table = pytest.mark.parametrize("table", EVERY, ids=lambda table: table.name)


@every_pair
def test_every_system_gets_its_steps_in_halves(name: str, table: str) -> None:
    net = network(name, table)
    net.set_awake([0, 1, 3])
    before = {key: value.clone() for key, value in net.state_dict().items()}
    steps = halvable(net)
    fine = refine(net, steps)
    assert fine.depth == net.depth + len(steps)
    assert fine.grid.horizon == pytest.approx(net.grid.horizon, rel=1e-14)
    assert fine.table is net.table
    origin = [k for k in range(4) for _ in range(1 + (k in steps))]
    assert fine.grid.h == tuple(H[k] / (2 if k in steps else 1) for k in origin)
    assert fine.awake == tuple(i for i, k in enumerate(origin) if k != 2)
    assert fine(X).shape == net(X).shape
    assert all(torch.equal(net.state_dict()[key], value) for key, value in before.items())
    assert not {p.data_ptr() for p in fine.parameters()} & {p.data_ptr() for p in net.parameters()}
    if not net.system.tied:  # every half has a control of its own
        controls = [p.data_ptr() for k in range(fine.depth) for p in fine.system.control(k)]
        assert len(set(controls)) == len(controls)


@every_pair
def test_zero_steps_stay_exactly_zero(name: str, table: str) -> None:
    net = network(name, table)
    zero_(net.system, *range(net.depth))
    fine = refine(net, halvable(net))
    assert torch.equal(fine(X), net(X))
    assert fine.zero_steps() == tuple(range(fine.depth))


@pytest.mark.parametrize("name", [name for name in SYSTEMS if build(name).spec()["kind"] in ("dense", "ode")])
def test_energy_and_price_of_constant_controls_stay_the_same(name: str) -> None:
    net = network(name)
    if not isinstance(net.system, NeuralODE) or net.system.basis.constant:
        torch.testing.assert_close(refine(net).control_energy(), net.control_energy())
    problem = Problem(SquaredError(), SquaredError(), group_price=0.3)
    prices = [problem.evaluate(rollout(n, X), Y).price for n in (net, refine(net))]
    torch.testing.assert_close(*prices)


# -- the order -----------------------------------------------------------------------------------------------

BASES = {"constant": Piecewise(), "two pieces": Piecewise(2, (0.4,)), "chebyshev": Chebyshev(4), "fourier": Fourier(3)}


def smooth(basis: Basis, *, time: bool = False) -> NeuralODE:
    """A smooth ODE with generic coefficients, on [0, 0.5]."""
    g = torch.Generator().manual_seed(0)
    system = NeuralODE(DenseVectorField(3, 4, time=time, generator=g), lift=Pad(2, 3), head=Coordinates(3, 3),
                       times=(0, 0.2, 0.5), basis=basis, generator=g).double()  # fmt: skip
    stir_(system, 0.3)
    return system


@torch.no_grad()
def slopes(coarse: Network, fine: Network) -> tuple[float, float]:
    """log2 of how much less refining changes the finer network: of the final states, and of J."""
    changes: list[tuple[float, float]] = []
    problem = Problem(SquaredError(), SquaredError(), energy=0.1)
    for net in (coarse, fine):
        more = refine(net)
        values = [problem.evaluate(rollout(n, X), Y).smooth for n in (net, more)]
        changes.append((float((net(X) - more(X)).norm()), abs(float(values[0] - values[1]))))
    (a, b), (c, d) = changes
    return float(torch.log2(torch.tensor(a / c))), float(torch.log2(torch.tensor(b / d)))


def twice(times: Sequence[float], parts: int) -> list[float]:
    return [a + (b - a) * i / parts for a, b in itertools.pairwise(times) for i in range(parts)] + [times[-1]]


WAYS = [("constant", False), ("two pieces", True), ("chebyshev", True), ("fourier", False)]


@every_table
@pytest.mark.parametrize(("basis", "unrolled"), WAYS)
def test_the_change_falls_with_the_order_of_the_table(table: Tableau, basis: str, unrolled: bool) -> None:
    ode, parts = smooth(BASES[basis]), 16
    grids = [twice(ode.times, n) for n in (parts, 2 * parts)]
    nodes = sorted(set(table.c))
    nets = [Network(ode.unroll(grid, nodes) if unrolled else on(ode, grid), table=table) for grid in grids]
    state, cost = slopes(*nets)
    assert state == pytest.approx(table.order, abs=0.2)
    assert cost > table.order - 0.4  # errors of different sign cancel in J, on these grids too


def on(ode: NeuralODE, times: Sequence[float]) -> NeuralODE:
    """The same coefficients on another grid."""
    other = NeuralODE(DenseVectorField(3, 4, time=ode.vector_field.timed), lift=Pad(2, 3), head=Coordinates(3, 3),
                      times=times, basis=ode.basis).double()  # fmt: skip
    other.load_state_dict(ode.state_dict())
    return other


@pytest.mark.parametrize("table", [EULER, HEUN, RK4], ids=lambda table: table.name)
def test_a_field_that_depends_on_time_has_the_time_of_the_half(table: Tableau) -> None:
    ode = smooth(Chebyshev(3), time=True)
    nets = [discretize(ode, table=table, times=twice(ode.times, n)) for n in (4, 8)]
    assert slopes(*nets)[0] > table.order - 0.2


@torch.no_grad()
def test_dense_layers_are_the_same_ode() -> None:
    for table in EVERY:
        system = DenseSystem(2, 3, depth=3, width=4, hidden=5).double()
        stir_(system)
        nets = [Network(system, DepthGrid.uniform(3, h), table) for h in (0.25, 0.125)]
        changes = [float((n(X) - refine(n)(X)).norm()) for n in nets]
        # The horizon halves too: one order more than over a fixed horizon.
        assert torch.log2(torch.tensor(changes[0] / changes[1])) == pytest.approx(table.order + 1, abs=0.3)


# -- closed forms --------------------------------------------------------------------------------------------


def test_euler_of_decay_by_hand() -> None:
    net = Network(decay(2), DepthGrid((0.4, 0.2)))
    x = torch.ones(1, 1, dtype=torch.float64)
    assert refine(net)(x).item() == pytest.approx(0.8**2 * 0.9**2, rel=1e-14)
    assert refine(net, [1])(x).item() == pytest.approx(0.6 * 0.9**2, rel=1e-14)
    assert refine(refine(net, [0]), [1, 2])(x).item() == pytest.approx(0.8 * 0.9**2 * 0.9**2, rel=1e-14)


def polynomial(degree: int, table: Tableau) -> Network:
    """An unrolled system on unequal steps whose weights are a polynomial of that degree in t."""
    ode = smooth(Chebyshev(degree + 1))
    return Network(ode.unroll((0, 0.15, 0.2, 0.5), sorted(set(table.c))), table=table)


@pytest.mark.parametrize(
    ("table", "degree"), [(EULER, 0), (MIDPOINT, 1), (HEUN, 1), (RALSTON, 1), (KUTTA, 2), (RK4, 2)]
)
def test_interpolation_is_exact_for_polynomials_through_the_nodes(table: Tableau, degree: int) -> None:
    ode = smooth(Chebyshev(degree + 1))
    nodes = sorted(set(table.c))
    fine = refine(Network(ode.unroll((0, 0.15, 0.2, 0.5), nodes), table=table))
    exact = ode.unroll((0, 0.075, 0.15, 0.175, 0.2, 0.35, 0.5), nodes)
    for got, expected in zip(fine.system.parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_nothing_is_interpolated_across_a_jump() -> None:
    ode = smooth(Piecewise(2, (0.4,)), time=True)
    net = Network(ode.unroll(nodes=(0.0, 0.5, 1.0)), table=RK4)
    fine = refine(net)
    for i in range(4):
        for got, expected in zip(fine.system.control(i), net.system.control(i // 2), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-14, atol=1e-15)


def test_known_values_are_copied_to_the_bit() -> None:
    net = polynomial(3, RK4)
    fine = refine(net)
    first, second, old = fine.system.control(0), fine.system.control(1), net.system.control(0)
    n = len(old) // 3  # parameters of one node
    assert all(map(torch.equal, first[:n], old[:n]))
    assert all(map(torch.equal, first[2 * n :], old[n : 2 * n]))
    assert all(map(torch.equal, second[:n], old[n : 2 * n]))
    assert all(map(torch.equal, second[2 * n :], old[2 * n :]))


# -- what is carried over, and what is refused ---------------------------------------------------------------


def test_a_trained_horizon_is_kept() -> None:
    ode = NeuralODE(DenseVectorField(2, 3), steps=2, learn_horizon=True).double()
    assert isinstance(ode.stretch, Tensor)
    with torch.no_grad():
        ode.stretch.fill_(1.5)
    fine = refine(Network(ode))
    assert fine.grid.h == (0.25,) * 4
    assert fine.h == (0.375,) * 4
    assert isinstance(fine.system, NeuralODE)
    assert float(torch.as_tensor(fine.system.horizon).detach()) == 1.5


def test_released_rows_stay_as_they_are() -> None:
    field = DenseVectorField(2, 3, row_norm=1.0)
    system = NeuralODE(field, steps=2).unroll()
    system.release_()
    stir_(system)
    fine = refine(Network(system))
    for i in range(4):
        assert all(map(torch.equal, fine.system.control(i), system.control(i // 2)))


@pytest.mark.parametrize(
    "name", [name for name in SYSTEMS if doubles(name) and not build(name).spec()["kind"].startswith(("field", "p"))]
)
def test_a_refined_network_goes_into_a_file(name: str) -> None:
    net = network(name)
    fine = refine(net, halvable(net))
    again = Network.from_spec(fine.spec()).double().eval()
    again.load_state_dict(fine.state_dict())
    assert torch.equal(again(X), fine(X))


def test_a_projecting_step_is_refused() -> None:
    net = network("conv-two-stages")
    with pytest.raises(ShapeError, match="refine step 2: got a skip that is not the identity"):
        refine(net)


def test_a_step_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected 0\.\.1"):
        refine(Network(decay(2)), [2])


def test_a_system_with_varying_controls_must_say_what_its_halves_have() -> None:
    class Varying(Field):
        varies_within_steps = True

    with pytest.raises(ConfigError, match="halved steps: got a Varying"):
        refine(Network(Varying(torch.sin, 2, 2)))


def test_no_steps_is_a_copy() -> None:
    net = network("dense-tanh")
    same = refine(net, [])
    assert same is not net
    assert torch.equal(same(X), net(X))
    assert same.grid == net.grid


def test_halves_are_independent() -> None:
    fine = refine(network("dense-tanh"))
    with torch.no_grad():
        fine.system.group(0)[0].add_(1)
    assert not torch.equal(fine.system.group(0)[0], fine.system.group(1)[0])
