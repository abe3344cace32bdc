"""A system on a depth grid: what is trained, diagnosed, cropped and exported."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from node_oc.discretization.driver import TIME, Driver
from node_oc.discretization.grid import DepthGrid
from node_oc.discretization.step import step
from node_oc.discretization.tableau import EULER, TABLEAUS, Tableau
from node_oc.errors import ConfigError, ShapeError, StoreError
from node_oc.system import SYSTEMS
from node_oc.system.base import System, as_number
from node_oc.system.ode import NeuralODE


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within the block a module is in evaluation mode: no dropout, and nothing counts in running statistics."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


class Network(nn.Module):
    """A residual network: a system, stepped by a table over a depth grid, some of its steps awake.

    An ordinary ``nn.Module``: ``network(x)`` is the output of shape (B, K). A sleeping step has a zero
    branch: it is not computed and hands its state on through its skip.

    Args:
        system: the controlled system.
        grid: step sizes; those of the system by default: h_k = 1 for a residual network.
        table: how a step is taken; Euler by default, the residual network.
        awake: the steps that are computed; all by default.

    Raises:
        ShapeError: a grid of another depth than the system, or an awake step that it does not have.
    """

    def __init__(
        self,
        system: System,
        grid: DepthGrid | None = None,
        table: Tableau = EULER,
        awake: Iterable[int] | None = None,
    ) -> None:
        super().__init__()
        self.system = system
        self.grid = grid or DepthGrid(system.h)
        self.table = table
        if self.grid.depth != system.depth:
            raise ShapeError("depth of the grid", got=self.grid.depth, expected=system.depth, do="Give one h per step.")
        if system.nodes is not None and set(system.nodes) != set(table.c):
            raise ShapeError("nodes of the table", got=f"{table.name}, {sorted(set(table.c))}",
                             expected=f"{list(system.nodes)}: there are controls for these places of a step",
                             do="Use the table that the system was unrolled for.")  # fmt: skip
        if isinstance(system, NeuralODE) and not all(map(math.isclose, self.grid.h, system.h)):
            raise ShapeError("grid", got=f"h = {list(self.grid.h[:4])} ..", expected=f"{list(system.h[:4])} ..",
                             do="Leave it out: the times of a neural ODE are its own.")  # fmt: skip
        self.awake: tuple[int, ...] = ()
        self.set_awake(range(system.depth) if awake is None else awake)

    @property
    def depth(self) -> int:
        """Number of residual steps N, awake or not."""
        return self.system.depth

    @property
    def h(self) -> tuple[float, ...]:
        """h_k in units of time, a trained horizon counted: those of the grid, times the pace of the system."""
        pace = as_number(self.system.pace)
        return self.grid.h if pace == 1 else tuple(pace * h for h in self.grid.h)

    def set_awake(self, steps: Iterable[int]) -> None:
        """Change which steps are computed; the others keep their weights but are passed over."""
        awake = tuple(sorted(set(steps)))
        for k in awake:
            self.system.check_step(k)
        self.awake = awake

    def runs(self, cuts: Collection[int] = ()) -> list[tuple[int, ...]]:
        """The awake steps in runs: within one no skip changes the state, and none of the cuts k falls."""
        runs: list[list[int]] = [[]]
        for k in range(self.depth):
            if k in cuts or not self.system.is_identity(k):
                runs.append([])
            if k in self.awake:
                runs[-1].append(k)
        return [tuple(run) for run in runs if run]

    def advance(self, k: int, x: Tensor, driver: Driver = TIME) -> tuple[Tensor, tuple[Tensor, ...]]:
        """x_k to x_{k+1} and the stage states in between; a sleeping step applies its skip alone."""
        if k in self.awake:
            return step(self.system, self.table, k, x, self.grid.h[k], driver)
        return (x if self.system.is_identity(k) else self.system.skip(k, x)), (x,) * self.table.stages

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (B, features) to outputs (B, K)."""
        network = self.given(x)
        state = network.system.lift(x)
        for k in range(self.depth):
            state, _ = network.advance(k, state)
        return network.system.head(state)

    def given(self, x: Any) -> Network:
        """The network with these inputs at hand, where its branches read them; see :meth:`System.given`."""
        system = self.system.given(x)
        if system is self.system:
            return self
        bound = copy.copy(self)
        bound._modules = {**self._modules, "system": system}
        return bound

    @torch.no_grad()
    def zero_steps(self) -> tuple[int, ...]:
        """Steps whose branch is exactly zero: every entry of the group ``== 0``."""
        groups = [self.system.group(k) for k in range(self.depth)]
        return tuple(k for k, group in enumerate(groups) if group and all(bool((p == 0).all()) for p in group))

    def control_energy(self, steps: Collection[int] | None = None) -> Tensor:
        """Sum over the awake steps of h_k ||u_k||^2, by the table where u varies; sleeping steps have none. Scalar.

        Args:
            steps: layers k to be counted; all if None.
        """
        system, table = self.system, self.table
        nodes = list(zip(table.b, table.c, strict=True)) if system.varies_within_steps else [(1.0, 0.0)]
        parts = [
            self.grid.h[k] * b * p.square().sum()
            for k in self.awake if steps is None or k in steps
            for b, c in nodes if b for p in system.control_at(k, c)
        ]  # fmt: skip
        if not parts:
            return next(self.parameters(), torch.zeros(())).new_zeros(())
        return system.pace * torch.stack(parts).sum()

    def keep(self, steps: Sequence[int]) -> Network:
        """A new network with copies of these steps alone, each with its own h_k."""
        system = self.untied().system.subsystem(steps)
        small = Network(system, DepthGrid(tuple(self.h[k] for k in steps)), self.table)
        small.set_awake(i for i, k in enumerate(steps) if k in self.awake)
        return small

    def untied(self) -> Network:
        """The same network with controls of its own in every step, copies; itself where it has them."""
        if not self.system.tied:
            return self
        system = self.system.untied(sorted(set(self.table.c)))
        return Network(system, DepthGrid(self.h), self.table, self.awake)

    def spec(self) -> dict[str, Any]:
        """JSON-able description from which :meth:`from_spec` builds a network of the same shape."""
        return {
            "system": self.system.spec(),
            "h": list(self.grid.h),
            "table": self.table.name,
            "awake": list(self.awake),
        }

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> Network:
        """A network of the described shape with fresh weights; load a ``state_dict`` into it.

        Raises:
            StoreError: a description that no system of this version understands.
        """
        try:
            fields = dict(spec["system"])
            system = SYSTEMS[fields.pop("kind")](**fields)
            return cls(system, DepthGrid(tuple(spec["h"])), TABLEAUS[spec["table"]], spec["awake"])
        except (KeyError, TypeError, ConfigError, ShapeError) as error:
            raise StoreError(
                "description of a network", got=f"{type(error).__name__}: {error}",
                expected=f"a system of kind {sorted(SYSTEMS)} with its arguments",
                do="The file is damaged, or of another version of node_oc.",
            ) from error  # fmt: skip
