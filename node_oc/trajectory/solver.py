"""An adaptive solver: its method, its tolerances, what its steps are chosen by, and what it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from node_oc.errors import ConfigError

Adaptive = Literal["dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun"]
Gradient = Literal["backprop", "checkpoint", "adjoint"]


@dataclass(frozen=True)
class Solver:
    """An adaptive Runge-Kutta pair of torchdiffeq, and how gradients come back through it.

    Attributes:
        method: "dopri5", "dopri8", "bosh3", "fehlberg2" or "adaptive_heun".
        rtol, atol: tolerances of one step.
        gradient: "backprop" through the steps that were taken; "checkpoint", the same with each interval of the grid
            taken again on the way back; "adjoint", the continuous adjoint: little memory, but with running costs on a
            contracting network its gradient is wrong, see :func:`node_oc.check_gradients`.
        controlled: whether the error of the integrated costs counts in the choice of steps. If not, costs are
            integrated by the quadrature of whatever steps the state asks for.
        max_steps: steps tried in one interval of the grid before giving up.

    Raises:
        ConfigError: an unknown method or gradient, a tolerance that is not positive.
    """

    method: Adaptive = "dopri5"
    rtol: float = 1e-6
    atol: float = 1e-6
    gradient: Gradient = "backprop"
    controlled: bool = True
    max_steps: int = 10_000

    def __post_init__(self) -> None:
        for name, known in (("method", get_args(Adaptive)), ("gradient", get_args(Gradient))):
            if getattr(self, name) not in known:
                raise ConfigError(name, got=repr(getattr(self, name)), expected=f"one of {known}",
                                  do="Correct the name; fixed steps are a table's: node_oc.rollout.")  # fmt: skip
        for name in ("rtol", "atol", "max_steps"):
            value = getattr(self, name)
            if not (isinstance(value, int if name == "max_steps" else (int, float)) and 0 < value < float("inf")):
                raise ConfigError(name, got=repr(value), expected="a positive number, max_steps a whole one",
                                  do="Correct it.")  # fmt: skip


@dataclass
class Statistics:
    """What a solver did: evaluations of the field (of all samples at once), steps accepted and rejected."""

    evaluations: int = 0
    accepted: int = 0
    rejected: int = 0


@torch.no_grad()  # steps are chosen, not differentiated
def largest_part(state: tuple[Tensor, ...]) -> Tensor:
    """Root mean squares of the parts, the largest: an error in one of them is not averaged away by the others."""
    return torch.stack([part.abs().square().mean().sqrt() for part in state]).max()


@torch.no_grad()
def state_alone(state: tuple[Tensor, ...]) -> Tensor:
    """Root mean square of the state alone: costs do not choose the steps."""
    return state[0].abs().square().mean().sqrt()


def check_tolerance(solver: Solver, dtype: torch.dtype) -> None:
    """Raise ConfigError where the rounding of a state of this type is coarser than what is asked for."""
    least = torch.finfo(dtype).eps / 2
    if max(solver.rtol, solver.atol) < least:
        raise ConfigError("tolerances", got=f"rtol = {solver.rtol:g}, atol = {solver.atol:g} in {dtype}",
                          expected=f"one of them at least {least:.0e}, the rounding of a state",
                          do="Loosen them, or take float64: network.double(), training.precision=64-true.")  # fmt: skip
