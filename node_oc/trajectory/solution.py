"""The ODE between the points of a grid, by an adaptive solver that integrates the costs with the state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.checkpoint import checkpoint
from torchdiffeq import odeint, odeint_adjoint

from node_oc.discretization.network import Network
from node_oc.errors import ConfigError, DivergenceError, ShapeError

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
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(name, got=getattr(self, name), expected="a positive number", do="Correct it.")


@dataclass
class Statistics:
    """What a solver did: evaluations of the field (of all samples at once), steps accepted and rejected."""

    evaluations: int = 0
    accepted: int = 0
    rejected: int = 0


class Solution:
    """x' = F_k(x, u(t)) on every interval [t_k, t_{k+1}] of a network's grid, solved to a tolerance.

    Any network with identity skips has this ODE; a sleeping step is an interval in which nothing moves. Costs are
    integrated as a further state, so that they have the solver's own accuracy; where the control jumps, between
    intervals, the solver starts anew. It is solved once, when it is first asked for something.

    Args:
        network: what is solved; its table is not used.
        x: inputs (B, features).
        solver: method, tolerances, gradient; dopri5 at 1e-6 by default.

    Attributes:
        statistics: what the solver has done so far; the continuous adjoint adds to it on the way back.

    Raises:
        ConfigError: dropout or batch norm in training mode: no ODE. When it is solved: tolerances that the state's
            precision cannot meet.
        ShapeError: an awake step whose skip is not the identity.
    """

    def __init__(self, network: Network, x: Tensor, solver: Solver | None = None) -> None:
        self.network, self.x, self.solver = network, x, solver or Solver()
        self.statistics = Statistics()
        self._states: tuple[Tensor, ...] = ()
        self._energy: Tensor | None = None
        _check_modes(network)
        for k in network.awake:
            if not network.system.is_identity(k):
                raise ShapeError(f"step {k}", got="a skip that is not the identity", expected="an interval of an ODE",
                                 do="Use a table here: node_oc.rollout.")  # fmt: skip

    def accumulate(self, cost: Callable[[Tensor], Tensor], leaves: Sequence[Tensor] = ()) -> tuple[Tensor, Tensor]:
        """As :meth:`Trajectory.accumulate`: the integral of the cost over each interval (N,), and that of the output.

        Raises:
            DivergenceError: steps that shrink to nothing, too many of them, or numbers that are not finite.
        """
        runnings = self._solve(cost, leaves)
        at_end = cost(self.network.system.head(self._states[-1])[None]).mean()
        return runnings, at_end

    @property
    def states(self) -> tuple[Tensor, ...]:
        """x(t_0)..x(t_N), each (B, ...)."""
        if not self._states:
            self._solve(None, ())
        return self._states

    @property
    def final(self) -> Tensor:
        """The output H(x(T)), (B, K)."""
        return self.network.system.head(self.states[-1])

    def control_energy(self) -> Tensor:
        """The integral of ||u(t)||^2 over the awake intervals. Scalar."""
        if not self.network.system.varies_within_steps:
            return self.network.control_energy()
        if not self._states:
            self._solve(None, ())
        if self._energy is None:
            return self._states[-1].new_zeros(())
        return self._energy

    def _solve(self, cost: Callable[[Tensor], Tensor] | None, leaves: Sequence[Tensor]) -> Tensor:
        network, system = self.network, self.network.system
        states = [system.lift(self.x)]
        _check_tolerance(self.solver, states[0].dtype)
        runnings: list[Tensor] = []
        energies: list[Tensor] = []
        for k in range(network.depth):
            if k in network.awake:
                x, *rest = self._interval(k, states[-1], cost, leaves)
                if system.varies_within_steps:
                    energies.append(rest.pop())
                runnings += [running.mean() for running in rest]
                states.append(x)
                continue
            x = states[-1] if system.is_identity(k) else system.skip(k, states[-1])
            if cost is not None:
                runnings.append(system.pace * network.grid.h[k] * cost(system.readout(states[-1], k)[None]).mean())
            states.append(x)
        self._states = tuple(states)
        self._energy = torch.stack(energies).sum() if energies else None
        return torch.stack(runnings) if runnings else states[0].new_zeros(0)

    def _interval(
        self, k: int, x: Tensor, cost: Callable[[Tensor], Tensor] | None, leaves: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        """x(t_{k+1}), then the cost of every sample (B,) where there is one, then the energy where u varies."""
        start: tuple[Tensor, ...] = (x,)
        if cost is not None:
            start += (x.new_zeros(len(x)),)
        if self.network.system.varies_within_steps:
            start += (x.new_zeros(1),)
        field = _Field(self.network, k, cost, self.statistics)
        solver = self.solver
        if solver.gradient == "adjoint":
            return self._integrate(field, start, leaves)
        if solver.gradient == "checkpoint" and torch.is_grad_enabled():
            return checkpoint(lambda *s: self._integrate(field, s, ()), *start, use_reentrant=False,
                              preserve_rng_state=False)  # fmt: skip
        return self._integrate(field, start, ())

    def _integrate(self, field: _Field, start: tuple[Tensor, ...], leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
        if self.solver.gradient != "adjoint":
            return tuple(part[-1] for part in self._at(field, start))
        trained = tuple(p for p in (*self.network.parameters(), *leaves) if p.requires_grad)
        back = {"max_num_steps": self.solver.max_steps, "step_t": self._ends(field, start)[:1]}
        return tuple(part[-1] for part in self._at(field, start, adjoint_params=trained, adjoint_options=back))

    def _ends(self, field: _Field, start: tuple[Tensor, ...]) -> Tensor:
        """Beginning and end of an interval: 0 and h_k."""
        dtype = torch.promote_types(start[0].dtype, torch.float32)
        return torch.tensor([0.0, self.network.grid.h[field.k]], dtype=dtype, device=start[0].device)

    def _at(
        self, field: _Field, start: tuple[Tensor, ...], times: Tensor | None = None, **adjoint: Any
    ) -> tuple[Tensor, ...]:
        """The parts of the state at some times of an interval, (times, ...); the steps taken are the same for all."""
        solver, ends = self.solver, self._ends(field, start)
        norm = _largest if solver.controlled else _of_state
        options = {"norm": norm, "max_num_steps": solver.max_steps, "step_t": ends[1:]}  # ends there, not beyond
        try:
            return (odeint_adjoint if adjoint else odeint)(
                field, start, ends if times is None else times, rtol=solver.rtol, atol=solver.atol,
                method=solver.method, options=options, **adjoint,
            )  # fmt: skip
        except AssertionError as error:  # torchdiffeq's way to say that it gives up
            raise field.gave_up(str(error), solver) from error


class _Field(nn.Module):
    """The right-hand side of state and costs on one interval, at time tau in [0, h_k] from its beginning."""

    def __init__(
        self, network: Network, k: int, cost: Callable[[Tensor], Tensor] | None, statistics: Statistics
    ) -> None:
        super().__init__()
        self.network, self.k, self.cost, self.statistics = network, k, cost, statistics
        self.at: tuple[Any, tuple[Tensor, ...]] | None = None
        self.accepted: list[float] = []  # where the accepted steps begin

    def forward(self, tau: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        self.statistics.evaluations += 1
        system, x, c = self.network.system, state[0], tau / self.network.grid.h[self.k]
        rates = [system.branch_at(self.k, c, x)]
        if self.cost is not None:
            rates.append(self.cost(system.readout(x, self.k)[None])[0].to(x.dtype))
        if system.varies_within_steps:
            rates.append(torch.stack([p.square().sum() for p in system.control_at(self.k, c)]).sum()[None])
        return tuple(system.pace * rate for rate in rates)

    def callback_step(self, tau: Tensor, state: tuple[Tensor, ...], _: Tensor) -> None:
        self.at = tau, state

    def callback_accept_step(self, tau: Tensor, *_: Any) -> None:
        self.statistics.accepted += 1
        self.accepted.append(float(tau.detach()))

    def callback_reject_step(self, *_: Any) -> None:
        self.statistics.rejected += 1

    callback_accept_step_adjoint, callback_reject_step_adjoint = callback_accept_step, callback_reject_step

    @torch.no_grad()
    def gave_up(self, message: str, solver: Solver) -> DivergenceError:
        """What torchdiffeq's message means, where it happened, and what to try."""
        t, size, field = 0.0, float("nan"), float("nan")
        if self.at is not None:
            tau, state = self.at
            t = float(tau)
            size, field = float(state[0].abs().max()), float(self.forward(tau, state)[0].abs().max())
        t += sum(self.network.grid.h[: self.k])
        what = "too many steps" if "max_num_steps" in message else (
            "a state that is not finite" if "non-finite" in message else "a step that shrank to nothing"
        )  # fmt: skip
        return DivergenceError(
            f"{solver.method} at time t = {t:.6g} (interval {self.k})",
            got=f"{what}; the largest entry of the state is {size:.3g}, of the field {field:.3g}",
            expected=f"a solution at rtol = {solver.rtol:g} with at most {solver.max_steps} steps an interval",
            do="The field may be stiff, not smooth, or blow up: loosen the tolerances, raise max_steps, shorten the "
            "horizon or lower the learning rate; or use a table, whose work is known beforehand.",
        )  # fmt: skip


