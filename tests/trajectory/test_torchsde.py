"""torchsde takes a limit SDE as it is: moments of linear fields, seeds, layers at grid points, the adjoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
import torch
from systems import Field, randn
from torch import Tensor
from torchsde import sdeint, sdeint_adjoint

import node_oc as oc
from node_oc.discretization.noise import Source
from node_oc.errors import ConfigError
from node_oc.trajectory import solve_by_torchsde

H = (0.5, 0.8, 0.3)
VECTOR, IMAGE = (2,), (2, 2, 1)
PER: dict[str, Literal["sample", "unit", "channel"]] = {"scalar": "sample", "diagonal": "unit", "general": "channel"}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mixing(shape: tuple[int, ...]) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """A matrix on flattened states that mixes all their entries, and the field that it is."""
    d = math.prod(shape)
    matrix = randn(d, d, seed=11) / d - 0.4 * torch.eye(d, dtype=torch.float64)
    return matrix, lambda x: (x.flatten(1) @ matrix.T).reshape(x.shape)


def limit(noise: str, shape: tuple[int, ...], table: oc.Tableau, deviation: float = 0.5) -> oc.LimitSDE:
    system = Field(mixing(shape)[1], len(H), math.prod(shape)).double()
    with torch.no_grad():
        for k, u in enumerate(system.u):
            u.copy_(torch.tensor(1.2 - 0.4 * k))
    network = oc.Network(system, oc.DepthGrid(H), table)
    per = oc.gaussian(deviation, per=PER[noise], root=True)
    return oc.limit_sde(network, per, shape=() if len(shape) == 1 else shape)


def moments(sde: oc.LimitSDE, noise: str, shape: tuple[int, ...], x: Tensor) -> tuple[Tensor, Tensor]:
    """E X_T and E X_T X_T^T of a linear field, by the linear equations that they obey, solved exactly."""
    matrix, d = mixing(shape)[0], math.prod(shape)
    units = torch.eye(d, dtype=torch.float64)
    groups = {"scalar": [units.sum(0)], "diagonal": list(units), "general": list(units.reshape(shape[0], -1, d).sum(1))}
    mean, second = x, torch.outer(x, x)
    for k, h in enumerate(H):
        field = float(sde.system.u[k].detach()) * matrix  # type: ignore[index,union-attr]
        parts = [torch.diag(mask) @ field * 0.5 for mask in groups[noise]]
        drift = field + (0.5 * sum(part @ part for part in parts) if sde.sde_type == "stratonovich" else 0)
        mean = torch.matrix_exp(h * drift) @ mean
        rate = torch.kron(drift, units) + torch.kron(units, drift) + sum(torch.kron(part, part) for part in parts)
        second = (torch.matrix_exp(h * rate) @ second.flatten()).reshape(d, d)
    return mean, second


@pytest.mark.parametrize(("table", "shape"), [(oc.EULER, VECTOR), (oc.MIDPOINT, VECTOR), (oc.MIDPOINT, IMAGE),
                         pytest.param(oc.EULER, IMAGE, marks=pytest.mark.long)])  # fmt: skip
@pytest.mark.parametrize("noise", list(PER))
def test_moments_of_a_linear_field(noise: str, table: oc.Tableau, shape: tuple[int, ...]) -> None:
    sde, samples = limit(noise, shape, table), 2000
    assert (sde.noise_type, sde.sde_type) == (noise, "ito" if table is oc.EULER else "stratonovich")
    x = randn(math.prod(shape), seed=5)
    y = x.expand(samples, -1).clone()
    with torch.no_grad():
        end = sdeint(sde, y, torch.tensor([0.0, sum(H)]), bm=oc.brownian(sde, y, seeded(3)), dt=0.05)[-1]
    mean, second = moments(sde, noise, shape, x)
    spread = end.std(0) / samples**0.5
    assert ((end.mean(0) - mean).abs() <= 4.5 * spread + 2e-3).all()
    products = end[:, :, None] * end[:, None]
    assert ((products.mean(0) - second).abs() <= 4.5 * products.std(0) / samples**0.5 + 4e-3).all()


@pytest.mark.parametrize("noise", ["scalar", "diagonal"])  # a channel of a vector is a unit
def test_own_loop_and_torchsde_have_the_same_limit(noise: str) -> None:
    """The two calculi of one limit, by Euler and by Heun: means over paths agree with the closed form."""
    sde, samples, x = limit(noise, VECTOR, oc.EULER), 4_000, randn(2, seed=5)
    with torch.no_grad():
        for equation, substeps in ((sde, 80), (sde.stratonovich(), 12)):
            end = oc.solve_sde(equation, x.expand(samples, 2), seeded(4), substeps=substeps)[-1]
            mean, second = moments(sde, noise, VECTOR, x)
            assert ((end.mean(0) - mean).abs() <= 4.5 * end.std(0) / samples**0.5 + 4e-3).all()
            squares = end.square()
            assert ((squares.mean(0) - second.diagonal()).abs() <= 4.5 * squares.std(0) / samples**0.5 + 1.5e-2).all()


# -- seeds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [VECTOR, IMAGE], ids=["vector", "image"])
@pytest.mark.parametrize("noise", list(PER))
def test_a_generator_of_torch_is_all_that_paths_depend_on(noise: str, shape: tuple[int, ...]) -> None:
    sde, y = limit(noise, shape, oc.EULER), randn(3, math.prod(shape))

    def path(seed: int) -> Tensor:
        return sdeint(sde, y, [0.0, 1.6], bm=oc.brownian(sde, y, seeded(seed)), method="euler", dt=0.2)[-1]

    np.random.seed(0)
    torch.manual_seed(0)
    state = np.random.get_state()[1].copy()
    first = path(1)
    assert np.array_equal(np.random.get_state()[1], state)
    np.random.seed(1)
    torch.manual_seed(1)
    assert torch.equal(path(1), first)
    assert not torch.equal(path(2), first)
    assert oc.brownian(sde, y, seeded()).shape == oc.brownian(sde, y.reshape(3, *shape), seeded()).shape


def test_mirrored_draws_are_refused() -> None:
    sde = limit("scalar", VECTOR, oc.EULER)
    with pytest.raises(ConfigError, match="antithetic"):
        oc.brownian(sde, randn(3, 2), Source(1, mirrored=True))


# -- layers at grid points -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_float_time_at_a_grid_point_is_the_step_that_begins_there(seed: int) -> None:
    h = tuple((0.01 + torch.rand(50, generator=seeded(seed), dtype=torch.float64)).tolist())
    system = Field(torch.ones_like, len(h)).double()
    with torch.no_grad():
        for k, u in enumerate(system.u):
            u.copy_(torch.tensor(float(k)))
    sde = oc.limit_sde(oc.Network(system, oc.DepthGrid(h)), oc.gaussian(0.5, root=True))
    y, t = randn(1, 1), torch.zeros((), dtype=torch.float32)
    for k, step in enumerate(h):
        for time in (sde.ts[k], torch.tensor(sde.ts[k], dtype=torch.float32), t):  # the last as a solver adds them up
            assert sde.f(time, y).item() == k
            assert sde.f_and_g(time, y)[1].item() == sde.g(time, y).item() == 0.5 * k
        assert sde.f(sde.ts[k] + 0.5 * step, y).item() == k
        t = t + torch.tensor(step, dtype=torch.float32)
    assert sde.f(torch.tensor(sde.ts[-1], dtype=torch.float32), y).item() == len(h) - 1


def test_layer_by_layer_each_layer_is_asked_for_its_own_field_alone() -> None:
    sde, x = limit("diagonal", VECTOR, oc.EULER), randn(3, 2).float()
    asked: list[int] = []
    branch = sde.system.branch_at

    def listening(k: int, c: float, y: Tensor) -> Tensor:
        asked.append(k)
        return branch(k, c, y)

    sde.system.branch_at = listening  # type: ignore[method-assign,assignment]
    sde.system.float()
    sde.system.f = torch.sin  # type: ignore[assignment]
    for method in ("euler", "heun"):  # Heun asks at the end of a layer too
        asked.clear()
        with torch.no_grad():
            solve_by_torchsde(sde if method == "euler" else sde.stratonovich(), x, seeded(), method=method, substeps=4)
        counts = [asked.count(k) for k in range(3)]
        assert asked == sorted(asked)
        assert counts == [counts[0]] * 3
        if method == "euler":
            assert counts[0] == 4 + 3  # torchsde looks at the shapes of f, g and both first


# -- the adjoint ---------------------------------------------------------------------------------------------


def gradient(system: torch.nn.Module, end: Tensor) -> Tensor:
    return torch.stack(torch.autograd.grad(end.square().sum(), list(system.parameters())))


@pytest.mark.parametrize(
    "noise", ["scalar", *(pytest.param(n, marks=pytest.mark.long) for n in ("diagonal", "general"))]
)
def test_the_adjoint_has_the_gradient_of_backpropagation(noise: str) -> None:
    sde, x = limit(noise, VECTOR, oc.EULER, 0.3).stratonovich(), randn(3, 2)
    substeps = 10 if noise == "scalar" else 100
    plain, adjoint = (
        gradient(sde.system, solve_by_torchsde(sde, x, seeded(1), method="midpoint", substeps=substeps, adjoint=a)[-1])
        for a in (False, True)
    )
    torch.testing.assert_close(adjoint, plain, rtol=2e-2, atol=5e-3)


def test_sdeint_adjoint_takes_it_as_it_is() -> None:
    sde, y = limit("scalar", VECTOR, oc.MIDPOINT, 0.3), randn(3, 2)
    ends = [solve(sde, y, torch.tensor([0.0, *sde.ts[1:]], dtype=torch.float64), bm=oc.brownian(sde, y, seeded(1)),
                  method="midpoint", dt=0.04)[-1] for solve in (sdeint, sdeint_adjoint)]  # fmt: skip
    torch.testing.assert_close(ends[0], ends[1])
    plain, adjoint = (gradient(sde.system, end) for end in ends)
    torch.testing.assert_close(adjoint, plain, rtol=2e-2, atol=2e-2)


def test_torchsdes_adjoint_is_another_gradient_for_itos_noise_in_units_that_mix() -> None:
    """Why it is refused: its correction is that of a diffusion whose entry i depends on x_i alone."""
    sde, y = limit("diagonal", VECTOR, oc.EULER, 0.6), randn(3, 2)
    ts = torch.tensor(sde.ts[:2], dtype=torch.float64)
    found = []
    for solve in (sdeint, sdeint_adjoint):
        end = solve(sde, y, ts, bm=oc.brownian(sde, y, seeded(1)), method="euler", dt=H[0] / 50)[-1]
        found.append(torch.autograd.grad(end.square().sum(), list(sde.system.parameters()), allow_unused=True)[0])
    assert float((found[1] - found[0]).abs() / found[0].abs()) > 0.02
    with pytest.raises(ConfigError, match="x_i alone"):
        solve_by_torchsde(sde, y, seeded(), adjoint=True)
