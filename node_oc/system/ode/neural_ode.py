"""The neural ODE: one field for all of the depth, its control a function of time."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from node_oc.errors import ConfigError
from node_oc.system.base import PACE, System, as_number
from node_oc.system.ode.basis import Basis, Piecewise, basis_from, basis_spec
from node_oc.system.ode.basis_values import values_at
from node_oc.system.ode.parts import affine, part_from, part_spec
from node_oc.system.ode.times import ending, times_of
from node_oc.system.ode.unrolled import UnrolledSystem
from node_oc.system.ode.vector_field import VectorField, check_field, field_from

ALIGNED = 1e-9  # of the horizon: how far a break of the control may lie from a point of the grid


class NeuralODE(System):
    """x' = f(t, x, u(t)) on [0, T] between a lift and a head, u(t) = sum_j phi_j(t/T) c_j.

    As a system it has one branch for each interval of a grid, and all of them share the coefficients c_j. A table steps
    it over that grid (``node_oc.Network(ode, table=node_oc.RK4)``), an adaptive solver chooses its own steps inside the
    intervals (:class:`node_oc.Solution`). ``node_oc.discretize`` gives every step a control of its own.

    Args:
        field: f, whose parameters are the start of every c_j that phi_j does not keep at zero there.
        lift: inputs to states (B, ...); the inputs themselves by default.
        head: states to outputs (B, K); the state itself by default.
        horizon: T, in units of time; 1 by default.
        steps: number N of equal intervals; one a piece of a piecewise constant control, at least.
        times: t_0 = 0 .. t_N = T instead, for intervals that are not equal.
        basis: phi_j; one constant control by default.
        learn_horizon: whether T is trained.
        generator: where a piecewise control draws all pieces but the first from, which is the field's; seeded with 1 if
            None.
        span: what t is divided by in phi_j, in units of time: T by default, the T of before where it was shortened.

    Raises:
        ConfigError: times that do not ascend from 0, a horizon that is not positive or beyond the span, a control that
            jumps inside an interval, a field with constrained parameters whose control is not piecewise constant, or
            one without parameters, with shared ones, or with a group that it does not have.
    """

    def __init__(
        self, field: VectorField, *, lift: nn.Module | None = None, head: nn.Module | None = None,
        horizon: float | None = None, steps: int = 16, times: Sequence[float] | None = None, basis: Basis | None = None,
        learn_horizon: bool = False, generator: torch.Generator | None = None, span: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.times, self.basis = times_of(horizon, steps, times), Piecewise(1) if basis is None else basis
        check_field(field)
        if not isinstance(self.basis, Basis):
            raise ConfigError("basis", got=repr(basis), expected="one like node_oc.Fourier(5)",
                              do="Make one: Piecewise, Polynomial, Chebyshev, Fourier or Wavelet.")  # fmt: skip
        times = self.times
        self.span = times[-1] if span is None else span
        if not self.span >= times[-1]:
            raise ConfigError("span", got=self.span, expected=f"at least T = {times[-1]:g}",
                              do="The control is known there alone; leave it out for all of the horizon.")  # fmt: skip
        self._check_breaks()
        self.lifting, self.reading = lift or nn.Identity(), head or nn.Identity()
        names, parameters = zip(*field.named_parameters(), strict=True)
        self.names: tuple[str, ...] = names
        starts = [parameters]
        draw = generator or torch.Generator().manual_seed(1)
        if isinstance(self.basis, Piecewise):
            fresh = copy.deepcopy(field)
            for _ in range(self.basis.size - 1):
                fresh.reset_(draw)
                starts.append(tuple(p.detach().clone() for p in fresh.parameters()))
        else:  # phi_0 = 1 in every one of them
            starts += [tuple(torch.zeros_like(p) for p in parameters)] * (self.basis.size - 1)
        self.coefficients = nn.ParameterList(
            nn.Parameter(torch.stack([p.detach() for p in role]), requires_grad=role[0].requires_grad)
            for role in zip(*starts, strict=True)
        )
        self.vector_field = copy.deepcopy(field)
        for name in names:  # the field is a form to fill in: its parameters are handed to it with each call
            owner, _, leaf = name.rpartition(".")
            self.vector_field.get_submodule(owner)._parameters[leaf] = None
        if field.constrained and not self.basis.constant:
            raise ConfigError("field", got=f"constrained parameters, {type(self.basis).__name__} control",
                              expected="a constant one", do="Free them (row_norm=0), or use Piecewise.")  # fmt: skip
        self.stretch = nn.Parameter(torch.ones((), dtype=parameters[0].dtype)) if learn_horizon else None
        self.constrain_()

    def _check_breaks(self) -> None:
        for jump in self.jumps:
            if min(abs(jump - t) for t in self.times) > ALIGNED * self.span:
                raise ConfigError("steps", got=f"{self.depth} intervals, none of which ends at {jump / self.span:g} T",
                                  expected=f"one that ends wherever one of the {self.basis.size} pieces does",
                                  do=f"Use a multiple of {self.basis.size}.")  # fmt: skip

    @property
    def jumps(self) -> tuple[float, ...]:
        """Times inside (0, T) at which the control jumps, a trained horizon not counted."""
        places = (place * self.span for place in self.basis.breaks)
        return tuple(t for t in places if t < self.times[-1] - ALIGNED * self.span)

    @property
    def depth(self) -> int:
        return len(self.times) - 1

    @property
    def h(self) -> tuple[float, ...]:
        return tuple(b - a for a, b in pairwise(self.times))

    @property
    def horizon(self) -> Tensor | float:
        """T, in units of time; a tensor with a gradient where it is trained."""
        return self.pace * self.times[-1]

    @property
    def pace(self) -> float | Tensor:
        return PACE if self.stretch is None else self.stretch

    @property
    def tied(self) -> bool:
        return True

    def untied(self, nodes: Sequence[float]) -> UnrolledSystem:
        return self.unroll(nodes=nodes)

    @property
    def varies_within_steps(self) -> bool:
        return self.vector_field.timed or not self.basis.constant

    def lift(self, x: Tensor) -> Tensor:
        return self.lifting(x)

    def head(self, x: Tensor) -> Tensor:
        return self.reading(x)

    def skip(self, k: int, x: Tensor) -> Tensor:
        return x

    def is_identity(self, k: int) -> bool:
        return True

    def branch(self, k: int, x: Tensor) -> Tensor:
        return self.branch_at(k, 0.0, x)

    def branch_at(self, k: int, c: float | Tensor, x: Tensor) -> Tensor:
        time = self.pace * (self.times[k] + c * (self.times[k + 1] - self.times[k]))
        control = dict(zip(self.names, self.control_at(k, c), strict=True))
        return functional_call(self.vector_field, control, self.vector_field.at(time, x))

    def control_at(self, k: int, c: float | Tensor) -> list[Tensor]:
        a, b, end = self.times[k], self.times[k + 1], self.span
        if self.basis.constant:  # by the middle of the interval: at its ends u may jump
            piece = sum(place <= (a + b) / 2 / end for place in self.basis.breaks)
            return [coefficient[piece] for coefficient in self.coefficients]
        s = (a + c * (b - a)) / end
        like = self.coefficients[0]
        phi = self.basis.values(s.to(like)) if isinstance(s, Tensor) else values_at(self.basis, s, like)
        return [torch.tensordot(phi, coefficient, 1) for coefficient in self.coefficients]

    def group(self, k: int) -> list[nn.Parameter]:
        self.check_step(k)
        group = self.vector_field.group_names
        return [p for name, p in zip(self.names, self.coefficients, strict=True) if name in group]

    def control(self, k: int) -> list[nn.Parameter]:
        self.check_step(k)
        return list(self.coefficients)

    def affine_readout(self) -> tuple[Tensor, Tensor]:
        return tuple(part.to(self.coefficients[0]) for part in affine(self.reading))  # type: ignore[return-value]

    @torch.no_grad()
    def constrain_(self) -> None:
        if self.stretch is not None:
            self.stretch.clamp_(min=1e-3)  # time runs forward
        if self.vector_field.constrained:
            for piece in range(self.basis.size):
                self._filled([coefficient[piece] for coefficient in self.coefficients]).constrain_()

    def release_(self) -> None:
        pass

    def unroll(self, times: Sequence[float] | None = None, nodes: Sequence[float] = (0.0,)) -> UnrolledSystem:
        """The same field with a control of its own in every step, whose values are those of u(t).

        Args:
            times: t_0 = 0 .. t_N = T of the steps, in units of time; those of this system by default.
            nodes: places c in [0, 1] of a step at which a table evaluates it; one is enough where nothing varies.

        Raises:
            ConfigError: times that end elsewhere, or a step across a jump of the control.
        """
        here = copy.copy(self)
        pace = as_number(self.pace)
        times = tuple(pace * t for t in self.times) if times is None else ending(times, pace * self.times[-1])
        here.times = tuple(t / pace for t in times)
        here._check_breaks()
        nodes = tuple(nodes) if self.varies_within_steps else (0.0,)
        steps = [[here._own(k, c) for c in nodes] for k in range(here.depth)]
        return UnrolledSystem(steps, times=times[:-1], h=tuple(b - a for a, b in pairwise(times)), nodes=nodes,
                              lift=copy.deepcopy(self.lifting), head=copy.deepcopy(self.reading))  # fmt: skip

    def _own(self, k: int, c: float) -> VectorField:
        """A field with parameters of its own: u at node c of step k."""
        return self._filled([value.detach().clone() for value in self.control_at(k, c)])

    def _filled(self, values: Sequence[Tensor]) -> VectorField:
        """The field with these as its parameters, which share their memory."""
        field = copy.deepcopy(self.vector_field)
        for name, value, role in zip(self.names, values, self.coefficients, strict=True):
            owner, _, leaf = name.rpartition(".")
            own = nn.Parameter(value.detach(), requires_grad=role.requires_grad)
            field.get_submodule(owner)._parameters[leaf] = own
        return field

    def subsystem(self, steps: Sequence[int]) -> UnrolledSystem:
        return self.unroll().subsystem(steps)

    def insert(self, places: Sequence[int], generator: torch.Generator) -> UnrolledSystem:
        return self.unroll().insert(places, generator)

    def halved(self, steps: Collection[int]) -> NeuralODE:
        """The same neural ODE, copied, on a grid in which each of these intervals is two."""
        fine = copy.deepcopy(self)
        middles = [(self.times[k] + self.times[k + 1]) / 2 for k in steps]
        fine.times = tuple(sorted({*self.times, *middles}))
        return fine

    def spec(self) -> dict[str, Any]:
        return {
            "kind": "ode", "field": self.vector_field.spec(), "times": list(self.times),
            "basis": basis_spec(self.basis), "lift": part_spec(self.lifting), "head": part_spec(self.reading),
            "learn_horizon": self.stretch is not None, "span": self.span,
        }  # fmt: skip


def ode_from(
    field: dict[str, Any], times: Sequence[float], basis: dict[str, Any], lift: dict[str, Any], head: dict[str, Any],
    learn_horizon: bool, span: float | None = None,
) -> NeuralODE:  # fmt: skip
    """The neural ODE of a description, with fresh weights."""
    return NeuralODE(field_from(field), lift=part_from(lift), head=part_from(head), times=times,
                     basis=basis_from(basis), learn_horizon=learn_horizon, span=span)  # fmt: skip