@torch.no_grad()  # steps are chosen, not differentiated
def _largest(state: tuple[Tensor, ...]) -> Tensor:
    """Root mean squares of the parts, the largest: an error in one of them is not averaged away by the others."""
    return torch.stack([part.abs().square().mean().sqrt() for part in state if part.numel()]).max()


@torch.no_grad()
def _of_state(state: tuple[Tensor, ...]) -> Tensor:
    """Root mean square of the state alone: costs do not choose the steps."""
    return state[0].abs().square().mean().sqrt()


def _check_tolerance(solver: Solver, dtype: torch.dtype) -> None:
    least = torch.finfo(dtype).eps / 2
    if max(solver.rtol, solver.atol) < least:
        raise ConfigError("tolerances", got=f"rtol = {solver.rtol:g}, atol = {solver.atol:g} in {dtype}",
                          expected=f"one of them at least {least:.0e}, the rounding of a state",
                          do="Loosen them, or compute in float64: network.double().")  # fmt: skip


def _check_modes(network: Network) -> None:
    for name, module in network.system.named_modules():
        if module.training and isinstance(module, (_DropoutNd, _BatchNorm)):
            kind = "dropout" if isinstance(module, _DropoutNd) else "batch norm"
            raise ConfigError(
                f"an adaptive solve through {name}", got=f"{kind} in training mode",
                expected="a field that is a function of (t, x)",
                do="Each evaluation would be of another field, and the step control would chase the difference: put it "
                "into eval mode, use a table with a noise driver, or a table alone.",
            )  # fmt: skip
