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
from node_oc.discretization.noise import Noise
from node_oc.errors import ConfigError, ShapeError
from node_oc.system.base import System
from node_oc.system.paired import PairedSystem

NEAR = 1e-3  # of a step: a float time so near before a grid point is that point


class NotSmoothWarning(UserWarning):
    """A formula that asks for more derivatives than a field has."""


class LimitSDE(nn.Module):
    """dX = b(t, X) dt + g(t, X) dW on the grid of a network, with its own controls u_k constant within step k.

    An object that ``torchsde.sdeint`` takes as it is: ``f(t, y)`` and ``g(t, y)`` on states (B, d), ``noise_type`` and
    ``sde_type``. Other code asks by layer: ``drift(k, c, x)`` and ``diffusion(k, c, x)`` on states of any shape, c in
    [0, 1] being the place within the step. Made by :func:`limit_sde`.

    Attributes:
        network: whose grid, table and awake steps these are.
        noise: on that network's system.
        order: weak order of the approximation.
        shape: of one state, which y is flattened; () for vectors.
        ts: t_0..t_N, in units of time.
        sde_type: "ito" or "stratonovich".
        noise_type: "scalar" (one Brownian motion a sample), "diagonal" (one a unit) or "general" (one a channel).
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

    def drift(self, k: int, c: float, x: Tensor) -> Tensor:
        """b at place c of step k, x (B, ...): b̄ = m F; where the table is Euler's and the order 2, the modified drift.

        That is b̄ - (h/2)(∂_t b̄ + (∇b̄) b̄): Euler's own drift error, without which one cannot tell noise from it. Tables
        of order 2 and more have none (theory: section 5, our derivation).
        """
        if k not in self.network.awake:
            return torch.zeros_like(x)
        h, mean = self.network.h[k], self.noise.mean(k)
        if self.order == 1 or self.network.table.order > 1:
            return mean * self.system.branch_at(k, c, x)
        if not self.system.varies_within_steps:
            value = self.system.branch_at(k, c, x)
            change = torch.func.jvp(lambda y: self.system.branch_at(k, c, y), (x,), (mean * value,))[1]
            return mean * value - mean * h / 2 * change
        place, value = torch.as_tensor(c, dtype=x.dtype, device=x.device), self.system.branch_at(k, c, x)
        ways = (torch.full_like(place, 1 / h), mean * value)
        change = torch.func.jvp(lambda s, y: self.system.branch_at(k, s, y), (place, x), ways)[1]
        return mean * value - mean * h / 2 * change

    def diffusion(self, k: int, c: float, x: Tensor) -> Tensor:
        """sqrt(h) s G, or s G where the noise enters as sqrt(h) b; shaped as x (B, ...).

        G is the branch, or what the noise multiplies. Each entry is multiplied by its sample's, channel's or own
        Brownian increment.
        """
        if k not in self.network.awake:
            return torch.zeros_like(x)
        noise, size = self.noise, 1.0 if self.noise.root else self.network.h[k]
        scale = math.sqrt(size * noise.thinning(self.network.table)) * noise.deviation(k)
        if noise.diffusion == "branch":
            return scale * self.system.branch_at(k, c, x)
        first, second = cast(PairedSystem, self.system).pair(k, x)
        return scale * (second if noise.diffusion == "second" else first - second)

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
        x = self.diffusion(k, c, self._state(y))
        if self.noise_type == "diagonal":
            return x.flatten(1)
        if self.noise_type == "scalar":
            return x.flatten(1)[..., None]
        channel = 1 if x.dim() != 3 else 2
        return torch.diag_embed(x.movedim(channel, -1)).movedim(-2, channel).flatten(1, -2)

    def _state(self, y: Tensor) -> Tensor:
        return y.unflatten(1, self.shape) if self.shape else y


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


def smooth(system: System) -> bool:
    """Whether no ReLU is found in a system."""
    for module in system.modules():
        if isinstance(module, nn.ReLU | nn.LeakyReLU | nn.PReLU | nn.ReLU6) or getattr(module, "activation", "") in (
            "relu", torch.relu, nn.functional.relu,
        ):  # fmt: skip
            return False
    return True
