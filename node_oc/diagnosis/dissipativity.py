"""Strict dissipativity along trajectories: rotated cost, and what is left of the dissipation inequality."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from node_oc.errors import DataError, ShapeError
from node_oc.problem.cost import Cost, SoftCrossEntropy, SquaredError
from node_oc.trajectory.rollout import Trajectory

DistanceName = Literal["state distance", "logit distance", ""]
Storage = Callable[[Tensor], Tensor]  # states (B, ...) -> (B,)
ROUNDING = 1e-9  # relative to the terms of a residual, which are computed in float64


@dataclass(frozen=True)
class Dissipation:
    """What is left of the dissipation inequality along trajectories.

    Attributes:
        strict: whether it holds in every layer of every sample, up to rounding.
        least: the least residual, per unit of time.
        layer, sample: where that is.
        violations: share of all pairs of layer and sample at which it fails.
        residual: least residual of each layer, k = 0..N-1.
        rotated: mean rotated cost of each layer, k = 0..N-1.
        sentence: the verdict in words.
    """

    strict: bool
    least: float
    layer: int
    sample: int
    violations: float
    residual: tuple[float, ...]
    rotated: tuple[float, ...]
    sentence: str


def rotated_cost(
    excess: ArrayLike, storage: ArrayLike | None = None, h: ArrayLike | None = None
) -> NDArray[np.float64]:
    """l - l* + (S(x_k) - S(x_{k+1})) / h_k, per unit of time, (N, n).

    For h_k = 1 the rotated stage cost of the turnpike literature; the division by h_k is that of a discretised
    dissipation inequality, S(x_{k+1}) - S(x_k) <= h_k (l - l* - alpha).

    Args:
        excess: l - l* at x_k, k = 0..N-1, of each sample, (N, n).
        storage: S(x_k), k = 0..N, (N+1, n); 0 if None.
        h: step sizes, (N,); 1 if None.

    Raises:
        DataError: shapes that do not belong together, a value that is not finite, or a step size that is not positive.
    """
    e = np.asarray(excess, dtype=float)
    s = np.zeros((len(e) + 1, *e.shape[1:])) if storage is None else np.asarray(storage, dtype=float)
    steps = np.ones(len(e)) if h is None else np.asarray(h, dtype=float)
    if e.ndim != 2 or s.shape != (len(e) + 1, e.shape[1]) or steps.shape != (len(e),) or not e.size:
        raise DataError("rotated cost", got=f"excess {e.shape}, storage {s.shape}, h {steps.shape}",
                        expected="(N, n), (N+1, n) and (N,), none empty", do="Give one row a layer.")  # fmt: skip
    for what, values in (("excess", e), ("storage", s)):
        if not np.isfinite(values).all():
            layer, sample = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
            raise DataError(what, got=f"{values[layer, sample]} at layer {layer}, sample {sample}",
                            expected="finite values", do="A NaN here means that training diverged.")  # fmt: skip
    if not (np.isfinite(steps) & (steps > 0)).all():
        raise DataError("step sizes h_k", got=steps.tolist(), expected="positive finite numbers",
                        do="Give DepthGrid.h of the network.")  # fmt: skip
    return e - np.diff(s, axis=0) / steps[:, None]


def dissipation(
    excess: ArrayLike, rate: ArrayLike, storage: ArrayLike | None = None, h: ArrayLike | None = None
) -> Dissipation:
    """Residuals l - l* - alpha(dist(x_k, X*)) - (S(x_{k+1}) - S(x_k)) / h_k, per unit of time.

    Strictly dissipative on these trajectories where none is below 0 (arXiv 2405.19013 states strict dissipativity;
    with alpha of :meth:`node_oc.SoftCrossEntropy.dissipation_rate` it holds with S = 0: our derivation). A control
    cost, which is never negative, would only add to a residual and is left out.

    Args:
        excess: l - l* at x_k, k = 0..N-1, of each sample, (N, n).
        rate: alpha of the distances there, (N, n).
        storage: S(x_k), k = 0..N, (N+1, n); 0 if None.
        h: step sizes, (N,); 1 if None.

    Raises:
        DataError: shapes that do not belong together, a value that is not finite, or a step size that is not positive.
    """
    rotated = rotated_cost(excess, storage, h)
    alpha = np.asarray(rate, dtype=float)
    if alpha.shape != rotated.shape or not np.isfinite(alpha).all():
        raise DataError("alpha of the distances", got=f"shape {alpha.shape}, finite: {np.isfinite(alpha).all()}",
                        expected=f"finite values of shape {rotated.shape}", do="Give one for each excess.")  # fmt: skip
    e = np.asarray(excess, dtype=float)
    residual = rotated - alpha
    fails = residual < -ROUNDING * (1 + np.abs(e) + np.abs(alpha) + np.abs(rotated - e))
    layer, sample = (int(i) for i in np.unravel_index(residual.argmin(), residual.shape))
    least, share, strict = float(residual.min()), float(fails.mean()), not fails.any()
    n, samples = residual.shape
    shown = max(least, 0.0) if strict else least  # within rounding it is 0
    where = f"least residual {shown:.3g} at layer {layer}"
    if strict:
        cost = "excess" if storage is None else "rotated cost"
        told = f"Strictly dissipative on these trajectories: {cost} >= alpha(distance) in all {n} x {samples} cases"
        told += f", {where}."
    else:
        told = (f"Not strictly dissipative on these trajectories with this storage and alpha: violated in "
                f"{100 * share:.3g} % of {n} x {samples} cases, {where}, sample {sample}.")  # fmt: skip
    return Dissipation(strict, least, layer, sample, share, tuple(residual.min(1).tolist()),
                       tuple(rotated.mean(1).tolist()), told)  # fmt: skip


@dataclass(frozen=True)
class Nearness:
    """How near the states of one batch are to the minimisers, in float64 so that rounding is no violation.

    Attributes:
        distance: of x_k, (N+1, B).
        name: "state distance" where the readout is affine in the state, "logit distance" elsewhere.
        excess: stage cost above its least value, (N+1, B).
        alpha: of distances, with excess >= alpha(distance).
    """

    distance: Tensor
    name: DistanceName
    excess: Tensor
    alpha: Callable[[Tensor], Tensor]


def nearness(trajectory: Trajectory, stage: Cost, y: Tensor) -> Nearness | None:
    """Distance of every state to the minimisers of the stage cost, and the excess that it implies.

    A state distance where the readout is affine in the state and reaches all minimisers; the logit distance where
    it does not; None for a cost whose minimisers are unknown or do not exist, and for a squared error without a
    state distance.
    """
    if not isinstance(stage, SoftCrossEntropy | SquaredError):
        return None
    y = y.double() if y.is_floating_point() else y
    try:
        weight, bias = trajectory.network.system.affine_readout()
        readout = (weight.detach().double(), bias.detach().double())
        x = torch.stack(trajectory.states).double()
        distance = stage.state_distance(x, y, readout)
        excess, alpha = stage.excess(F.linear(x, *readout), y), partial(stage.dissipation_rate, readout=readout)
        return Nearness(distance, "state distance", excess, alpha)
    except ShapeError:
        if isinstance(stage, SquaredError):
            return None
        z = trajectory.readouts.double()
        return Nearness(stage.logit_distance(z, y), "logit distance", stage.excess(z, y), stage.dissipation_rate)
