"""Euler-Maruyama, Milstein and Heun: plain loops that solve a stochastic differential equation.

x' below is the next state, h the length of a substep, dW = sqrt(h) z with z standard normal, f and g drift and
diffusion. The schemes are those of Kloeden and Platen, Numerical Solution of Stochastic Differential Equations,
sections 10.2 (Euler), 10.3 (Milstein) and, for Stratonovich's integral, Rüemelin, SIAM J. Numer. Anal. 1982 (Heun).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from node_oc.discretization.law import Gaussian
from node_oc.discretization.limit import LimitSDE
from node_oc.discretization.noise import Source, shape_of
from node_oc.errors import ConfigError, ShapeError

SDEMethod = Literal["euler", "milstein", "heun"]
CALCULUS: dict[str, str] = {"euler": "ito", "milstein": "ito", "heun": "stratonovich"}
DEFAULT: dict[str, SDEMethod] = {"ito": "euler", "stratonovich": "heun"}
NOISES = ("scalar", "diagonal", "general", "additive")  # as torchsde has them
STANDARD = Gaussian(0.0, 1.0)


class SDE(Protocol):
    """What torchsde asks of an equation: f(t, y) and g(t, y) on states (B, d), and two words."""

    noise_type: str
    sde_type: str

    def f(self, t: Any, y: Tensor) -> Tensor:
        """The drift, (B, d)."""

    def g(self, t: Any, y: Tensor) -> Tensor:
        """The diffusion, (B, d) if diagonal, otherwise (B, d, m)."""


class _Layers:
    """The limit of a network: one interval a layer."""

    def __init__(self, sde: Any, x: Tensor) -> None:
        self.sde, self.h, self.awake = sde, sde.network.h, set(sde.network.awake)
        self.shape = shape_of(sde.noise.per, x)

    def both(self, k: int, c: float, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.sde.coefficients(k, c, x)

    def drift(self, k: int, c: float, x: Tensor) -> Tensor:
        return self.sde.drift(k, c, x)

    def diffusion(self, k: int, c: float, x: Tensor) -> Tensor:
        return self.sde.diffusion(k, c, x)

    def add(self, x: Tensor, g: Tensor, z: Tensor, weight: float) -> Tensor:
        """x + weight g z."""
        return torch.addcmul(x, g, z, value=weight)


class _Timed(_Layers):
    """An equation that knows times alone: one interval between two of them."""

    def __init__(self, sde: Any, x: Tensor, ts: Sequence[float]) -> None:
        self.sde, self.ts = sde, ts
        self.h = tuple(b - a for a, b in pairwise(ts))
        if not self.h or not all(h > 0 for h in self.h):
            raise ConfigError("ts", got=list(ts)[:4], expected="two ascending times or more", do="Correct them.")
        if x.dim() != 2:
            raise ShapeError("state", got=tuple(x.shape), expected="(B, d), as torchsde has it", do="Flatten it.")
        self.awake = set(range(len(self.h)))
        self.vector = sde.noise_type in ("scalar", "diagonal")
        self.shape = tuple(x.shape) if sde.noise_type == "diagonal" else (len(x), sde.g(self.ts[0], x).shape[-1])
        self._both = getattr(sde, "f_and_g", None) or (lambda t, y: (sde.f(t, y), sde.g(t, y)))

    def both(self, k: int, c: float, x: Tensor) -> tuple[Tensor, Tensor]:
        f, g = self._both(self.ts[k] + c * self.h[k], x)
        return f, self._vector(g)

    def drift(self, k: int, c: float, x: Tensor) -> Tensor:
        return self.sde.f(self.ts[k] + c * self.h[k], x)

    def diffusion(self, k: int, c: float, x: Tensor) -> Tensor:
        return self._vector(self.sde.g(self.ts[k] + c * self.h[k], x))

    def add(self, x: Tensor, g: Tensor, z: Tensor, weight: float) -> Tensor:
        if self.vector:
            return torch.addcmul(x, g, z, value=weight)
        return torch.baddbmm(x[..., None], g, z[..., None], alpha=weight)[..., 0]

    def _vector(self, g: Tensor) -> Tensor:
        return g[..., 0] if self.vector and g.dim() == 3 else g


class _Drift(_Layers):
    """The same without its noise."""

    def __init__(self, layers: _Layers) -> None:
        self.layers, self.h, self.awake = layers, layers.h, layers.awake

    def both(self, k: int, c: float, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.layers.drift(k, c, x), x

    def add(self, x: Tensor, g: Tensor, z: Tensor, weight: float) -> Tensor:
        return x


Step = Callable[[_Layers, int, float, float, Tensor, float, Tensor], Tensor]


def _euler(sde: _Layers, k: int, c: float, end: float, x: Tensor, h: float, z: Tensor) -> Tensor:
    """x' = x + f h + g dW."""
    f, g = sde.both(k, c, x)
    return sde.add(torch.add(x, f, alpha=h), g, z, math.sqrt(h))


def _milstein(sde: _Layers, k: int, c: float, end: float, x: Tensor, h: float, z: Tensor) -> Tensor:
    """x' = x + f h + g dW + (1/2) (∇g) g (dW^2 - h), one Brownian motion a sample."""
    f, g = sde.both(k, c, x)
    change = torch.func.jvp(lambda y: sde.diffusion(k, c, y), (x,), (g,))[1]
    return torch.addcmul(sde.add(torch.add(x, f, alpha=h), g, z, math.sqrt(h)), change, z * z - 1, value=h / 2)


