"""Forward sweep and costate sweep of a run of steps as one function of autograd, its derivative written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from node_oc.discretization.driver import Driver
from node_oc.discretization.network import Network
from node_oc.discretization.step import increase
from node_oc.errors import ConfigError
from node_oc.system.field import Role

Increments = Sequence[float | Tensor]


class Run:
    """Awake steps between which every skip is the identity, with the increments that drive them.

    Args:
        network: whose steps they are.
        steps: their layers k, ascending.
        driver: gives the increments.
        roles: the controls by role, where they are not the network's own parameters.
        open: whether the state from which the sweep starts stands behind a projection and is none of the rollout's.
    """

    def __init__(
        self, network: Network, steps: Sequence[int], driver: Driver, roles: Sequence[Role] | None, open: bool
    ) -> None:
        self.table, self.steps, self.driver, self.open = network.table, tuple(steps), driver, open
        self.h = [network.grid.h[k] for k in steps]
        self.field = network.system.field(steps, network.table.stages, roles)
        self.weights = [leaf for role in self.field.roles for leaf in role.leaves]

    def sweep(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The states (ns + 1, B, ...), stage states among them, and the last one again; an open run leaves x out."""
        states, last = _Sweep.apply(self, x, *self.weights)
        return states, last

    def forward(self, x: Tensor) -> tuple[Tensor, Increments]:
        """X_1 = x_k, .., X_s, x_{k+1} of every step in one tensor, and the increment of each evaluation."""
        s, lines = self.table.stages, (*self.table.a[1:], self.table.b)
        states = stack_like(x, len(self.steps) * s + 1)
        state = states.unbind()
        state[0].copy_(x)
        slopes: list[Tensor] = []
        increments: list[float | Tensor] = []
        for e in range(len(self.steps) * s):
            j, i = divmod(e, s)
            slopes = [*(slopes if i else []), self.field.value(e, state[e])]
            increments.append(self.driver.increment(self.steps[j], i, self.h[j], state[e]))
            after = state[e - i]
            for weight, slope, increment in zip(lines[i], slopes, increments[e - i :], strict=True):
                if weight:
                    after = increase(after, slope, weight, increment, out=state[e + 1])
            if after is state[e - i]:  # a line of zeros
                state[e + 1].copy_(after)
        return states, increments

    def backward(
        self, states: Tensor, increments: Increments, g: Tensor | None, last: Tensor | None, first: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """Costate of the first state, and gradients in all weights: the transpose of every line of ``forward``.

        With q_i the costate of the stage state X_i, the branch at X_i receives h (b_i p_{k+1} + sum_l a_li q_l), and
        x_k receives p_{k+1} + sum_i q_i (our derivation, by the chain rule).

        Args:
            states: from ``forward``.
            increments: from ``forward``.
            g: gradient in the states that ``sweep`` returned; None for zero.
            last: gradient in the last of them besides; None for zero.
            first: whether the costate of the first state is wanted.
        """
        s, a, b = self.table.stages, self.table.a, self.table.b
        x, p = states.unbind(), torch.empty_like(states)
        costate, direct = p.unbind(), [None] * len(p) if g is None else [*[None] * self.open, *g.unbind()]
        # What the branches receive. With Euler and increments of 1 these are the costates themselves.
        plain = s == 1 and all(not isinstance(increment, Tensor) and increment == 1 for increment in increments)
        slopes = p[1:] if plain else torch.empty_like(p[1:])
        slope = slopes.unbind()
        _set(costate[-1], direct[-1], last)
        for e in reversed(range(len(slope))):
            i = e % s
            after = costate[e - i + s]
            if not plain:
                torch.mul(after, b[i], out=slope[e])
                for later in range(i + 1, s):
                    if weight := a[later][i]:
                        slope[e].add_(costate[e - i + later], alpha=weight)
                slope[e].mul_(increments[e])
            _set(costate[e], direct[e], None if i else after)
            for later in range(1, 1 if i else s):
                costate[e].add_(costate[e + later])
            self.field.pull(e, x[e], slope[e], costate[e] if e or first else None)
        gradients = zip(self.field.roles, self.field.gradients(states[:-1], slopes), strict=True)
        return costate[0], [each for role, found in gradients for each in role.like_leaves(found)]


class _Sweep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Run, x: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        states, increments = run.forward(x)
        noise = [increment for increment in increments if isinstance(increment, Tensor)]
        ctx.save_for_backward(states, *run.field.kept, *noise, *weights)
        ctx.run, ctx.kept = run, len(run.field.kept)
        ctx.increments = [None if isinstance(increment, Tensor) else increment for increment in increments]
        ctx.set_materialize_grads(False)
        run.field.kept = []  # autograd holds them now, and lets go of them when it should
        return states[1:] if run.open else states, states[-1].clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, last: Tensor | None) -> tuple[Tensor | None, ...]:
        check_first_derivative()
        states, *rest = ctx.saved_tensors
        run, noise = ctx.run, iter(rest[ctx.kept :])
        run.field.kept = rest[: ctx.kept]
        increments = [next(noise) if increment is None else increment for increment in ctx.increments]
        first, weights = run.backward(states, increments, g, last, ctx.needs_input_grad[1])
        run.field.kept = []
        return None, first if ctx.needs_input_grad[1] else None, *weights


def check_first_derivative() -> None:
    """Raise ConfigError on the way back where autograd records it for a second derivative."""
    # torch's once_differentiable raises only later, and only if the incoming gradient is itself differentiated.
    if torch.is_grad_enabled():
        raise ConfigError("derivative of the analytic sweep or of a segment", got="create_graph=True",
                          expected="first derivatives", do="Use rollout(network, x, analytic=False).")  # fmt: skip


def stack_like(x: Tensor, count: int) -> Tensor:
    """An empty tensor (count, *x.shape), every row of it laid out in memory as x is (channels_last stays it)."""
    order = sorted(range(x.dim()), key=x.stride, reverse=True)
    stack = x.new_empty(count, *(x.shape[d] for d in order))
    return stack.permute(0, *(order.index(d) + 1 for d in range(x.dim())))


def _set(to: Tensor, a: Tensor | None, b: Tensor | None) -> None:
    """to <- a + b, None for zero."""
    if a is not None and b is not None:
        torch.add(a, b, out=to)
    elif a is not None or b is not None:
        to.copy_(cast(Tensor, b if a is None else a))
    else:
        to.zero_()
