"""Does a discretisation keep the equilibria of its field? By proof from the table, or by test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from node_oc.diagnosis.fixed_points import field_at_nodes, prepared
from node_oc.diagnosis.roots import roots
from node_oc.discretization.grid import DepthGrid
from node_oc.discretization.step import step
from node_oc.discretization.tableau import Tableau
from node_oc.errors import ConfigError
from node_oc.system.base import System, as_number


@dataclass(frozen=True)
class Preservation:
    """Whether F_k(x) = 0 gives step(x) = x.

    Attributes:
        preserved: the verdict; None where a test found no equilibrium to look at.
        by: "table", a proof for every field, or "test", of the equilibria that were found.
        residual: the largest ||step(x) - x|| / h_k over these, in units of the state per unit of time; 0 by proof,
            None where there is no number.
        field: the largest ||F(x)|| at the nodes of the table over these; 0 by proof, None where there is no number.
        equilibria: how many were looked at; 0 by proof.
        sentence: the verdict in words.
    """

    preserved: bool | None
    by: Literal["table", "test"]
    residual: float | None
    field: float | None
    equilibria: int
    sentence: str


def resting_stages(a: Sequence[Sequence[float]]) -> tuple[int, ...]:
    """The stages that are shown to stay at x where F(x) = 0, by following the rows of a table.

    Stage i is X_i = x + h sum_j a_ij F(X_j). If every stage j with a_ij != 0 is known to be x, then X_i = x + 0 = x.
    That is applied until nothing new is learnt (our derivation). A strictly lower triangular table shows all of its
    stages, the first by its empty row; a row that needs itself or a later one (an implicit method) shows nothing: there
    x solves the equations of the stages, but need not be what a solver returns.

    Args:
        a: rows a_ij, of any length up to the number of stages.
    """
    known: set[int] = set()
    while True:
        new = {i for i, row in enumerate(a) if i not in known and all(j in known for j, w in enumerate(row) if w)}
        if not new:
            return tuple(sorted(known))
        known |= new


def preserves_equilibria(
    table: Tableau, system: System | None = None, starts: torch.Tensor | None = None, *,
    grid: DepthGrid | None = None, steps: Iterable[int] | None = None, tolerance: float = 1e-5,
) -> Preservation:  # fmt: skip
    """Whether equilibria of the field are fixed points of the step: F_k(x) = 0 gives step(x) = x.

    Where the control is constant over a step, by proof from the table, for every field and every h: see
    :func:`resting_stages`; the step adds sum_i b_i F(X_i) = 0. Where the control varies within a step, by test: the
    equilibria of the field at the beginning of each step are searched, and a step is taken from them. It stays only
    where F(x, u(t)) = 0 at all stages (our derivation).

    Args:
        table: how a step is taken.
        system: the controlled system; a control that is constant over a step if None.
        starts: states (n, ...) from which equilibria are searched, where the control varies within a step.
        grid: step sizes; those of the system if None.
        steps: layers k to test; every one with an identity skip if None.
        tolerance: absolute; a residual up to it is zero.

    Raises:
        ConfigError: a control that varies within a step, and no starts.
        ShapeError: a step that does not exist, or whose skip is not the identity.
    """
    if system is None or not system.varies_within_steps:
        return _by_table(table)
    if starts is None:
        raise ConfigError("starts", got="none, for a control that varies within a step", expected="states (n, ...)",
                          do="Give states near which equilibria may lie, as those of a rollout.")  # fmt: skip
    grid = grid or DepthGrid(system.h)
    chosen = [k for k in range(system.depth) if system.is_identity(k)] if steps is None else list(steps)
    found, residual, field, worst = 0, 0.0, 0.0, -1
    for k in chosen:
        exact, states = prepared(system, k, starts)
        shape = states.shape[1:]

        def begin(x: torch.Tensor, k: int = k, exact: System = exact, shape: torch.Size = shape) -> torch.Tensor:
            return exact.branch_at(k, 0.0, x.unflatten(1, shape)).flatten(1)

        rest = roots(begin, states.flatten(1), tolerance).unflatten(1, shape)
        found += len(rest)
        if not len(rest):
            continue
        with torch.no_grad():
            moved = (step(exact, table, k, rest, grid.h[k])[0] - rest).flatten(1).norm(dim=1)
            moved = moved / (as_number(exact.pace) * grid.h[k])
        if worst < 0 or float(moved.max()) > residual:
            residual, worst = float(moved.max()), k
        field = max(field, float(field_at_nodes(exact, table, k, rest).max()))
    return _by_test(table, found, residual, field, worst, tolerance)


def _by_table(table: Tableau) -> Preservation:
    rest = resting_stages(table.a)
    used = {j for row in (*table.a, table.b) for j, weight in enumerate(row) if weight}
    open_ = sorted(used - set(rest))
    if open_:
        told = (f"Not proven: stages {', '.join(map(str, open_))} of {table.name} need themselves or later ones, so "
                "that a stage may leave an equilibrium.")  # fmt: skip
        return Preservation(False, "table", None, None, 0, told)
    told = (f"Preserved, by the table: where F(x) = 0, every stage of {table.name} is x, one after the other, and so "
            "is the step: for every h and every field, with a control that is constant over a step.")  # fmt: skip
    return Preservation(True, "table", 0.0, 0.0, 0, told)


def _by_test(
    table: Tableau, found: int, residual: float, field: float, worst: int, tolerance: float
) -> Preservation:  # fmt: skip
    if not found:
        told = "Not answered: the control varies within a step, and no equilibrium was found from these starts."
        return Preservation(None, "test", None, None, 0, told)
    many = f"{found} equilibri{'a' if found > 1 else 'um'} of the field at the beginning of a step"
    if residual <= tolerance:
        also = "vanishes at every node" if field <= tolerance else f"is up to {field:.3g} at a node, and cancels"
        told = f"Preserved, by test: {table.name} stays at {many}, to {residual:.1e}; the field {also}."
        return Preservation(True, "test", residual, field, found, told)
    told = (
        f"Not preserved, by test: from {many} {table.name} moves by up to {residual:.3g} a unit of time, most in "
        f"step {worst}: the control varies within it, and the field is up to {field:.3g} at a later node."
    )
    return Preservation(False, "test", residual, field, found, told)
