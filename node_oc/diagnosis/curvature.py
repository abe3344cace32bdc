"""The largest eigenvalue of the Hessian of J in the weights: how sharp a minimum is."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from node_oc.diagnosis.landscape import trained_parameters
from node_oc.discretization.network import Network
from node_oc.errors import ConfigError, DataError
from node_oc.problem.ocp import Problem
from node_oc.seeds import derived_generator
from node_oc.trajectory.rollout import rollout

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Curvature:
    """The largest eigenvalue of a Hessian, by Lanczos' method.

    Attributes:
        value: of the Hessian of J, in units of J by weight squared.
        residual: ||H v - value v||, |v| = 1: an eigenvalue lies so near to the value.
        products: Hessian-vector products taken.
        tolerance: largest residual by value at which it counts as found.
        parameters: number of weights.
    """

    value: float
    residual: float
    products: int
    tolerance: float
    parameters: int

    @property
    def resolved(self) -> bool:
        """Whether the residual is within the tolerance."""
        return self.residual <= self.tolerance * max(abs(self.value), torch.finfo(torch.float64).tiny)

    @property
    def sentence(self) -> str:
        """The value with its error."""
        text = f"Largest eigenvalue of the Hessian: {self.value:.4g} +- {self.residual:.1g}"
        text += f", after {self.products} products"
        return text + ("." if self.resolved else "; not resolved: give it more products.")


def largest_curvature(
    network: Network, problem: Problem, batches: Batches, *, tolerance: float = 1e-3, products: int = 200, seed: int = 0
) -> Curvature:
    """The largest eigenvalue of the Hessian of J in all trained weights, with a residual as its error.

    Lanczos' method with full reorthogonalisation, by Hessian-vector products in float64; it keeps one vector of all
    weights for each. The price, which has kinks, is left out of J. A ReLU has no curvature in its kinks.

    Args:
        network: any network with branches that are twice differentiable; it is not changed.
        problem: whose J it is; ``problem.terminal_only()`` for the loss of the output alone.
        batches: (x, target) pairs, each counting with its number of samples.
        tolerance: largest residual, by the value.
        products: the most Hessian-vector products.
        seed: of the first vector.

    Raises:
        ConfigError: less than one product.
        DataError: no samples, or J or its derivatives are not finite.
    """
    if products < 1:
        raise ConfigError("products", got=products, expected="at least 1", do="Give 200, say.")
    hessian = Hessian(network, problem, batches)
    generator = derived_generator(seed, "curvature")
    v = torch.randn(hessian.size, generator=generator, dtype=torch.float64).to(hessian.device)
    basis, alphas, betas = [v / v.norm()], [], []
    value = residual = math.nan
    for _ in range(min(products, hessian.size)):
        w = hessian @ basis[-1]
        if not bool(torch.isfinite(w).all()):
            raise DataError("Hessian", got="numbers that are not finite", expected="finite ones",
                            do="Check weights and data: J may have overflowed.")  # fmt: skip
        alphas.append(float(w @ basis[-1]))
        for _ in range(2):  # twice is enough
            for q in basis:
                w -= (w @ q) * q
        betas.append(float(w.norm()))
        small = torch.diag(torch.tensor(alphas, dtype=v.dtype))
        small += torch.diag(torch.tensor(betas[:-1], dtype=v.dtype), 1)
        values, vectors = torch.linalg.eigh(small, UPLO="U")
        value, residual = float(values[-1]), betas[-1] * abs(float(vectors[-1, -1]))
        if residual <= tolerance * abs(value) or betas[-1] <= 1e-14 * max(map(abs, (*alphas, *betas))):
            break
        basis.append(w / betas[-1])
    return Curvature(value, residual, len(alphas), tolerance, hessian.size)


class Hessian:
    """The Hessian of J in the trained weights of a network, as something that multiplies vectors: ``hessian @ v``.

    Args:
        network, problem, batches: as of :func:`largest_curvature`.

    Raises:
        DataError: no samples.
    """

    def __init__(self, network: Network, problem: Problem, batches: Batches) -> None:
        self.network = copy.deepcopy(network).double().eval().requires_grad_(True)
        self.problem = problem
        self.weights: Sequence[Tensor] = list(trained_parameters(self.network).values())
        self.batches = [(x.double() if x.is_floating_point() else x,
                         y.double() if y.is_floating_point() else y) for x, y in batches]  # fmt: skip
        self.samples = sum(len(y) for _, y in self.batches)
        if not self.samples or not self.weights:
            raise DataError("batches" if self.weights else "network",
                            got=f"{self.samples} samples, {len(self.weights)} weights", expected="some of both",
                            do="A generator can be read once: make it anew.")  # fmt: skip
        self.size, self.device = sum(p.numel() for p in self.weights), self.weights[0].device

    def __matmul__(self, v: Tensor) -> Tensor:
        parts = [part.view_as(p) for part, p in zip(v.split([p.numel() for p in self.weights]), self.weights)]
        total = torch.zeros_like(v)
        with torch.enable_grad(), sdpa_kernel([SDPBackend.MATH]):
            for x, y in self.batches:
                smooth = self.problem.evaluate(rollout(self.network, x, analytic=False), y).smooth
                slopes = torch.autograd.grad(smooth, self.weights, create_graph=True, materialize_grads=True)
                along = sum((slope * part).sum() for slope, part in zip(slopes, parts, strict=True))
                found = torch.autograd.grad(along, self.weights, materialize_grads=True)
                total += torch.cat([g.flatten() for g in found]) * (len(y) / self.samples)
        return total