def _heun(sde: _Layers, k: int, c: float, end: float, x: Tensor, h: float, z: Tensor) -> Tensor:
    """x' = x + (f + f(y)) h/2 + (g + g(y)) dW/2, y the step of Euler."""
    root = math.sqrt(h)
    f, g = sde.both(k, c, x)
    y = sde.add(torch.add(x, f, alpha=h), g, z, root)
    f, g = sde.both(k, end, y)
    return sde.add(torch.add(torch.lerp(x, y, 0.5), f, alpha=h / 2), g, z, root / 2)


STEPS: dict[str, Step] = {"euler": _euler, "milstein": _milstein, "heun": _heun}


def solve_sde(
    sde: LimitSDE | SDE,
    x: Tensor,
    draws: torch.Generator | Source | None,
    *,
    method: SDEMethod | None = None,
    substeps: int = 1,
    ts: Sequence[float] | Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Paths of an SDE at the points of its grid, one path for every sample.

    A loop that keeps what autograd keeps, and nothing else. The draw of a substep is a pure function of a seed, the
    interval and the substep. With one substep a layer, Euler's path of a limit SDE of order 1 is the network with
    Gaussian noise of the same mean and variance, draw by draw: ``rollout(driver=noise.matched().drawn(generator))``.

    Args:
        sde: the limit of a network; or any object with torchsde's ``f``, ``g``, ``noise_type`` and ``sde_type``.
        x: the state at the first point, (B, ...).
        draws: where the seed comes from: a generator, which moves on, or the source of a driver; None for the drift
            alone.
        method: "euler" or "milstein" for Ito's integral (the second for scalar noise), "heun" for Stratonovich's; euler
            or heun by default.
        substeps: of equal length, in each interval: of the layer, or between two times.
        ts: the times of an equation that is no :class:`node_oc.LimitSDE`.

    Returns:
        The states at the points t_0..t_N, each (B, ...).

    Raises:
        ConfigError: an unknown method, or one for another integral or noise; no substeps; no times, or times for a
            network, which has its own.
        ShapeError: a state that is no vector where the equation knows vectors alone.
    """
    if isinstance(sde, LimitSDE) == (ts is not None):
        raise ConfigError("ts", got="times" if ts is not None else "none",
                          expected="none: the grid of the network" if ts is not None else "the times of the solution",
                          do="Leave them out." if ts is not None else "Give ts=[0.0, 1.0], or more.")  # fmt: skip
    if substeps < 1:
        raise ConfigError("substeps", got=substeps, expected="at least 1 an interval", do="Correct the number.")
    method = chosen(sde, method, noisy=draws is not None)
    x = x.contiguous() if 0 in x.stride() else x  # derivatives forward do not take an expanded tensor
    layers = _Layers(sde, x) if ts is None else _Timed(sde, x, [float(t) for t in ts])
    if draws is None:
        layers, method = _Drift(layers), "heun" if method == "heun" else "euler"
    source = Source.of(draws) if isinstance(draws, torch.Generator) else draws
    states = [x]
    for k, h in enumerate(layers.h):
        for j in range(substeps if k in layers.awake else 0):
            z = x if source is None else source.draw(STANDARD, k, j, layers.shape, x)
            x = STEPS[method](layers, k, j / substeps, (j + 1) / substeps, x, h / substeps, z)
        states.append(x)
    return tuple(states)


def chosen(sde: LimitSDE | SDE, method: SDEMethod | None, *, noisy: bool = True) -> SDEMethod:
    """The method by its name, or the one that is usual; see :func:`solve_sde` for what is refused.

    Args:
        sde: the equation.
        method: its name, or None.
        noisy: whether there is noise, without which any method will do.
    """
    kind = sde.sde_type
    if kind not in DEFAULT or sde.noise_type not in NOISES:
        raise ConfigError("equation", got=f"sde_type {kind!r} and noise_type {sde.noise_type!r}",
                          expected=f"one of {tuple(DEFAULT)} and one of {NOISES}", do="Correct the word.")  # fmt: skip
    method = DEFAULT[kind] if method is None else method
    if method not in STEPS:
        raise ConfigError("method", got=repr(method), expected=f"one of {get_args(SDEMethod)}", do="Correct the name.")
    if noisy and CALCULUS[method] != kind:
        other = f"Use sde.{CALCULUS[method]}()" if isinstance(sde, LimitSDE) else f"Rewrite it as {CALCULUS[method]}'s"
        raise ConfigError(f"method {method}", got=f"an equation with the integral of {kind}",
                          expected=f"{CALCULUS[method]}'s, to which it converges",
                          do=f"{other}, or method={DEFAULT[kind]!r}.")  # fmt: skip
    if noisy and method == "milstein" and sde.noise_type != "scalar":
        raise ConfigError("method milstein", got=f"{sde.noise_type} noise",
                          expected="scalar noise. Where g_i depends on all of x, several Brownian motions do not "
                          "commute, and the scheme would need their areas",
                          do="Use method='euler', or 'heun' with Stratonovich's integral.")  # fmt: skip
    return method
