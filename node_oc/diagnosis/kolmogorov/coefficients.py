"""Drift and covariance of a limit SDE in Ito's sense, at given states."""

from __future__ import annotations

import torch
from torch import Tensor

from node_oc.discretization.limit import LimitSDE


def coefficients(sde: LimitSDE, k: int, c: float, x: Tensor) -> tuple[Tensor, Tensor]:
    """Ito's drift b (n, d) and covariance a (n, d, d) per unit of time, at place c of step k and states x (n, d).

    Of a Stratonovich SDE the drift is b + (1/2) sum_j (g_j . grad) g_j over the columns g_j of its diffusion. Both are
    differentiable in the parameters.
    """
    drift, noise = sde.drift(k, c, x), sde.diffusion(k, c, x)
    scalar = sde.noise_type == "scalar"
    if sde.sde_type == "stratonovich":
        drift = drift + _correction(sde, k, c, x, noise, scalar) / 2
    return drift, noise[:, :, None] * noise[:, None] if scalar else torch.diag_embed(noise**2)


def _correction(sde: LimitSDE, k: int, c: float, x: Tensor, noise: Tensor, scalar: bool) -> Tensor:
    def diffusion(y: Tensor) -> Tensor:
        return sde.diffusion(k, c, y)

    if scalar:
        return torch.func.jvp(diffusion, (x,), (noise,))[1]
    ways = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    parts = [torch.func.jvp(diffusion, (x,), (noise * way,))[1][:, i] for i, way in enumerate(ways)]
    return torch.stack(parts, 1)
