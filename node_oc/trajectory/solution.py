"""The ODE between the points of a grid, by an adaptive solver that integrates the costs with the state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from torchdiffeq import odeint, odeint_adjoint

from node_oc.discretization.driver import TIME, Driver, Time
from node_oc.discretization.network import Network
from node_oc.errors import ConfigError, DataError
from node_oc.trajectory.interval import Interval, check_ode, check_steady
from node_oc.trajectory.solver import Solver, Statistics, check_tolerance, largest_part, state_alone


class Solution:
    """x' = F_k(x, u(t)) on every interval [t_k, t_{k+1}] of a network's grid, solved to a tolerance.

    Any network with identity skips has this ODE: a neural ODE its own, a residual network, and an unrolled one of one
    control a step, that of fields which are constant in time within a step. Asleep, nothing moves. Costs are
    integrated as a further state, so that they have the solver's own accuracy; where the control jumps, between
    intervals, the solver starts anew. It is solved once, when it is first asked for something.

    Args:
        network: what is solved; its table is not used.
        x: inputs (B, features).
        solver: method, tolerances, gradient; dopri5 at 1e-6 by default.
        driver: time alone; an adaptive solver would shrink its steps without end to follow noise.

    Attributes:
        statistics: what the solver has done so far; the continuous adjoint adds to it on the way back.

    Raises:
        DataError: an empty batch.
        ConfigError: noise, or dropout or batch norm in training mode: no ODE. When it is solved: tolerances that the
            state's precision cannot meet.
        ShapeError: an awake step whose skip is not the identity, or whose control is known at some nodes alone.
    """

    def __init__(
        self, network: Network, x: Tensor, solver: Solver | None = None, *, driver: Driver = TIME
    ) -> None:  # fmt: skip
        if not isinstance(driver, Time):
            raise ConfigError("driver", got=f"{type(driver).__name__} with an adaptive solver",
                              expected="time, which is what it solves in",
                              do="Noise needs steps of a given size: use rollout(network, x, driver=..).")  # fmt: skip
        self.network, self.x, self.solver = network, x, solver or Solver()
        self.statistics = Statistics()
        self._states: tuple[Tensor, ...] = ()
        self._energy: Tensor | None = None
        if not len(x):
            raise DataError("inputs", got="no samples", expected="at least one", do="Leave empty batches out.")
        check_ode(network)

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
        if self._energy is None:  # all steps sleep
            return self._states[-1].new_zeros(())
        return self._energy

    def _solve(self, cost: Callable[[Tensor], Tensor] | None, leaves: Sequence[Tensor]) -> Tensor:
        network, system = self.network, self.network.system
        states = [system.lift(self.x)]
        check_tolerance(self.solver, states[0].dtype)
        if network.training:
            check_steady(network, states[0], self.statistics)
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
        field = Interval(self.network, k, cost, self.statistics, self.solver)
        solver = self.solver
        if solver.gradient == "adjoint":
            return self._integrate(field, start, leaves)
        if solver.gradient == "checkpoint" and torch.is_grad_enabled():
            return checkpoint(lambda *s: self._integrate(field, s, ()), *start, use_reentrant=False,
                              preserve_rng_state=False)  # fmt: skip
        return self._integrate(field, start, ())

    def _integrate(self, field: Interval, start: tuple[Tensor, ...], leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
        if self.solver.gradient != "adjoint":
            return tuple(part[-1] for part in self._at(field, start))
        trained = tuple(p for p in (*self.network.parameters(), *leaves) if p.requires_grad)
        back = {"max_num_steps": self.solver.max_steps, "step_t": self._ends(field, start)[:1]}
        return tuple(part[-1] for part in self._at(field, start, adjoint_params=trained, adjoint_options=back))

    def _ends(self, field: Interval, start: tuple[Tensor, ...]) -> Tensor:
        """Beginning and end of an interval: 0 and h_k."""
        dtype = torch.promote_types(start[0].dtype, torch.float32)
        return torch.tensor([0.0, self.network.grid.h[field.k]], dtype=dtype, device=start[0].device)

    def _at(
        self, field: Interval, start: tuple[Tensor, ...], times: Tensor | None = None, **adjoint: Any
    ) -> tuple[Tensor, ...]:
        """The parts of the state at some times of an interval, (times, ...); the steps taken are the same for all."""
        solver, ends = self.solver, self._ends(field, start)
        norm = largest_part if solver.controlled else state_alone
        options = {"norm": norm, "max_num_steps": solver.max_steps, "step_t": ends[1:]}  # ends there, not beyond
        try:
            return (odeint_adjoint if adjoint else odeint)(
                field, start, ends if times is None else times, rtol=solver.rtol, atol=solver.atol,
                method=solver.method, options=options, **adjoint,
            )  # fmt: skip
        except AssertionError as error:  # torchdiffeq's way to say that it gives up
            raise field.gave_up(str(error)) from error
