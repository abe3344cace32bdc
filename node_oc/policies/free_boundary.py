"""Optimal stopping in continuous depth: the free boundary, the first time at which going on no longer pays."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from node_oc.errors import ConfigError, DataError, DivergenceError, ShapeError
from node_oc.problem.stopping import readout_features
from node_oc.trajectory.dense import DenseOutput

SURENESS = 3  # features of a readout by itself; the others of readout_features are changes since an exit before
PLACES = 16  # looked at in every step of the solver
Estimate = Callable[[Tensor, Tensor], Tensor]  # times (n,), states (n, ...) -> e, (n,)
HALVINGS = 50  # of a bracket: more than a float64 time has digits


@dataclass(frozen=True)
class ExpectedLoss:
    """e(t) = E[L(yhat, Y) | t, readout], affine in entropy, margin, top probability; its coefficients vary in time.

    Differentiable in both. Our formulation: the paper (arXiv 2506.16862) could not be read. Without time in it a sample
    could only expect what its own readout does at this moment, and stops where that has not begun to move.

    Attributes:
        coefficients: of 1 and each feature (columns), of 1, t/T, (t/T)^2, .. (rows).
        horizon: T, in units of time.
        error: root mean square of the fit.
    """

    coefficients: tuple[tuple[float, ...], ...]
    horizon: float
    error: float

    def __call__(self, t: Tensor, readout: Tensor) -> Tensor:
        """The estimate for readouts (.., K) at times (..), one each, (..)."""
        features = readout_features(readout)[..., :SURENESS]
        columns = (
            torch.cat([torch.ones_like(features[..., :1]), features], -1) @ features.new_tensor(self.coefficients).T
        )
        s, value = (t / self.horizon).to(columns), columns[..., -1]
        for j in reversed(range(len(self.coefficients) - 1)):  # Horner
            value = columns[..., j] + s * value
        return value


def fit_expected_loss(times: Tensor, readouts: Tensor, losses: Tensor, *, degree: int = 3) -> ExpectedLoss:
    """Least squares of losses on features of their readouts; on validation data, so that it is honest about both.

    Args:
        times: t of the readouts, ascending from 0 to T, (M,), in units of time.
        readouts: of the samples at these times, (M, B, K).
        losses: L(yhat, y) of each, (M, B).
        degree: of the coefficients as polynomials of t; 0 for none that vary.

    Raises:
        ShapeError: they do not belong together.
        DataError: fewer samples than coefficients, or losses that are not finite.
    """
    if readouts.shape[:-1] != losses.shape or times.shape != losses.shape[:1]:
        raise ShapeError("losses", got=f"{tuple(losses.shape)}, {tuple(times.shape)} times",
                         expected=f"{tuple(readouts.shape[:-1])}, and the times of its rows",
                         do="Give one loss for each readout.")  # fmt: skip
    features = readout_features(readouts.detach())[..., :SURENESS].double().cpu()
    loss, horizon = losses.detach().double().cpu(), float(times[-1])
    powers = (times.double().cpu() / horizon)[:, None, None] ** torch.arange(degree + 1)
    size = (degree + 1) * (SURENESS + 1)
    if loss.numel() < size or not bool(torch.isfinite(loss).all() & torch.isfinite(features).all()):
        raise DataError("losses", got=f"{loss.numel()} of them, finite or not", expected=f"at least {size}, finite",
                        do="Fit on a validation part of a network that has not diverged.")  # fmt: skip
    columns = torch.cat([torch.ones_like(features[..., :1]), features], -1)
    design = (powers[..., None] * columns[:, :, None]).reshape(-1, size)
    scale = design.square().mean(0).sqrt().clamp_min(1e-12)
    # gelsd: of two classes the top probability is a function of the margin, and nearly a line in the entropy
    found = torch.linalg.lstsq(design / scale, loss.reshape(-1, 1), driver="gelsd").solution[:, 0] / scale
    error = float((design @ found - loss.flatten()).square().mean().sqrt())
    return ExpectedLoss(tuple(map(tuple, found.reshape(degree + 1, -1).tolist())), horizon, error)


@dataclass(frozen=True)
class FreeBoundary:
    """When each sample of a batch may stop.

    Attributes:
        times: the first t with -(d/dt) e(t) <= c, (B,), float64, in units of time; T where there is none.
        reached: whether there is one, (B,).
        states: x at these times, (B, ...).
        cost: c, loss per unit of time.
        horizon: T.
    """

    times: Tensor
    reached: Tensor
    states: Tensor
    cost: float
    horizon: float

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        mean, late = float(self.times.mean()), int((~self.reached).sum())
        text = f"At {self.cost:g} per unit of time a sample stops at t = {mean:.3g} of {self.horizon:.3g} on average"
        return f"{text}; {late} of {len(self.times)} never come to their boundary." if late else f"{text}."


def free_boundary(path: DenseOutput, estimate: Estimate, cost: float, *, start: float = 0.0,
                  places: int = PLACES) -> FreeBoundary:  # fmt: skip
    """Stop every sample at the first t >= t_0 with -(d/dt) e(t) <= c (theory, section 4; our formulation).

    The derivative runs through the solver's own interpolant, by autograd. A crossing is bracketed between neighbouring
    places of a grid and bisected to the last digit of a float64 time; two crossings between two places are not seen.

    Args:
        path: of the ODE, of :func:`node_oc.dense_output`.
        estimate: times (n,), states (n, ...) to e, (n,), each of its own state alone, differentiable; n is B or more.
        cost: c >= 0, in units of the loss per unit of time. At 0: the first time at which e no longer falls.
        start: t_0 in [0, T). The rule looks ahead by a moment, so it is right where gains diminish: begin there.
        places: of the grid, in every step of the solver.

    Raises:
        ConfigError: a negative or infinite cost, a start outside of [0, T), or no places.
        DivergenceError: a derivative that is not finite.
    """
    if not 0 <= cost < math.inf:
        raise ConfigError("cost per unit of time", got=cost, expected="a finite number >= 0", do="Correct it.")
    if not 0 <= start < float(path.t[-1]):
        raise ConfigError("start", got=start, expected=f"0 <= t < {float(path.t[-1]):g}", do="Begin before the end.")
    if places < 1:
        raise ConfigError("places", got=places, expected="at least 1", do="Correct it.")

    size = path.nodes.shape[2]
    last = torch.full((size,), start, dtype=torch.float64, device=path.t.device)  # the place looked at before
    reached = ~(_checked(falling(path, estimate, last)) > cost)  # at the start
    before, after = last, torch.where(reached, last, path.t[-1])
    for step in range(len(path.nodes)):
        if float(path.t[step + 1]) <= start:
            continue
        t, states, rates = path.within(step, places)
        t, states, rates = (each[t > start] for each in (t, states, rates))
        pays = _checked(_falling(estimate, t, states, rates)) > cost
        for place, still in zip(t, pays, strict=True):
            new = ~still & ~reached
            before, after = torch.where(new, last, before), torch.where(new, place, after)
            reached, last = reached | new, place.expand(size)
        if bool(reached.all()):
            break
    else:
        new = ~reached & ~(_checked(falling(path, estimate, path.t[-1].expand(size))) > cost)
        before, reached = torch.where(new, last, before), reached | new
    for _ in range(HALVINGS):
        middle = (before + after) / 2
        pays = falling(path, estimate, middle) > cost
        before, after = torch.where(pays, middle, before), torch.where(pays, after, middle)
    times = torch.where(reached, after, path.t[-1])
    with torch.no_grad():
        return FreeBoundary(times, reached, path(times), cost, float(path.t[-1]))


def falling(path: DenseOutput, estimate: Estimate, t: Tensor) -> Tensor:
    """-(d/dt) e at a time of each sample, (B,), by the derivative of the interpolant.

    Args:
        path: of the ODE.
        estimate: as of :func:`free_boundary`.
        t: times, float64 (B,).
    """
    with torch.enable_grad():
        t = t.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(estimate(t, path(t)).sum(), t)
    return -slope


def _falling(estimate: Estimate, t: Tensor, states: Tensor, rates: Tensor) -> Tensor:
    """The same, e_t + grad e . dx/dt, of states (m, B, ...) at times (m,) with their rates, (m, B)."""
    with torch.enable_grad():
        x = states.detach().flatten(0, 1).requires_grad_()
        at = t.repeat_interleave(states.shape[1]).requires_grad_()
        own, slope = torch.autograd.grad(estimate(at, x).sum(), (at, x), allow_unused=True, materialize_grads=True)
    along = (slope.unflatten(0, states.shape[:2]) * rates).flatten(2).sum(2)
    return -(own.reshape(along.shape).to(along) + along)


def _checked(slope: Tensor) -> Tensor:
    if not bool(torch.isfinite(slope).all()):
        raise DivergenceError("the derivative of the expected loss", got="a number that is not finite",
                              expected="finite numbers", do="Check the weights, the inputs and e.")  # fmt: skip
    return slope
