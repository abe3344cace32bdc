"""The stochastic differential equation that a table with noise approximates weakly, its modified drift with it."""

from __future__ import annotations

import bisect
import math
import warnings
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal, cast

import torch
from torch import Tensor, nn

from node_oc.discretization.network import Network
from node_oc.discretization.noise import Noise, shape_of
from node_oc.errors import ConfigError, ShapeError
from node_oc.system.base import System
from node_oc.system.kinks import smooth
from node_oc.system.paired import PairedSystem

NEAR = 1e-3  # of a step: a float time so near before a grid point is that point
COLUMNS = 64  # of a diffusion that are differentiated at once


class NotSmoothWarning(UserWarning):
    """A formula that asks for more derivatives than a field has."""


class LimitSDE(nn.Module):
    """dX = b(t, X) dt + g(t, X) dW on the grid of a network, with its own controls u_k constant within step k.

    An object that ``torchsde.sdeint`` takes as it is: ``f(t, y)`` and ``g(t, y)`` on states (B, d), ``noise_type`` and
    ``sde_type``. Other code asks by layer: ``coefficients(k, c, x)`` on states of any shape, c in [0, 1] being the
    place within the step. Made by :func:`limit_sde`.

    Attributes:
        network: whose grid, table and awake steps these are.
        noise: on that network's system.
        order: weak order of the approximation.
        shape: of one state, which y is flattened; () for vectors.
        ts: t_0..t_N, in units of time.
        sde_type: "ito" or "stratonovich": the limit's own, or the other one after :meth:`ito`, :meth:`stratonovich`.
        noise_type: "scalar" (one Brownian motion a sample), "general" (one a channel) or "diagonal" (one a unit: g_i
            depends on all of x, so that the correction of torchsde's adjoint for Ito's integral is another one).
    """

    def __init__(self, network: Network, noise: Noise, order: int, shape: Sequence[int]) -> None:
        super().__init__()
        self.network, self.noise, self.order, self.shape = network, noise, order, tuple(shape)
        self.sde_type: str = noise.calculus(network.table)
        self.noise_type = {"sample": "scalar", "unit": "diagonal", "channel": "general"}[noise.per]
        self.ts = (0.0, *accumulate(network.h))

    @property
    def system(self) -> System:
        """The controlled system."""
        return self.network.system

    def ito(self) -> LimitSDE:
        """The same process with Ito's integral; itself where that is its own."""
        return self._converted("ito")

    def stratonovich(self) -> LimitSDE:
        """The same process with Stratonovich's integral, as Heun's method wants it; itself where that is its own.

        Its drift is b - (1/2) sum_j (∇g_j) g_j over the columns g_j of the diffusion: one directional derivative where
        the noise is scalar, one a channel or unit otherwise (Kloeden and Platen, Numerical Solution of Stochastic
        Differential Equations, section 4.9).
        """
        return self._converted("stratonovich")

    def coefficients(self, k: int, c: float, x: Tensor) -> tuple[Tensor, Tensor]:
        """Drift and diffusion at place c of step k, x (B, ...): both shaped as x.

        Drift: b̄ = m F; where the table is Euler's and the order 2, the modified drift b̄ - (h/2)(∂_t b̄ + (∇b̄) b̄). That
        is Euler's own drift error, without which one cannot tell noise from it. Tables of order 2 and more have none
        (theory: section 5, our derivation). Diffusion: sqrt(h) s G, or s G where the noise enters as sqrt(h) b; G is
        the branch, or what the noise multiplies. Each entry is multiplied by its sample's, channel's or own Brownian
        increment.
        """
        if k not in self.network.awake:
            return torch.zeros_like(x), torch.zeros_like(x)
        if self.noise.diffusion == "branch":
            branch = self.system.branch_at(k, c, x)
            drift, diffusion = self._drift(k, c, x, branch), self._scale(k) * branch
        else:
            paired = cast(PairedSystem, self.system)
            pair = paired.pair(k, x)
            drift, diffusion = self._drift(k, c, x, paired.blend(pair)), self._scale(k) * self._other(pair)
        if self.sde_type != self.noise.calculus(self.network.table):
            sign = 0.5 if self.sde_type == "ito" else -0.5
            drift = drift + sign * self._turned(k, c, x, diffusion)
        return drift, diffusion

    def drift(self, k: int, c: float, x: Tensor) -> Tensor:
        """The first of :meth:`coefficients`."""
        if k not in self.network.awake or self.sde_type != self.noise.calculus(self.network.table):
            return self.coefficients(k, c, x)[0]
        return self._drift(k, c, x, self.system.branch_at(k, c, x))

    def diffusion(self, k: int, c: float, x: Tensor) -> Tensor:
        """The second of :meth:`coefficients`."""
        if k not in self.network.awake:
            return torch.zeros_like(x)
        if self.noise.diffusion == "branch":
            return self._scale(k) * self.system.branch_at(k, c, x)
        return self._scale(k) * self._other(cast(PairedSystem, self.system).pair(k, x))

    def _converted(self, to: Literal["ito", "stratonovich"]) -> LimitSDE:
        if self.sde_type == to:
            return self
        other = LimitSDE(self.network, self.noise, self.order, self.shape)
        other.sde_type = to
        return other

    def _scale(self, k: int) -> float:
        noise, size = self.noise, 1.0 if self.noise.root else self.network.h[k]
        return math.sqrt(size * noise.thinning(self.network.table)) * noise.deviation(k)

    def _other(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        return pair[1] if self.noise.diffusion == "second" else pair[0] - pair[1]

    def _drift(self, k: int, c: float, x: Tensor, branch: Tensor) -> Tensor:
        """The limit's own drift, of the branch there."""
        h, mean = self.network.h[k], self.noise.mean(k)
        value = branch if mean == 1 else mean * branch
        if self.order == 1 or self.network.table.order > 1:
            return value
        if not self.system.varies_within_steps:
            change = torch.func.jvp(lambda y: self.system.branch_at(k, c, y), (_own(x),), (value,))[1]
        else:
            place = torch.as_tensor(c, dtype=x.dtype, device=x.device)
            ways = (torch.full_like(place, 1 / h), value)
            change = torch.func.jvp(lambda s, y: self.system.branch_at(k, s, y), (place, _own(x)), ways)[1]
        return value - mean * h / 2 * change

    def _turned(self, k: int, c: float, x: Tensor, g: Tensor) -> Tensor:
        """sum_j (∇g_j) g_j, g being the diffusion at x: column j is g where the j-th noise is, and zero elsewhere."""

        own = _own(x)

        def along(way: Tensor) -> Tensor:
            return torch.func.jvp(lambda y: self.diffusion(k, c, y), (own,), (way,))[1]

        if self.noise.per == "sample":
            return along(g)
        shape = shape_of(self.noise.per, x)[1:]
        n, total = math.prod(shape), torch.zeros_like(g)
        for first in range(0, n, COLUMNS):
            columns = torch.arange(first, min(first + COLUMNS, n), device=x.device)
            masks = torch.nn.functional.one_hot(columns, n).to(x.dtype).reshape(-1, 1, *shape)
            total = total + (masks * torch.func.vmap(along)(masks * g)).sum(0)
        return total

    def place(self, t: float | Tensor) -> tuple[int, float]:
        """Step k and place c of a time: only solvers that know times alone need it. A grid point begins its step."""
        time = float(t)
        k = min(max(bisect.bisect_right(self.ts, time) - 1, 0), len(self.ts) - 2)
        h = self.ts[k + 1] - self.ts[k]
        if k + 2 < len(self.ts) and self.ts[k + 1] - time < NEAR * h:
            return k + 1, 0.0
        return k, min(max((time - self.ts[k]) / h, 0.0), 1.0)

    def f(self, t: float | Tensor, y: Tensor) -> Tensor:
        """The drift, (B, d)."""
        k, c = self.place(t)
        return self.drift(k, c, self._state(y)).flatten(1)

    def g(self, t: float | Tensor, y: Tensor) -> Tensor:
        """The diffusion: (B, d) if diagonal, (B, d, 1) if scalar, (B, d, channels) if general."""
        k, c = self.place(t)
        return self._columns(self.diffusion(k, c, self._state(y)))

    def f_and_g(self, t: float | Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Both, of one evaluation of the branch."""
        k, c = self.place(t)
        f, g = self.coefficients(k, c, self._state(y))
        return f.flatten(1), self._columns(g)

    def _columns(self, x: Tensor) -> Tensor:
        """A diffusion (B, ...) as the matrix that torchsde wants."""
        if self.noise_type == "diagonal":
            return x.flatten(1)
        if self.noise_type == "scalar":
            return x.flatten(1)[..., None]
        channel = 1 if x.dim() != 3 else 2
        return torch.diag_embed(x.movedim(channel, -1)).movedim(-2, channel).flatten(1, -2)

    def _state(self, y: Tensor) -> Tensor:
        return y.unflatten(1, self.shape) if self.shape else y


def _own(x: Tensor) -> Tensor:
    """With memory of its own for each entry: derivatives forward do not take an expanded tensor."""
    return x.contiguous() if 0 in x.stride() else x


def limit_sde(
    network: Network | System, noise: Noise, order: Literal[1, 2] = 1, *, shape: Sequence[int] = ()
) -> LimitSDE:
    """The SDE that a network with noise approximates weakly to this order in the step size h (our derivation).

    With b_k = m f + s f xi: dX = m f dt + sqrt(h) s f dW, and at order 2 with Euler's modified drift. One draw for
    several stages gives the Stratonovich integral; a draw a stage Ito's, with sum_i b_i^2 of the covariance.

    Args:
        network: with identity skips; a system alone is stepped by Euler.
        noise: from :func:`node_oc.stochastic_depth` and its like; no draws are needed.
        order: 1 or 2.
        shape: of one state, for :meth:`LimitSDE.f` and :meth:`LimitSDE.g`, where it is no vector: (C, H, W) of an
            image's.

    Raises:
        ConfigError: another order; order 2 for noise that enters as sqrt(h) b, which has order 1; a trained horizon.
        ShapeError: a step whose skip is not the identity: there is no SDE through it.

    Warns:
        NotSmoothWarning: order 2 of a field that is not smooth, such as one with ReLU.
    """
    network = Network(network) if isinstance(network, System) else network
    system = network.system
    noise = noise.on(system)
    if order not in (1, 2):
        raise ConfigError("order of the limit", got=order, expected="1 or 2", do="Ask for one of the two.")
    if order == 2 and noise.root:
        raise ConfigError("order of the limit", got=f"2 for noise {noise.name}, which enters as sqrt(h) b",
                          expected="1", do="No correction of the drift makes it 2: the noise is large.")  # fmt: skip
    if isinstance(system.pace, Tensor):
        raise ConfigError("horizon", got="one that is trained", expected="a fixed one",
                          do="Use learn_horizon=False.")  # fmt: skip
    apart = next((k for k in range(network.depth) if not system.is_identity(k)), None)
    if apart is not None:
        raise ShapeError(f"skip of step {apart}", got="not the identity", expected="identity skips",
                         do="Ask for the steps of one stage: network.keep(steps).")  # fmt: skip
    if order == 2 and not smooth(system):
        warnings.warn(
            "the field is not smooth (ReLU): order 2 asks for its second derivatives, and is lost where states cross a "
            "kink; expect an order between 1 and 2", NotSmoothWarning, stacklevel=2,
        )  # fmt: skip
    return LimitSDE(network, noise, order, shape)
