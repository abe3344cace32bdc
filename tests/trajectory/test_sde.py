"""Own loops for SDEs: each scheme by its formula, the network as one substep of Euler, conversion in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from systems import Field, randn, stir_
from torch import Tensor

import node_oc as oc
from node_oc.discretization.noise import Source
from node_oc.errors import ConfigError, ShapeError
from node_oc.trajectory.sde import STANDARD

H = (0.5, 1.0, 0.3)
NOISES: dict[str, oc.Noise] = {
    "scalar": oc.stochastic_depth(0.7),
    "diagonal": oc.branch_dropout(0.6),
    "general": oc.branch_dropout(0.6, per="channel"),
    "root": oc.gaussian(0.4, root=True),
}
A = torch.tensor([[-0.5, 1.2], [-1.0, -0.3]], dtype=torch.float64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(x: Tensor) -> Tensor:
    return x @ A.T


def limit(noise: oc.Noise, f: Callable[[Tensor], Tensor] = linear, order: int = 1, **options: object) -> oc.LimitSDE:
    system = Field(f, len(H), 2).double()
    with torch.no_grad():
        for k, u in enumerate(system.u):
            u.copy_(torch.tensor(1.0 - 0.3 * k))
    network = oc.Network(system, oc.DepthGrid(H), **options)  # type: ignore[arg-type]
    return oc.limit_sde(network, noise, order)  # type: ignore[arg-type]


class Timed:
    """dX = cos(t) A X dt + G(X) dW as torchsde has it, G of three shapes."""

    def __init__(self, noise_type: str, sde_type: str) -> None:
        self.noise_type, self.sde_type = noise_type, sde_type

    def f(self, t: float, y: Tensor) -> Tensor:
        return math.cos(t) * linear(y)

    def g(self, t: float, y: Tensor) -> Tensor:
        value = 0.5 * torch.sin(y) + 0.1 * t
        if self.noise_type == "general":
            return torch.stack([value, value.flip(1), y], 2)
        return value[..., None] if self.noise_type == "scalar" else value


def by_formula(method: str, f: Callable, g: Callable, x: Tensor, h: float, w: Tensor) -> Tensor:
    """One step from t = 0 to h, w = dW; g(t, x, w) is the diffusion times a vector."""
    y = x + f(0.0, x) * h + g(0.0, x, w)
    if method == "heun":
        return x + (f(0.0, x) + f(h, y)) * h / 2 + (g(0.0, x, w) + g(h, y, w)) / 2
    if method == "milstein":
        one = torch.ones_like(w)
        slope = torch.func.jvp(lambda z: g(0.0, z, one), (x,), (g(0.0, x, one),))[1]
        return y + slope * (w**2 - h) / 2
    return y


@pytest.mark.parametrize("method", ["euler", "milstein", "heun"])
@pytest.mark.parametrize("noise", ["scalar", "diagonal", "general", "root"])
def test_a_step_is_its_formula_on_a_network(method: str, noise: str) -> None:
    if method == "milstein" and noise != "scalar":
        return
    sde, x = limit(NOISES[noise], torch.sin), randn(5, 2)
    sde = sde.stratonovich() if method == "heun" else sde
    state = oc.solve_sde(sde, x, Source(7), method=method)[1]
    shape = (5, 1) if noise == "scalar" else (5, 2)
    w = math.sqrt(H[0]) * Source(7).draw(STANDARD, 0, 0, shape, x)
    wanted = by_formula(
        method, lambda t, y: sde.drift(0, t / H[0], y), lambda t, y, v: sde.diffusion(0, t / H[0], y) * v, x, H[0], w
    )
    torch.testing.assert_close(state, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("noise_type", ["scalar", "diagonal", "general"])
@pytest.mark.parametrize("method", ["euler", "milstein", "heun"])
def test_a_step_is_its_formula_on_an_equation_of_torchsde(method: str, noise_type: str) -> None:
    if method == "milstein" and noise_type != "scalar":
        return
    sde, x = Timed(noise_type, "stratonovich" if method == "heun" else "ito"), randn(5, 2)
    state = oc.solve_sde(sde, x, Source(7), method=method, ts=[0.0, 0.4])[1]
    w = math.sqrt(0.4) * Source(7).draw(STANDARD, 0, 0, (5, {"scalar": 1, "diagonal": 2, "general": 3}[noise_type]), x)

    def product(t: float, y: Tensor, v: Tensor) -> Tensor:
        g = sde.g(t, y)
        return (g @ v[..., None])[..., 0] if g.dim() == 3 else g * v

    torch.testing.assert_close(state, by_formula(method, sde.f, product, x, 0.4, w), rtol=1e-12, atol=1e-12)


def test_two_layers_of_substeps_are_steps_one_after_the_other() -> None:
    sde, x = Timed("diagonal", "ito"), randn(5, 2)
    states = oc.solve_sde(sde, x, Source(3), ts=torch.tensor([0.0, 0.4, 1.0]), substeps=2)
    y = x
    for k, (t, h) in enumerate([(0.0, 0.2), (0.2, 0.2), (0.4, 0.3), (0.7, 0.3)]):
        y = y + sde.f(t, y) * h + sde.g(t, y) * math.sqrt(h) * Source(3).draw(STANDARD, k // 2, k % 2, (5, 2), x)
    assert len(states) == 3
    torch.testing.assert_close(states[-1], y, rtol=1e-6, atol=1e-6)  # times that were float32


@pytest.mark.parametrize("noise", list(NOISES))
def test_one_substep_of_euler_is_the_network_with_gaussian_noise(noise: str) -> None:
    sde, x = limit(NOISES[noise], torch.sin), randn(6, 2)
    states = oc.solve_sde(sde, x, seeded(4))
    driver = sde.noise.matched().drawn(seeded(4))
    wanted = oc.rollout(sde.network, x, driver=driver, analytic=False).states
    torch.testing.assert_close(torch.stack(states), torch.stack(wanted), rtol=1e-12, atol=1e-12)


def test_one_substep_of_euler_at_order_two_is_another_drift() -> None:
    sde, x = limit(NOISES["diagonal"], torch.sin, 2), randn(6, 2)
    f = torch.sin(x)
    torch.testing.assert_close(sde.drift(0, 0.0, x), f - H[0] / 2 * torch.cos(x) * f)


# -- draws ---------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits_and_no_global_state_is_touched() -> None:
    sde, x = limit(NOISES["diagonal"]), randn(4, 2)
    own = torch.get_rng_state()
    first = oc.solve_sde(sde, x, seeded(1), substeps=3)
    torch.manual_seed(5)
    np.random.seed(5)
    again, other = oc.solve_sde(sde, x, seeded(1), substeps=3), oc.solve_sde(sde, x, seeded(2), substeps=3)
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[-1], other[-1])
    torch.set_rng_state(own)
    oc.solve_sde(sde, x, seeded(1))
    assert torch.equal(torch.get_rng_state(), own)
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    oc.solve_sde(sde, x, seeded(1))
    assert np.array_equal(np.random.get_state()[1], before)


def test_a_generator_moves_on() -> None:
    sde, x, g = limit(NOISES["diagonal"]), randn(4, 2), seeded(1)
    assert not torch.equal(oc.solve_sde(sde, x, g)[-1], oc.solve_sde(sde, x, g)[-1])


def test_mirrored_draws_mirror_the_noise() -> None:
    sde, x = limit(NOISES["root"]), randn(4, 2)
    up, down = (oc.solve_sde(sde, x, Source(3, mirrored=m))[1] for m in (False, True))
    torch.testing.assert_close((up + down) / 2, x + H[0] * linear(x))


def test_a_shared_batch_has_the_draws_of_the_whole() -> None:
    sde, x = limit(NOISES["diagonal"]), randn(6, 2)
    whole = oc.solve_sde(sde, x, Source(3))[-1]
    part = oc.solve_sde(sde, x[1::2], Source(3, rows=(1, 2, 6)))[-1]
    torch.testing.assert_close(part, whole[1::2])


def test_without_draws_the_drift_alone_is_solved() -> None:
    sde, x = limit(NOISES["scalar"]), randn(4, 2)
    torch.testing.assert_close(oc.solve_sde(sde, x, None)[1], x + H[0] * 0.7 * linear(x))
    f = 0.7 * H[0] * linear(x)
    torch.testing.assert_close(oc.solve_sde(sde, x, None, method="heun")[1], x + f + 0.7 * H[0] * linear(f) / 2)


def test_a_sleeping_layer_hands_the_very_same_state_on() -> None:
    sde = limit(NOISES["diagonal"], awake=[0, 2])
    states = oc.solve_sde(sde, randn(4, 2), seeded(), substeps=2)
    assert states[1] is states[2]
    assert states[2] is not states[3]


def test_five_thousand_steps_forward_and_back() -> None:
    """Geometric noise: x_N = x_0 prod (1 + a h + s dW), whose derivative in x_0 is x_N / x_0."""

    class Geometric:
        noise_type, sde_type = "diagonal", "ito"

        def f(self, t: float, y: Tensor) -> Tensor:
            return -0.5 * y

        def g(self, t: float, y: Tensor) -> Tensor:
            return 0.3 * y

    x = randn(3, 2).requires_grad_()
    end = oc.solve_sde(Geometric(), x, Source(2), ts=[0.0, 1.0], substeps=5000)[-1]
    end.sum().backward()
    torch.testing.assert_close(x.grad, (end / x).detach(), rtol=1e-9, atol=1e-12)
    factors = [1 - 0.5 / 5000 + 0.3 / 5000**0.5 * Source(2).draw(STANDARD, 0, j, (3, 2), x.detach()) for j in (0, 1)]
    two = oc.solve_sde(Geometric(), x, Source(2), ts=[0.0, 2 / 5000], substeps=2)[-1]
    torch.testing.assert_close(two, x * factors[0] * factors[1])


# -- conversion ----------------------------------------------------------------------------------------------


def test_conversion_of_a_linear_field_is_known() -> None:
    x = randn(5, 2)
    scale = {"scalar": H[0] * 0.21, "diagonal": H[0] * (0.4 / 0.6), "general": H[0] * (0.4 / 0.6), "root": 0.16}
    diagonal = A.diagonal() * linear(x)
    for name, noise in NOISES.items():
        sde = limit(noise)
        turned = linear(linear(x)) if name == "scalar" else diagonal
        wanted = sde.drift(0, 0.0, x) - scale[name] / 2 * turned
        torch.testing.assert_close(sde.stratonovich().drift(0, 0.0, x), wanted)


@pytest.mark.parametrize("noise", ["scalar", "diagonal", "general"])
def test_conversion_is_that_of_the_columns(noise: str) -> None:
    """-1/2 sum_j (∇g_j) g_j by the Jacobian of each column, on a state (B, 3, 2, 2) and a field that mixes all."""
    weight = randn(12, 12, seed=3) / 12**0.5

    def field(x: Tensor) -> Tensor:
        return torch.tanh(x.flatten(1) @ weight).reshape(x.shape)

    sde, x = limit(NOISES[noise], field), randn(2, 3, 2, 2)
    sde.shape = (3, 2, 2)
    for i, one in enumerate(x):

        def matrix(y: Tensor, like: oc.LimitSDE = sde) -> Tensor:
            g = like.g(0.1, y[None])[0]
            return torch.diag(g) if g.dim() == 1 else g

        flat = one.flatten()
        g, slopes = matrix(flat), torch.func.jacrev(matrix)(flat)
        wanted = sde.drift(0, 0.2, x)[i].flatten() - 0.5 * torch.einsum("ijl,lj->i", slopes, g)
        torch.testing.assert_close(sde.stratonovich().drift(0, 0.2, x)[i].flatten(), wanted)


def test_conversion_and_back_is_what_it_was() -> None:
    x = randn(5, 2)
    for table in (oc.EULER, oc.MIDPOINT):
        sde = limit(NOISES["diagonal"], torch.sin, table=table)
        kind = "ito" if table is oc.EULER else "stratonovich"
        assert sde.sde_type == kind
        assert getattr(sde, kind)() is sde
        other = sde.ito() if kind == "stratonovich" else sde.stratonovich()
        back = getattr(other, kind)()
        torch.testing.assert_close(back.drift(1, 0.0, x), sde.drift(1, 0.0, x))
        sign = -0.5 if kind == "ito" else 0.5
        change = sign * H[1] * 0.7**2 * (0.4 / 0.6) * torch.cos(x) * torch.sin(x)
        torch.testing.assert_close(other.drift(1, 0.0, x) - sde.drift(1, 0.0, x), change)
        for f, g in ((other.coefficients(1, 0.3, x), (other.drift(1, 0.3, x), other.diffusion(1, 0.3, x))),):
            torch.testing.assert_close(f, g)


def test_expanded_states_are_taken() -> None:
    """Derivatives forward refuse them: one state for many paths is the usual way to get one."""
    one = randn(1, 2)
    for sde in (limit(NOISES["scalar"], torch.sin).stratonovich(), limit(NOISES["diagonal"], torch.sin, 2)):
        many = sde.coefficients(0, 0.0, one.expand(3, 2))
        torch.testing.assert_close(many, tuple(part.expand(3, 2) for part in sde.coefficients(0, 0.0, one)))
    ends = [oc.solve_sde(limit(NOISES["scalar"]), x, Source(2), method="milstein") for x in
            (one.expand(3, 2), one.repeat(3, 1))]  # fmt: skip
    torch.testing.assert_close(*ends)


def test_conversion_of_two_branches() -> None:
    first, second = (oc.DenseSystem(2, 2, depth=2, width=3, hidden=4, generator=seeded(s)).double() for s in (1, 2))
    for module in (first, second):
        stir_(module)
    noise = oc.gaussian(0.8, per="sample", root=True, diffuses="second")
    sde, x = oc.limit_sde(oc.PairedSystem(first, second, mean=(1, 0)), noise), randn(5, 3)
    g = sde.diffusion(1, 0.0, x)
    torch.testing.assert_close(g, 0.8 * second.steps[1](x))
    slope = torch.stack([torch.func.jacrev(lambda y: 0.8 * second.steps[1](y))(one) for one in x])
    wanted = first.steps[1](x) - 0.5 * torch.einsum("bij,bj->bi", slope, g)
    torch.testing.assert_close(sde.stratonovich().drift(1, 0.0, x), wanted)


# -- what is refused -----------------------------------------------------------------------------------------


def test_what_is_refused() -> None:
    sde, x = limit(NOISES["diagonal"]), randn(4, 2)
    with pytest.raises(ConfigError, match="do not commute"):
        oc.solve_sde(sde, x, seeded(), method="milstein")
    with pytest.raises(ConfigError, match=r"Use sde.stratonovich\(\), or method='euler'"):
        oc.solve_sde(sde, x, seeded(), method="heun")
    with pytest.raises(ConfigError, match="Rewrite it as ito's"):
        oc.solve_sde(Timed("diagonal", "stratonovich"), x, seeded(), method="euler", ts=[0.0, 1.0])
    with pytest.raises(ConfigError, match="one of"):
        oc.solve_sde(sde, x, seeded(), method="rk4")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="substeps"):
        oc.solve_sde(sde, x, seeded(), substeps=0)
    with pytest.raises(ConfigError, match="the grid of the network"):
        oc.solve_sde(sde, x, seeded(), ts=[0.0, 1.0])
    for words in (("matrix", "ito"), ("diagonal", "Ito")):
        with pytest.raises(ConfigError, match="Correct the word"):
            oc.solve_sde(Timed(*words), x, seeded(), ts=[0.0, 1.0])
    with pytest.raises(ConfigError, match="the times of the solution"):
        oc.solve_sde(Timed("diagonal", "ito"), x, seeded())
    with pytest.raises(ConfigError, match="ascending"):
        oc.solve_sde(Timed("diagonal", "ito"), x, seeded(), ts=[0.0, 1.0, 1.0])
    with pytest.raises(ShapeError, match="Flatten"):
        oc.solve_sde(Timed("diagonal", "ito"), randn(4, 2, 2), seeded(), ts=[0.0, 1.0])
