"""Are these gradients right? The ways to differentiate J through an ODE, against a reference."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from node_oc.discretization.network import Network
from node_oc.errors import ConfigError, DivergenceError
from node_oc.problem.ocp import Problem
from node_oc.trajectory.solution import Solution
from node_oc.trajectory.solver import Solver

REFERENCE = 1e-12  # rtol and atol of the reference, in float64
WRONG = 0.01  # relative error beyond which a gradient is not one


class GradientWarning(UserWarning):
    """A gradient method gives another gradient than the reference."""


@dataclass(frozen=True)
class GradientCheck:
    """Gradients of J in all trained weights, by each method, against backpropagation in float64 at 1e-12.

    Attributes:
        errors: relative error by method, ||g - g_ref|| / ||g_ref||; inf where the solver gave up.
        evaluations: of the field, by method, on the way there and back.
        said: for a method that gave up, why.
    """

    errors: dict[str, float]
    evaluations: dict[str, int]
    said: dict[str, str]

    @property
    def wrong(self) -> tuple[str, ...]:
        """The methods whose error is above 1 %."""
        return tuple(name for name, error in self.errors.items() if not error <= WRONG)

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        told = ", ".join(f"{name} {error:.1e}" for name, error in self.errors.items())
        if not self.wrong:
            return f"Relative errors of the gradient: {told}; all within {WRONG:.0%}."
        return f"Relative errors of the gradient: {told}. Do not train with: {', '.join(self.wrong)}."


def check_gradients(
    network: Network, problem: Problem, x: Tensor, target: Tensor, solver: Solver | None = None,
    methods: Sequence[str] = ("backprop", "adjoint"),
) -> GradientCheck:  # fmt: skip
    """Compare the gradient methods of an adaptive solver on one batch, and warn where one of them is off.

    A network with a turnpike contracts. The continuous adjoint integrates the state backwards through that contraction
    and loses it, and with running costs the gradient too, without a word (our measurement; docs: neural ODEs).

    Args:
        network: it is not changed.
        problem: whose smooth part of J is differentiated.
        x: inputs (B, features).
        target: class indices (B,) or regression targets (B, K).
        solver: method and tolerances; dopri5 at 1e-6 by default. Its ``gradient`` is not used.
        methods: any of "backprop", "checkpoint" and "adjoint".

    Raises:
        ConfigError: no methods, or no weights that want a gradient.
        DivergenceError: the reference itself cannot be computed.
    """
    solver = solver or Solver()
    if not methods or not any(p.requires_grad for p in network.parameters()):
        raise ConfigError("check_gradients", got="no methods" if not methods else "no weight that wants a gradient",
                          expected="some", do="Leave methods out; unfreeze a weight.")  # fmt: skip
    exact = copy.deepcopy(network).double()
    y = target.double() if target.is_floating_point() else target
    fine = replace(solver, rtol=REFERENCE, atol=REFERENCE, gradient="backprop", controlled=True,
                   max_steps=max(solver.max_steps, 100_000))  # fmt: skip
    reference, _ = _gradient(exact, problem, x.double(), y, fine)
    errors, evaluations, said = {}, {}, {}
    for method in methods:
        try:
            way = replace(solver, gradient=method)  # type: ignore[arg-type]
            gradient, evaluations[method] = _gradient(network, problem, x, target, way)
            errors[method] = float((gradient.double() - reference).norm() / reference.norm())
        except DivergenceError as error:
            errors[method], evaluations[method], said[method] = float("inf"), 0, str(error)
    check = GradientCheck(errors, evaluations, said)
    if check.wrong:
        warnings.warn(check.sentence, GradientWarning, stacklevel=2)
    return check


def _gradient(network: Network, problem: Problem, x: Tensor, target: Tensor, solver: Solver) -> tuple[Tensor, int]:
    """Gradient of the smooth part of J in all weights that want one, flat; and evaluations of the field."""
    weights = [p for p in network.parameters() if p.requires_grad]
    with torch.enable_grad():
        solution = Solution(network, x, solver)
        smooth = problem.evaluate(solution, target).smooth
        parts = torch.autograd.grad(smooth, weights, allow_unused=True)
    flat = [torch.zeros_like(p) if g is None else g for p, g in zip(weights, parts, strict=True)]
    return torch.cat([g.flatten() for g in flat]), solution.statistics.evaluations
