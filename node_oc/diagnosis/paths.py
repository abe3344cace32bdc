"""Solutions of a limit SDE as functions of independent normal numbers: the reference of a weak order."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from node_oc.diagnosis.moments import masks
from node_oc.discretization.limit import LimitSDE
from node_oc.discretization.noise import shape_of
from node_oc.discretization.tableau import RK4
from node_oc.errors import ConfigError


class Paths(ABC):
    """Solves dX = b dt + g dW with some pieces in every step of the network, from standard normal numbers."""

    @property
    @abstractmethod
    def numbers(self) -> int:
        """Normal numbers for each Brownian motion and piece."""

    @abstractmethod
    def end(self, sde: LimitSDE, x: Tensor, z: Tensor) -> Tensor:
        """X(T), shaped as x.

        Args:
            sde: the SDE.
            x: states at time 0, (S, ...).
            z: normal numbers (S, awake steps, pieces, numbers, Brownian motions).
        """

    @abstractmethod
    def coarse(self, z: Tensor) -> Tensor:
        """The normal numbers of the same Brownian paths with half the pieces."""


@dataclass(frozen=True)
class FrozenNoise(Paths):
    """RK4 along dx/dt = b(x) + g(x) dW/dt with dW/dt constant in each piece: Wong and Zakai, Stratonovich.

    Its weak error is O(dt^4) without noise; with noise of size eps it has O(eps^2 dt^2) and O(eps^4 dt) beside (our
    derivation; Milstein and Tretyakov have such expansions for small noise). With eps^2 = h, as of noise that enters as
    h b, and dt in proportion to h that is O(h^3), an order better than what is measured. An Ito drift becomes b less
    sum_j (grad g_j) g_j / 2.
    """

    @property
    def numbers(self) -> int:
        return 1

    def end(self, sde: LimitSDE, x: Tensor, z: Tensor) -> Tensor:
        one, pieces = shape_of(sde.noise.per, x), z.shape[2]
        moved = masks(sde.noise, x) if sde.sde_type == "ito" else None
        for i, k in enumerate(sde.network.awake):
            dt = sde.network.h[k] / pieces
            for piece in range(pieces):
                push = (z[:, i, piece, 0] / math.sqrt(dt)).unflatten(1, one[1:])
                slopes: list[Tensor] = []
                for row, c in zip(RK4.a, RK4.c, strict=True):
                    y = _moved(x, dt, row, slopes)
                    slopes.append(_slope(sde, k, (piece + c) / pieces, y, push, moved))
                x = _moved(x, dt, RK4.b, slopes)
        return x

    def coarse(self, z: Tensor) -> Tensor:
        return (z[:, :, ::2] + z[:, :, 1::2]) / math.sqrt(2)


def _moved(x: Tensor, dt: float, weights: Sequence[float], slopes: list[Tensor]) -> Tensor:
    for weight, slope in zip(weights, slopes, strict=True):
        x = torch.add(x, slope, alpha=dt * weight) if weight else x
    return x


def _slope(sde: LimitSDE, k: int, c: float, x: Tensor, push: Tensor, moved: Tensor | None) -> Tensor:
    drift = sde.drift(k, c, x)
    if moved is None:
        return drift + sde.diffusion(k, c, x) * push
    # (grad g_j) g_j, g_j being the diffusion where Brownian motion j acts: all j in one call.
    spread, motions = sde.diffusion(k, c, x), len(moved)
    there, way = x.repeat(motions, *(1 for _ in x.shape[1:])), (spread * moved).flatten(0, 1)
    change = torch.func.jvp(lambda y: sde.diffusion(k, c, y), (there,), (way,))[1]
    return drift - (change.unflatten(0, (motions, len(x))) * moved).sum(0) / 2 + spread * push


@dataclass(frozen=True)
class Torchsde(Paths):
    """``torchsde.sdeint``: its method for Ito (srk, of Brownian increments and their time integrals) or Stratonovich.

    Attributes:
        calculus: "ito" or "stratonovich".
    """

    calculus: str

    @property
    def numbers(self) -> int:
        return 2 if self.calculus == "ito" else 1

    def end(self, sde: LimitSDE, x: Tensor, z: Tensor) -> Tensor:
        try:
            import torchsde
        except ImportError as error:
            raise ConfigError("solver", got="'torchsde', which is not installed", expected="the package",
                              do='Install it, or use solver="own".') from error  # fmt: skip
        if sde.noise_type == "general" and sde.sde_type == "ito":
            raise ConfigError("solver", got="'torchsde' with noise per channel, Ito's", expected="noise per sample or "
                              "unit, for which it has more than Euler-Maruyama", do='Use solver="own".')  # fmt: skip
        method, pieces, y = "srk" if self.numbers == 2 else "midpoint", z.shape[2], x.flatten(1)
        for i, k in enumerate(sde.network.awake):
            h = sde.network.h[k]
            # A little more than h / pieces: the last piece is cut at h, and rounding makes no piece more.
            y = torchsde.sdeint(_Step(sde, k, x.shape[1:]), y, torch.tensor([0.0, h], dtype=x.dtype), method=method,
                                bm=_Brownian(z[:, i], h / pieces), dt=h / pieces * (1 + 1e-12))[-1]  # fmt: skip
        return y.unflatten(1, x.shape[1:])

    def coarse(self, z: Tensor) -> Tensor:
        first, second = z[:, :, ::2], z[:, :, 1::2]
        w = (first[:, :, :, :1] + second[:, :, :, :1]) / math.sqrt(2)
        if self.numbers == 1:
            return w
        # The time integral of W over a piece is dt (W/2 + H), H of variance dt/12 and independent of W.
        half = (first[:, :, :, :1] - second[:, :, :, :1]) * math.sqrt(3) / 2
        h = (first[:, :, :, 1:] + second[:, :, :, 1:]) / 2
        return torch.cat([w, (half + h) / math.sqrt(2)], 3)


class _Step:
    """One step of a limit SDE, as torchsde wants it: the controls are those of this step up to its end."""

    def __init__(self, sde: LimitSDE, k: int, shape: Sequence[int]) -> None:
        self.sde, self.k, self.shape = sde, k, tuple(shape)
        self.noise_type, self.sde_type = sde.noise_type, sde.sde_type

    def _at(self, t: Tensor, y: Tensor) -> tuple[float, Tensor]:
        return min(max(float(t) / self.sde.network.h[self.k], 0.0), 1.0), y.unflatten(1, self.shape)

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        return self.sde.drift(self.k, *self._at(t, y)).flatten(1)

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        c, x = self._at(t, y)
        spread = self.sde.diffusion(self.k, c, x)
        if self.noise_type == "diagonal":
            return spread.flatten(1)
        return torch.stack([(spread * mask).flatten(1) for mask in masks(self.sde.noise, x)], 2)


class _Brownian:
    """Brownian increments of pieces of length dt, from normal numbers z (S, pieces, numbers, motions)."""

    levy_area_approximation = "space-time"

    def __init__(self, z: Tensor, dt: float) -> None:
        self.z, self.dt = z, dt
        self.shape, self.dtype, self.device = (len(z), z.shape[3]), z.dtype, z.device

    def size(self) -> tuple[int, int]:
        return self.shape

    def __call__(self, ta: Any, tb: Any = None, return_U: bool = False, return_A: bool = False) -> Any:
        z = self.z[:, round(float(ta) / self.dt)]
        w = z[:, 0] * math.sqrt(self.dt)
        if not return_U:
            return w
        return w, self.dt * (w / 2 + z[:, 1] * math.sqrt(self.dt / 12))
