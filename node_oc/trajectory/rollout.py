"""One pass through the awake steps, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, pairwise

import torch
from torch import Tensor

from node_oc.discretization.controls import Controls
from node_oc.discretization.driver import TIME, Driver
from node_oc.discretization.network import Network
from node_oc.discretization.step import check_stages
from node_oc.errors import ConfigError
from node_oc.system.base import PACE, System
from node_oc.trajectory.layout import Layout, layout_of, quadrature
from node_oc.trajectory.sweep import Run


@dataclass(frozen=True)
class Trajectory:
    """States of one batch over depth. Computed once and handed on: costs, diagnosis and plots read the same one.

    Attributes:
        network: the network that was rolled out.
        layout: which distinct states there are.
        runs: the distinct states of each run of identity skips: one tensor (m, B, ...), or m tensors (B, ...).
        last: x_N, (B, ...).
        driver: what drove the steps.
    """

    network: Network
    layout: Layout
    runs: tuple[Tensor | Sequence[Tensor], ...]
    last: Tensor
    driver: Driver = TIME
    _memo: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def nodes(self) -> tuple[Tensor, ...]:
        """The distinct states, in the order in which they were computed."""
        return tuple(chain.from_iterable(run.unbind() if isinstance(run, Tensor) else run for run in self.runs))

    @property
    def states(self) -> tuple[Tensor, ...]:
        """x_0..x_N; a sleeping step with an identity skip hands on the very same tensor."""
        return tuple(self.nodes[m] for m in self.layout.states)

    @property
    def stages(self) -> tuple[tuple[Tensor, ...], ...]:
        """The stage states of every step k = 0..N-1 (Euler: x_k alone)."""
        return tuple(tuple(self.nodes[m] for m in step) for step in self.layout.stages)

    @property
    def readouts(self) -> Tensor:
        """yhat_0..yhat_N, (N+1, B, K)."""
        if self.network.table.stages > 1 and not self.network.system.own_statistics:
            return torch.stack([self.network.system.readout(x, k) for k, x in enumerate(self.states)])
        read = self.quadrature[0]
        return read if self.layout.states == tuple(range(self.layout.nodes)) else read[list(self.layout.states)]

    @property
    def final(self) -> Tensor:
        """The output H(x_N), (B, K)."""
        if "final" not in self._memo:  # computed once: a batch norm counts, and a dropout draws, each time
            self._memo["final"] = self.network.system.head(self.last)
        return self._memo["final"]

    @property
    def quadrature(self) -> tuple[Tensor, Tensor]:
        """Quadrature of a running cost: readouts (M, B, K) of the distinct states, weights (N, M).

        Row k of the weights holds the nodes of step k, h_k b_i each, so that the running cost of step k is
        ``weights[k] @ costs`` and a state that sleeping steps hand on is read once. The last row of the readouts is
        the output. They are computed once: one batched head call per run of identity skips.
        """
        if "read" not in self._memo:
            self._memo["read"] = self._read()
        # At least float32: under mixed precision the states are bfloat16, in which h_k b_i would be rounded.
        dtype = torch.promote_types(self.last.dtype, torch.float32)
        weights, pace = quadrature(self.layout, dtype, self.last.device), self.network.system.pace
        return self._memo["read"], weights if pace is PACE else weights * pace

    def _read(self, chosen: Collection[int] | None = None) -> Tensor:
        """Readouts of the distinct states, or of some of them and the last, by number.

        Each skip is passed once, by the states of all depths before it together; so is the head.
        """
        read = self.network.system.heads(self._behind_skips(chosen), count="final" not in self._memo)
        self._memo.setdefault("final", read[-1])
        return read

    def _behind_skips(self, chosen: Collection[int] | None) -> Tensor:
        """What the head reads: these states pushed through the remaining skips, (m, B, ..)."""
        system, runs = self.network.system, self.layout.runs
        if len(runs) == 1 and chosen is None and all(map(system.is_identity, range(runs[0][1], self.network.depth))):
            run = self.runs[0]
            return run if isinstance(run, Tensor) else torch.stack(tuple(run))
        wanted = set(range(self.layout.nodes)) if chosen is None else {*chosen, self.layout.nodes - 1}
        own = system.own_statistics
        states: list[Tensor] = []
        settled: list[str | None] = []  # by which skip, where the same one again would change nothing
        ends = [k for _, k in runs[1:]] + [self.network.depth]
        for (first, start), end, run in zip(runs, ends, self.runs, strict=True):
            last = first + len(run) - 1
            new = [run[m - first] for m in range(first, last + 1) if m in wanted or (own and m == last)]
            states, settled = states + new, settled + [None] * len(new)
            for k in (k for k in range(start, end) if not system.is_identity(k)):
                name = system.settling(k)
                through = [i for i, by in enumerate(settled) if name is None or by != name]
                if through:
                    moved = system.skips(k, torch.stack([states[i] for i in through]))
                    for i, state in zip(through, moved.unbind(), strict=True):
                        states[i], settled[i] = state, name
            if own and last not in wanted:
                del states[-1], settled[-1]
        return torch.stack(states)

    def control_energy(self) -> Tensor:
        """Sum of h_k ||u_k||^2, see :meth:`Network.control_energy`. Scalar."""
        return self.network.control_energy()

    @property
    def counted(self) -> tuple[int, ...]:
        """The distinct states, by number, that the running cost counts."""
        return tuple(m for m in range(self.layout.nodes) if any(row[m] for row in self.layout.weights))

    def draw(self, draws: int, generator: torch.Generator) -> tuple[int, ...]:
        """So many of the counted states, without replacement, each set of them with the same chance; ascending.

        Args:
            draws: m, at least 1; all of them where there are no more.
            generator: where the draw comes from.
        """
        counted = self.counted
        if draws >= len(counted):
            return counted
        return tuple(sorted(counted[i] for i in torch.randperm(len(counted), generator=generator)[:draws].tolist()))

    def estimate(self, cost: Callable[[Tensor], Tensor], drawn: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The same as :meth:`accumulate`, without bias, from m drawn ones of the n counted states, weighted n/m.

        The output is always read. Where the head is dear, as of a language model, a step costs less.

        Args:
            cost: as of :meth:`accumulate`.
            drawn: of :meth:`draw`.
        """
        counted = len(self.counted)
        if len(drawn) == counted:
            return self.accumulate(cost)
        dtype = torch.promote_types(self.last.dtype, torch.float32)
        weights = quadrature(self.layout, dtype, self.last.device) * self.network.system.pace
        costs = cost(self._read(drawn)).mean(1)
        running = (weights[:, list(drawn)] * costs[: len(drawn)]).sum(1) * (counted / len(drawn))
        return running, costs[-1]

    def accumulate(self, cost: Callable[[Tensor], Tensor], leaves: Sequence[Tensor] = ()) -> tuple[Tensor, Tensor]:
        """A running cost: its value of every step k = 0..N-1, h_k times the batch mean, (N,); and that of the output.

        Args:
            cost: readouts (M, B, K) to the cost of every sample, (M, B).
            leaves: parameters of the cost itself; a rollout in segments must know them.
        """
        readouts, weights = self.quadrature
        costs = cost(readouts).mean(1)
        return (weights * costs).sum(1), costs[-1]  # no matmul: autocast would round it

    @property
    def increments(self) -> tuple[Tensor, ...]:
        """x_{k+1} - S_k(x_k) for k = 0..N-1: what each step added."""
        system, states = self.network.system, self.states
        return tuple(after - system.skip(k, before) for k, (before, after) in enumerate(pairwise(states)))


