"""The backward Kolmogorov equation against expectations that are known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.special import ndtr
from systems import Field
from torch import Tensor

import node_oc as oc
from node_oc.diagnosis.kolmogorov import ValueFunction, value_function
from node_oc.diagnosis.kolmogorov.grid import Grid
from node_oc.diagnosis.kolmogorov.march import March
from node_oc.errors import NodeOCError

Map = Callable[[Tensor], Tensor]
LINE, SQUARE = (-1.0, 1.0), ((-1.0, 1.0), (-1.0, 1.0))
X = np.linspace(-1, 1, 9)
XY = np.stack(np.meshgrid(X[::2], X[::2]), -1).reshape(-1, 2)


class Given(oc.LimitSDE):
    """dX = b dt + g dW on [0, 1] in layers."""

    def __init__(
        self,
        b: Map,
        g: Map,
        size: int = 1,
        per: Literal["sample", "unit"] = "sample",
        kind: str = "ito",
        depth: int = 4,
    ) -> None:
        network = oc.Network(Field(torch.zeros_like, depth, size).double(), oc.DepthGrid((1 / depth,) * depth))
        super().__init__(network, oc.gaussian(1.0, per=per, root=True), 1, ())
        self.b, self.g0 = b, g

    def coefficients(self, k: int, c: float, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.b(x), self.g0(x)

    def drift(self, k: int, c: float, x: Tensor) -> Tensor:
        return self.b(x)

    def diffusion(self, k: int, c: float, x: Tensor) -> Tensor:
        return self.g0(x)


def constant(value: float) -> Map:
    return lambda x: torch.full_like(x, value)


def square(x: Tensor) -> Tensor:
    return x[:, 0] ** 2


def wave(x: Tensor) -> Tensor:
    return torch.cos(2 * x[:, 0])


def midpoint(rate: float, deviation: float) -> oc.LimitSDE:
    """dX = rate X (dt + deviation dW), Stratonovich, on [0, 1]."""
    system = Field(lambda x: x, 4).double()
    for u in system.u:
        u.data.fill_(rate)
    noise = oc.gaussian(deviation, per="sample", root=True)
    return oc.limit_sde(oc.Network(system, oc.DepthGrid((0.25,) * 4), oc.MIDPOINT), noise)


OU = Given(lambda x: 0.5 - x, constant(0.5))
OU_SQUARE = (X * math.exp(-1) + 0.5 * (1 - math.exp(-1))) ** 2 + 0.125 * (1 - math.exp(-2))
KNOWN: dict[str, tuple[oc.LimitSDE, Map, np.ndarray]] = {
    "additive": (OU, square, OU_SQUARE),
    "multiplicative": (Given(lambda x: 0.3 * x, lambda x: 0.4 * x), square, X**2 * math.exp(0.6 + 0.16)),
    "Stratonovich": (midpoint(0.3, 4 / 3), square, X**2 * math.exp(0.6 + 2 * 0.16)),
    "heat": (Given(torch.zeros_like, constant(1.0)), wave, np.cos(2 * X) * math.exp(-2)),
    "characteristics": (
        Given(lambda x: torch.tanh(2 * x), torch.zeros_like), wave, np.cos(np.arcsinh(np.sinh(2 * X) * math.exp(2))),
    ),
}  # fmt: skip


def solved(sde: oc.LimitSDE, terminal: Map, region: Any = LINE, points: int = 129, **options: Any) -> ValueFunction:
    return value_function(sde, terminal, region, points=points, **options)


@pytest.mark.parametrize("name", KNOWN)
def test_the_expectation_is_within_the_estimated_error(name: str) -> None:
    sde, terminal, exact = KNOWN[name]
    found = solved(sde, terminal)
    error = np.abs(found.at(X) - exact)
    assert error.max() < 1.5 * (found.error + found.domain_error)
    assert error.max() < 0.03 * np.ptp(exact)


@pytest.mark.parametrize("name", ["space", "time"])
def test_second_order(name: str) -> None:
    """The heat equation on grids, and a drift with noise in steps of time, the other error being small."""
    sde = Given(torch.zeros_like if name == "space" else lambda x: 0.5 - x, constant(0.5), depth=1)
    m, s = (X, 0.25) if name == "space" else (X * math.exp(-1) + 0.5 * (1 - math.exp(-1)), 0.125 * (1 - math.exp(-2)))
    grids = ((65, 32), (129, 32)) if name == "space" else ((257, 4), (257, 8))
    errors = []
    for n, count in grids:
        march = March(sde, lambda x: torch.cos(3 * x[:, 0]), Grid.over(((-4, 5),), n), (count,), True)
        found = march.grid.read(march.solve()[0], X[:, None])
        errors.append(np.square(found - np.cos(3 * m) * math.exp(-4.5 * s)).mean() ** 0.5)
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.2)


def test_two_dimensions_against_a_product() -> None:
    sde = Given(lambda x: -x, constant(0.5), 2, "unit")
    found = solved(sde, lambda x: x[:, 0] ** 2 * x[:, 1], SQUARE, points=33, steps=4)
    mean = XY * math.exp(-1)
    exact = (mean[:, 0] ** 2 + 0.125 * (1 - math.exp(-2))) * mean[:, 1]
    assert np.abs(found.at(XY) - exact).max() < 1.5 * (found.error + found.domain_error) < 3e-3
    record = json.loads(json.dumps(found.record()))
    assert np.array(record["values"]).shape == (1, 61, 61)
    assert np.array(record["values"])[0, 0, 30] == pytest.approx(found.at([[-1.0, 0.0]])[0], rel=1e-3, abs=1e-5)


def test_two_dimensions_with_one_brownian_motion() -> None:
    """Noise of rank 1: the equation of the second moments is linear."""
    box = ((-3, 3), (-3, 3))
    A, S = torch.tensor([[-0.3, 1.0], [-1.0, -0.3]]).double(), torch.tensor([[0.2, 0.1], [-0.3, 0.4]]).double()
    sde = Given(lambda x: x @ A.T, lambda x: x @ S.T, 2)
    found = solved(sde, lambda x: x[:, 0] ** 2 + x[:, 0] * x[:, 1], SQUARE, 33, steps=4, domain=box)
    rate = np.kron(A, np.eye(2)) + np.kron(np.eye(2), A) + np.kron(S, S)
    moments = np.einsum("ni,nj->nij", XY, XY).reshape(-1, 4) @ expm(rate).T
    assert np.abs(found.at(XY) - moments[:, 0] - moments[:, 1]).max() < 1.5 * (found.error + found.domain_error) < 1e-2
    means = XY @ expm(A.numpy()).T
    linear = solved(sde, lambda x: x[:, 0], SQUARE, 33, steps=4, domain=box)
    assert np.abs(linear.at(XY) - means[:, 0]).max() < 2e-3
    assert np.abs(linear.slope(XY) - expm(A.numpy())[0]).max() < 5e-3


def test_a_jump_is_damped() -> None:
    def jump(x: Tensor) -> Tensor:
        return (x[:, 0] > 0).double()

    sde, m = Given(lambda x: 0.5 - x, constant(0.5)), X * math.exp(-1) + 0.5 * (1 - math.exp(-1))
    exact = ndtr(m / math.sqrt(0.125 * (1 - math.exp(-2))))
    plain, damped = (solved(sde, jump, points=257, steps=4, smooth=smooth) for smooth in (True, False))
    roughness = [float(np.abs(np.diff(v.values[0], 3)).max()) for v in (plain, damped)]
    assert roughness[1] < 0.02 * roughness[0]
    assert np.abs(damped.at(X) - exact).max() < 0.02


def test_a_sleeping_layer_is_passed_over() -> None:
    system = oc.DenseSystem(1, 1, depth=3, width=1, hidden=2).double()
    sde = oc.limit_sde(oc.Network(system, awake=[0, 2]), oc.stochastic_depth(0.8))
    found = solved(sde, lambda x: system.head(x)[:, 0], points=65)
    assert np.array_equal(found.values[1], found.values[2])
    assert not np.array_equal(found.values[0], found.values[1])


# -- derivatives ---------------------------------------------------------------------------------------------


def dense(width: int, table: oc.Tableau = oc.EULER, depth: int = 2) -> oc.Network:
    generator = torch.Generator().manual_seed(3)
    system = oc.DenseSystem(width, 1, depth=depth, width=width, hidden=3, generator=generator).double()
    with torch.no_grad():
        for p in system.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return oc.Network(system, table=table)


def varying() -> oc.Network:
    field = oc.DenseVectorField(1, 3, generator=torch.Generator().manual_seed(1)).double()
    ode = oc.NeuralODE(field, head=torch.nn.Linear(1, 1), horizon=1.0, steps=2, basis=oc.Chebyshev(2)).double()
    with torch.no_grad():
        for p in ode.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()), dtype=p.dtype))
    return oc.Network(ode, table=oc.MIDPOINT)


@pytest.mark.parametrize(
    ("network", "noise", "d", "smooth"),
    [
        (dense(1), oc.stochastic_depth(0.7), 1, True),
        (dense(1), oc.stochastic_depth(0.7), 1, False),
        (dense(2, oc.HEUN), oc.stochastic_depth(0.7), 2, True),
        (dense(2, oc.MIDPOINT), oc.branch_dropout(0.7), 2, True),
        (varying(), oc.branch_dropout(0.7), 1, True),
    ],
    ids=["one", "damped", "rank 1, Stratonovich", "a unit, Stratonovich", "varies within a layer"],
)
def test_the_gradient_is_that_of_the_discrete_solution(
    network: oc.Network, noise: oc.Noise, d: int, smooth: bool
) -> None:
    sde = oc.limit_sde(network, noise)
    starts = np.array([[0.2], [-0.4]]) if d == 1 else np.array([[0.2, 0.1], [-0.4, 0.3]])

    grid = Grid.over(((-6, 6),) * d, 49 if d == 1 else 17)
    march = March(sde, lambda x: (network.system.head(x)[:, 0] - 1) ** 2, grid, (4, 4), smooth)
    weights = np.asarray(grid.weights(starts).mean(0)).ravel()
    gradient = march.gradient(march.solve(), weights)
    generator = torch.Generator().manual_seed(0)
    way = {name: torch.randn(p.shape, generator=generator, dtype=p.dtype) for name, p in sde.named_parameters()}

    def moved(size: float) -> float:
        with torch.no_grad():
            for name, p in sde.named_parameters():
                p.add_(way[name], alpha=size)
        return float(march.solve()[0].ravel() @ weights)

    difference = (moved(1e-5) - moved(-2e-5)) / 2e-5
    expected = sum(float((gradient[name] * way[name]).sum()) for name in way)
    assert expected == pytest.approx(difference, rel=1e-6)


def test_the_law_of_the_state_has_mass_one() -> None:
    network = dense(1)
    found = solved(oc.limit_sde(network, oc.stochastic_depth(0.7)), lambda x: network.system.head(x)[:, 0], points=49)
    assert float(found.gradient([0.3])["network.system.reading.bias"]) == pytest.approx(1, abs=1e-12)
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            same = found.gradient([0.3])["network.system.reading.bias"]
        assert float(same) == pytest.approx(1, abs=1e-12)


# -- Monte Carlo, where nothing is known in closed form ------------------------------------------------------


def test_monte_carlo_agrees() -> None:
    """9 starts, Heun's paths; discretisation of the equation and of the paths is under one standard error."""
    network, paths, substeps = dense(1, oc.MIDPOINT), 10_000, 16
    sde = oc.limit_sde(network, oc.stochastic_depth(0.7))

    def terminal(x: Tensor) -> Tensor:
        return torch.sin(2 * x[:, 0])

    found, generator = solved(sde, terminal, points=257), torch.Generator().manual_seed(0)
    fine = coarse = torch.from_numpy(X)[:, None].repeat_interleave(paths, 0)

    def heun(k: int, x: Tensor, dt: float, dw: Tensor) -> Tensor:
        b, g = sde.drift(k, 0.0, x), sde.diffusion(k, 0.0, x)
        y = x + b * dt + g * dw
        return x + (b + sde.drift(k, 0.0, y)) * dt / 2 + (g + sde.diffusion(k, 0.0, y)) * dw / 2

    with torch.no_grad():
        for k in range(network.depth):
            for _ in range(substeps // 2):
                dw = torch.randn(2, len(fine), 1, generator=generator, dtype=fine.dtype) / substeps**0.5
                fine = heun(k, heun(k, fine, 1 / substeps, dw[0]), 1 / substeps, dw[1])
                coarse = heun(k, coarse, 2 / substeps, dw.sum(0))
    ends = terminal(fine).view(-1, paths)
    error = (ends.std(1) / paths**0.5).numpy()
    bias = (ends - terminal(coarse).view(-1, paths)).mean(1).abs().numpy()
    assert (found.error_at(X) < error).all()
    assert (bias < error).all()
    assert np.abs((found.at(X) - ends.mean(1).numpy()) / error).max() <= 4.5


# -- what came of it, and what is refused --------------------------------------------------------------------


def test_a_record_is_json_and_says_what_came_of_it() -> None:
    found = solved(OU, square, points=65)
    record = json.loads(json.dumps(found.record()))
    assert np.array(record["values"]).shape == (5, 61)
    assert np.array(record["paths"]).shape == (27, 33, 1)
    assert "order 2.0" in record["sentence"] or "order 1.9" in record["sentence"]


def explosive(x: Tensor) -> Tensor:
    return 50 * x**3


WIDE = oc.limit_sde(oc.DenseSystem(3, 1, depth=2, width=3, hidden=2).double(), oc.stochastic_depth(0.8))
IMAGE = oc.LimitSDE(OU.network, OU.noise, 1, (1, 4, 4))


@pytest.mark.parametrize(
    ("sde", "terminal", "options", "said"),
    [
        (OU, square, {"region": (LINE, LINE, LINE)}, "state dimensions: got 3.*Monte Carlo"),
        (WIDE, square, {}, "state: got 3 entries.*Monte Carlo"),
        (IMAGE, square, {}, "state: got 1x4x4 entries"),
        (OU, square, {"region": (1.0, -1.0)}, "region: .*low < high"),
        (OU, square, {"region": "wide"}, "region: .*two such pairs"),
        (OU, square, {"points": 100}, "points: got 100.*Take 101|points: got 100.*Take 9?"),
        (OU, square, {"steps": 6}, "steps: got 6.*Take 4"),
        (OU, square, {"domain": (-0.5, 2)}, "domain: .*around the region"),
        (Given(lambda x: 3 * x, constant(1.0)), square, {"domain": (-1.1, 1.1)}, "domain: got one on which v is"),
        (OU, lambda x: x[:, 0].log(), {}, "terminal functional at .*finite"),
        (OU, lambda x: x, {}, r"terminal functional: got shape \(\d+, 1\)"),
        (Given(explosive, constant(1.0)), square, {}, "paths in step 0"),
        (Given(lambda x: 0.1 / (x.abs() < 2), constant(0.1)), square, {"domain": (-1.9, 1.9)}, "field of step 3 at"),
    ],
)  # fmt: skip
def test_what_is_refused(sde: oc.LimitSDE, terminal: Map, options: dict[str, Any], said: str) -> None:
    with pytest.raises(NodeOCError, match=said):
        value_function(sde, terminal, **{"region": LINE, "points": 33, **options})


def test_states_outside_are_refused() -> None:
    found = solved(OU, square, points=33)
    with pytest.raises(oc.ShapeError, match=r"\[9.0\], outside the domain"):
        found.at([0.0, 9.0])
    with pytest.raises(oc.ShapeError, match=r"shape \(3, 2\)"):
        found.slope(np.zeros((3, 2)))
