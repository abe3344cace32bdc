"""Drift and covariance of a limit SDE in Ito's sense, at given states."""

from __future__ import annotations

import torch
from torch import Tensor

from node_oc.discretization.limit import LimitSDE


def coefficients(sde: LimitSDE, k: int, c: float, x: Tensor) -> tuple[Tensor, Tensor]:
    """Ito's drift b (n, d) and covariance a (n, d, d) per unit of time, at place c of step k and states x (n, d).

    Both are differentiable in the parameters.
    """
    drift, noise = sde.ito().coefficients(k, c, x)
    return drift, noise[:, :, None] * noise[:, None] if sde.noise_type == "scalar" else torch.diag_embed(noise**2)