def rollout(
    network: Network | System, x: Tensor, *, driver: Driver = TIME, analytic: bool | None = None,
    controls: Controls | None = None,
) -> Trajectory:  # fmt: skip
    """Roll a batch of inputs through the network, keeping every state.

    Where the system knows the derivatives of its branches (dense, convolutional), a run of steps is one function of
    autograd that keeps only what its hand-written costate sweep needs. Values and gradients are those of the general
    path, to rounding; a second derivative is the general path's alone.

    Args:
        network: what is rolled out; a system alone is stepped by Euler, all of its steps.
        x: inputs (B, features).
        driver: what drives the steps; time by default.
        analytic: False for the general path, in which autograd records every step; True to insist on the other one.
            None takes it where it can be had: not while compiling or exporting, under autocast, or where hooks,
            parametrizations or a branch of your own stand in its way. Transforms of torch.func want False.
        controls: the stacked controls of the network; on the analytic path the gradients arrive there and not in its
            parameters.

    Raises:
        ConfigError: ``analytic`` is True and cannot be, or a driver that the system cannot take.
    """
    network = (Network(network) if isinstance(network, System) else network).given(x)
    state, driver = network.system.lift(x), driver.on(network.system)
    return pass_through(network, state, 0, network.depth, driver, choose(network, state, analytic, controls), controls)


def choose(network: Network, state: Tensor, analytic: bool | None, controls: Controls | None) -> bool:
    """Whether the analytic path is taken; see :func:`rollout`."""
    if analytic is False or (analytic is None and torch.compiler.is_compiling()):
        return False
    why = ""
    if torch.compiler.is_compiling():
        why = "compilation, which derives its own"
    elif torch.is_autocast_enabled(state.device.type):
        why = "automatic mixed precision"
    elif not (controls.by_hand if controls else network.system.by_hand):
        why = f"{type(network.system).__name__}, without derivatives by hand"
    if why and analytic:
        raise ConfigError("analytic", got=f"True with {why}", expected="None or False there",
                          do="Leave it out: the general path is taken where it must be.")  # fmt: skip
    return not why


def pass_through(
    network: Network, state: Tensor, start: int, stop: int, driver: Driver, analytic: bool, controls: Controls | None
) -> Trajectory:
    """The steps start..stop-1 from the state x_start; readouts of the trajectory are those of the whole network."""
    layout, system, table = layout_of(network, start, stop), network.system, network.table
    changes = [k - 1 for _, k in layout.runs[1:]]  # the steps whose skip is no identity: a run begins behind it
    runs: list[Tensor | Sequence[Tensor]] = []
    for first, end in zip([start, *changes], [*changes, stop], strict=True):
        awake = [k for k in network.awake if first <= k < end]
        if analytic and awake:
            check_stages(system, table, awake[0])
            state = state if not runs else system.skip(first, state)
            roles = controls.of(awake) if controls else None
            run = Run(network, awake, driver, roles, open=bool(runs) and awake[0] == first)
            states, state = run.sweep(state)
            runs.append(states)
            continue
        nodes = [] if runs else [state]
        for k in range(first, end):
            state, stages = network.advance(k, state, driver)
            if k in awake or not system.is_identity(k):
                nodes += [*stages[1:], state] if k in awake else [state]
        runs.append(nodes)
    return Trajectory(network, layout, tuple(runs), state, driver)
