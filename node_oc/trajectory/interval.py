"""The ODE of state and costs on one interval of a grid, as a solver asks for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from node_oc.discretization.network import Network
from node_oc.errors import ConfigError, DivergenceError, ShapeError
from node_oc.trajectory.solver import Solver, Statistics

NOISE = (
    "Each evaluation would be of another field, and the step control would chase the difference: put it into eval "
    "mode, use a table with a noise driver, or a table alone."
)


class Interval(nn.Module):
    """The right-hand side of state and costs on one interval, at time tau in [0, h_k] from its beginning."""

    def __init__(
        self,
        network: Network,
        k: int,
        cost: Callable[[Tensor], Tensor] | None,
        statistics: Statistics,
        solver: Solver,
    ) -> None:
        super().__init__()
        self.network, self.k, self.cost, self.statistics, self.solver = network, k, cost, statistics, solver
        self.back = 0  # steps tried on the way back
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
        """Before a step is tried."""
        self.at = tau, state

    def callback_accept_step(self, tau: Tensor, *_: Any) -> None:
        """After a step that was accepted."""
        self.statistics.accepted += 1
        self.accepted.append(float(tau.detach()))

    def callback_reject_step(self, *_: Any) -> None:
        """After one that was not."""
        self.statistics.rejected += 1

    def callback_step_adjoint(self, tau: Tensor, state: tuple[Tensor, ...], dt: Tensor) -> None:
        """Before a step of the continuous adjoint is tried: torchdiffeq would give up in the middle of autograd.

        Raises:
            DivergenceError: the same reasons as on the way there.
        """
        self.back += 1
        finite = all(bool(torch.isfinite(part).all()) for part in state)
        if self.back >= self.solver.max_steps or not finite or not tau - dt < tau:
            message = "max_num_steps" if finite and self.back >= self.solver.max_steps else "non-finite or underflow"
            raise self.gave_up(message, back=tau)

    callback_accept_step_adjoint, callback_reject_step_adjoint = callback_accept_step, callback_reject_step

    @torch.no_grad()
    def gave_up(self, message: str, back: Tensor | None = None) -> DivergenceError:
        """What torchdiffeq's message means, where it happened, and what to try."""
        solver, t, size, field = self.solver, 0.0, float("nan"), float("nan")
        if self.at is not None:
            tau, state = self.at
            t = float(tau)
            size, field = float(state[0].abs().max()), float(self.forward(tau, state)[0].abs().max())
        where: str = solver.method
        seen = ""
        if back is not None:  # the state there is not known: it is what is integrated
            t, where, seen = float(back), f"the continuous adjoint by {solver.method}", "where the way there ended, "
        t += sum(self.network.grid.h[: self.k])
        what = "too many steps" if "max_num_steps" in message else "a step that shrank to nothing"
        for name, value in (("field", field), ("state", size)):
            what = what if math.isfinite(value) else f"a {name} that is not finite"
        return DivergenceError(
            f"{where} at time t = {t:.6g} (interval {self.k})",
            got=f"{what}; {seen}the largest entry of the state is {size:.3g}, of the field {field:.3g}",
            expected=f"a solution at rtol = {solver.rtol:g} with at most {solver.max_steps} steps an interval",
            do="The field may be stiff, not smooth, or blow up: loosen the tolerances, raise max_steps, shorten the "
            "horizon or lower the learning rate; or use a table, whose work is known beforehand.",
        )  # fmt: skip


def check_ode(network: Network) -> None:
    """Raise where a network is no ODE between the points of its grid.

    Raises:
        ConfigError: dropout or batch norm in training mode.
        ShapeError: an awake step whose skip is not the identity, or whose control is known at some nodes alone.
    """
    for name, module in network.system.named_modules():
        if module.training and isinstance(module, (_DropoutNd, _BatchNorm)):
            kind = "dropout" if isinstance(module, _DropoutNd) else "batch norm"
            raise ConfigError(
                f"an adaptive solve through {name}", got=f"{kind} in training mode",
                expected="a field that is a function of (t, x)",
                do=NOISE,
            )  # fmt: skip
    if network.system.nodes is not None:
        raise ShapeError("unrolled network", got=f"controls at the nodes {list(network.system.nodes)} of a step alone",
                         expected="a control at all times of an interval",
                         do=f"Step it by {network.table.name}, or solve the ODE that it came from.")  # fmt: skip
    for k in network.awake:
        if not network.system.is_identity(k):
            raise ShapeError(f"step {k}", got="a skip that is not the identity", expected="an interval of an ODE",
                             do="Use a table here: node_oc.rollout.")  # fmt: skip


@torch.no_grad()
def check_steady(network: Network, x: Tensor, statistics: Statistics) -> None:
    """Raise ConfigError where the field answers differently when it is asked twice: a random one is no ODE.

    Args:
        network: in training mode, or not.
        x: initial states (B, ...).
        statistics: where the two evaluations are counted.
    """
    for k in network.awake[:1]:
        statistics.evaluations += 2
        one, two = (network.system.branch_at(k, 0.0, x) for _ in range(2))
        if not torch.equal(one, two) and bool(torch.isfinite(one).all()):
            raise ConfigError("an adaptive solve", got="a field that answers differently when asked twice",
                              expected="a function of (t, x)", do=NOISE)  # fmt: skip
