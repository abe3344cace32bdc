"""The explicit regulariser: what noise adds to J, to leading order, computed without noise.

A step takes increments b = m + e xi, xi of mean 0 and independent components with variances s_j^2. Then

    E J(e) - J(0) = e^2 R + O(e^3),   R = (1/2) sum_j s_j^2 d^2 J / d xi_j^2 at xi = 0,

the sum over layers, draws of a step, and channels or units (theory: section 5; our derivation). For a step of one
stage, x_{k+1} is linear in xi and this is R = (1/2) sum_k h^2 tr(Sigma_k Hess J), the Hessian in x_{k+1}, the costs of
all later stages included. A step of several stages with one draw is not linear in xi: there R holds the drift too by
which its limit, Stratonovich's integral, differs from Ito's. The remainder is (1/6) sum_j E[xi_j^3] d^3 J / d xi_j^3
e^3 + O(e^4): of order 4 for symmetric laws, of order 3 for skewed ones.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from node_oc.discretization.amplitude import Amplified, Deviated, with_signs
from node_oc.discretization.driver import Driver
from node_oc.discretization.limit import NotSmoothWarning
from node_oc.discretization.network import Network, evaluating
from node_oc.discretization.noise import Noise, shape_of
from node_oc.errors import ConfigError
from node_oc.problem.ocp import Objective, Problem
from node_oc.seeds import derived_generator
from node_oc.system.base import System
from node_oc.system.kinks import smooth
from node_oc.trajectory.rollout import rollout

MATH = [SDPBackend.MATH]  # the other kernels of attention have no second derivative


@dataclass(frozen=True)
class Regulariser:
    """What noise adds to J of some samples, to leading order.

    Attributes:
        noise: its name.
        objective: J of the network that takes the mean of the noise, the price left out.
        layers: what the noise of each step adds, k = 0..N-1; in units of J.
        layer_errors: standard errors of these; 0 where they are exact.
        error: standard error of the total; 0 where it is exact, nan with one probe.
        probes: number of them; 0 where it is exact.
    """

    noise: str
    objective: float
    layers: tuple[float, ...]
    layer_errors: tuple[float, ...]
    error: float
    probes: int

    @property
    def total(self) -> float:
        """R, in units of J."""
        return math.fsum(self.layers)

    @property
    def sentence(self) -> str:
        """How much it is of J, and where it comes from."""
        if not self.layers:
            return "No layers, no noise."
        error = f" +- {self.error:.2g}" if self.probes else ""
        share = f", {100 * self.total / self.objective:.3g} % of it" if self.objective > 0 else ""
        text = f"Noise {self.noise} adds {self.total:.4g}{error} to J = {self.objective:.4g}{share}, to leading order"
        sizes = [abs(value) for value in self.layers]
        if not max(sizes):
            return text + "."
        top = max(range(len(sizes)), key=sizes.__getitem__)
        text += f"; most in layer {top}, {self.layers[top]:.3g}"
        lowered = sum(value < -3 * spread for value, spread in zip(self.layers, self.layer_errors, strict=True))
        if lowered:
            text += f"; in {lowered} of {len(self.layers)} layers it lowers J, which is concave there"
        return text + "."


def in_amplitudes(
    network: Network, driver: Driver, amplitudes: Sequence[Tensor], problem: Problem, x: Tensor, y: Tensor,
    generator: torch.Generator | None = None,
) -> tuple[Objective, tuple[Tensor, ...]]:  # fmt: skip
    """J, and its gradient in the amplitudes of the noise, with the graph that a second derivative needs.

    Args:
        network: rolled out on the general path, in the mode that it is in.
        driver: :class:`Amplified` or :class:`Deviated`.
        amplitudes: its amplitudes or coordinates, zero, with ``requires_grad``.
        problem: whose J is differentiated.
        x, y: a batch of inputs and its targets.
        generator: see :meth:`Problem.evaluate`.

    Raises:
        ConfigError: costs of a whole trajectory, whose second derivative is not theirs where they hold something fixed.
    """
    if problem.path_costs:
        raise ConfigError("problem.path_costs", got=f"{problem.path_costs[0]!r}", expected="none",
                          do="Ask for what noise adds to J without them.")  # fmt: skip
    with sdpa_kernel(MATH):
        objective = problem.evaluate(rollout(network, x, driver=driver, analytic=False), y, generator)
        if not amplitudes or not objective.smooth.requires_grad:
            return objective, tuple(map(torch.zeros_like, amplitudes))
        slopes = torch.autograd.grad(objective.smooth, amplitudes, create_graph=True, materialize_grads=True)
    return objective, slopes


def regularised(
    network: Network, noise: Noise, problem: Problem, x: Tensor, y: Tensor, generator: torch.Generator | None = None
) -> tuple[Objective, Tensor]:
    """J, and an unbiased estimate of R by one probe, one value a layer, (N,): both with gradients in the weights.

    With all amplitudes at once, d^2 J / de_k d(sum of e) has the mean 2 R_k: what layers have with each other has mean
    0, their signs being independent. Reverse mode three times: 5 to 7 times the cost of a plain step.

    Args:
        network: as in :func:`in_amplitudes`.
        noise: of :func:`node_oc.discretization.amplitude.with_signs`, drawn.
        problem: whose J it is.
        x, y: a batch of inputs and its targets.
        generator: see :meth:`Problem.evaluate`.
    """
    like = next((p for p in network.parameters() if p.is_floating_point()), x)
    e = torch.zeros(network.depth, dtype=like.dtype, device=like.device, requires_grad=True)
    objective, (slope,) = in_amplitudes(network, Amplified(noise, e), [e], problem, x, y, generator)
    if not slope.requires_grad:  # J is linear in the noise
        return objective, torch.zeros_like(slope)
    return objective, torch.autograd.grad(slope.sum(), e, create_graph=True, materialize_grads=True)[0] / 2


def warn_kinks(system: System) -> None:
    """Warn NotSmoothWarning where a system has ReLU: the regulariser then misses a part of its own order."""
    if not smooth(system):
        warnings.warn(
            "the field is not smooth (ReLU): the explicit regulariser sees no curvature in its kinks, so that what "
            "noise adds by carrying states across one, which is of the same order, is lost", NotSmoothWarning,
            stacklevel=3,
        )  # fmt: skip


def explicit_regulariser(
    network: Network | System, noise: Noise, problem: Problem, x: Tensor, y: Tensor, *, probes: int | None = 16,
    generator: torch.Generator | None = None,
) -> Regulariser:  # fmt: skip
    """R = (1/2) sum_k h^2 tr(Sigma_k Hess J): what noise adds to J in the mean, to leading order (our derivation).

    The Hessian is that of J in x_{k+1}. By Hutchinson's probes and Hessian-vector products, or exactly, with one
    Hessian-vector product for every number that a sample draws: N of them where noise is per sample, N D where it is
    per unit of a state of size D. Dropout and batch norm of the network itself are those of evaluation.

    Args:
        network: any network with branches that are twice differentiable; it is not changed.
        noise: from :func:`node_oc.stochastic_depth` and its like; no draws are needed.
        problem: whose J it is, stage costs included.
        x, y: inputs (B, ...) and targets; J is their mean.
        probes: how many, at least 1; None for the exact value.
        generator: of the probes' signs; one seeded with 0 if None.

    Raises:
        ConfigError: less than one probe, a noise that the system cannot take, or costs of a whole trajectory.

    Warns:
        NotSmoothWarning: a field with ReLU, in whose kinks no curvature is seen.
    """
    if probes is not None and probes < 1:
        raise ConfigError("probes", got=probes, expected="at least 1, or None for the exact value",
                          do="16 give an error of a few per cent as a rule.")  # fmt: skip
    network = Network(network) if isinstance(network, System) else network
    noise = noise.on(network.system)
    warn_kinks(network.system)
    with evaluating(network), torch.inference_mode(False), torch.enable_grad():
        if probes is None:
            objective, layers = _exact(network, noise, problem, x, y)
            return Regulariser(noise.name, objective, tuple(layers.tolist()), (0.0,) * network.depth, 0.0, 0)
        objective, values = _probed(network, noise, problem, x, y, probes, generator)
    spread = values.std(0) / math.sqrt(probes) if probes > 1 else torch.full_like(values[0], torch.nan)
    error = float(values.sum(1).std()) / math.sqrt(probes) if probes > 1 else math.nan
    return Regulariser(
        noise.name, objective, tuple(values.mean(0).tolist()), tuple(spread.tolist()), error, probes
    )  # fmt: skip


def _probed(
    network: Network, noise: Noise, problem: Problem, x: Tensor, y: Tensor, count: int,
    generator: torch.Generator | None,
) -> tuple[float, Tensor]:  # fmt: skip
    """J, and an estimate of every layer by every probe, (probes, N), in float64."""
    generator = derived_generator(0, "probes") if generator is None else generator
    signs, values, objective = with_signs(noise), [], math.nan
    for _ in range(count):
        found, layers = regularised(network, signs.drawn(generator), problem, x, y)
        objective = float(found.smooth.detach())
        values.append(layers.detach().double().cpu())
    return objective, torch.stack(values)


def _exact(network: Network, noise: Noise, problem: Problem, x: Tensor, y: Tensor) -> tuple[float, Tensor]:
    """J, and what every layer adds, (N,), in float64: the diagonal of the Hessian in the noise, an entry at a time."""
    with torch.no_grad():
        after = rollout(network, x).states[1:]
    draws = network.table.stages if noise.fresh else 1
    # Samples share coordinates: J is a mean over them, so that no sample has a second derivative with another.
    coordinates = [state.new_zeros(draws, *shape_of(noise.per, state)[1:]).requires_grad_() for state in after]
    objective, slopes = in_amplitudes(network, Deviated(noise, coordinates), coordinates, problem, x, y)
    layers = torch.zeros(network.depth, dtype=torch.float64)
    for k in network.awake:
        entries = slopes[k].flatten()
        for i in range(len(entries) if entries.requires_grad else 0):
            (row,) = torch.autograd.grad(entries[i], coordinates[k], retain_graph=True, materialize_grads=True)
            layers[k] += float(row.flatten()[i]) / 2
    return float(objective.smooth.detach()), layers
