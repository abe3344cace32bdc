"""The residual system that equals a neural ODE on a grid: every step with controls of its own."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from node_oc.errors import ConfigError
from node_oc.system.base import System
from node_oc.system.dense_field import DenseField
from node_oc.system.field import Role, by_role
from node_oc.system.ode.parts import affine, part_from, part_spec
from node_oc.system.ode.vector_field import DenseVectorField, VectorField, field_from


class UnrolledSystem(System):
    """x_{k+1} = x_k + h_k F_k(x_k), F_k the field at time t_k with a control of its own.

    Where the field varies inside a step, the step has a control for every node at which its table asks for it.

    Args:
        steps: for each step k the fields at its nodes.
        times: t_k, beginnings of the steps, in units of time.
        h: step sizes h_k, in units of time.
        nodes: places c of the fields of a step, from 0 to 1; one alone holds for all of the step.
        lift: inputs to states (B, ...).
        head: states to outputs (B, K).
        constrained: whether the fields are kept in their admissible sets; not so once released.

    Raises:
        ConfigError: numbers of fields, times or step sizes that do not agree.
    """

    def __init__(
        self, steps: Sequence[Sequence[VectorField]], *, times: Sequence[float], h: Sequence[float],
        nodes: Sequence[float] = (0.0,), lift: nn.Module, head: nn.Module, constrained: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if not len(times) == len(h) == len(steps) or any(len(fields) != len(nodes) for fields in steps):
            raise ConfigError("unrolled system", got=f"{len(steps)} steps, {len(times)} times, {len(h)} step sizes",
                              expected=f"one of each a step, {len(nodes)} fields in it", do="Count them.")  # fmt: skip
        self.times, self._h, self._nodes = tuple(times), tuple(h), tuple(nodes)
        self.lifting, self.reading = lift, head
        self.steps = nn.ModuleList(nn.ModuleList(fields) for fields in steps)
        self._field = steps[0][0].spec() if steps else None
        self.constrained = constrained
        self.constrain_()

    @property
    def depth(self) -> int:
        return len(self.steps)

    @property
    def h(self) -> tuple[float, ...]:
        return self._h

    @property
    def nodes(self) -> tuple[float, ...] | None:
        return self._nodes if self.varies_within_steps else None

    def _fields(self, k: int) -> list[VectorField]:
        return cast("list[VectorField]", list(cast(nn.ModuleList, self.steps[k])))

    @property
    def varies_within_steps(self) -> bool:
        return len(self._nodes) > 1

    @property
    def by_hand(self) -> bool:
        return super().by_hand and not self.varies_within_steps and all(
            type(field) is DenseVectorField and not field.timed for k in range(self.depth) for field in self._fields(k)
        )  # fmt: skip

    def field(self, steps: Sequence[int], stages: int, roles: Sequence[Role] | None = None) -> DenseField:
        first = cast(DenseVectorField, self._fields(steps[0])[0])
        return DenseField(roles or by_role([self.control(k) for k in steps]), stages, first.activation)

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
        field = self._fields(k)[self._node(c)]
        inside = float(c) * self._h[k] if self.varies_within_steps else 0.0
        return field(*field.at(self.times[k] + inside, x))

    def control_at(self, k: int, c: float | Tensor) -> list[nn.Parameter]:
        self.check_step(k)
        return list(self._fields(k)[self._node(c)].parameters())

    def _node(self, c: float | Tensor) -> int:
        if not self.varies_within_steps:
            return 0
        if isinstance(c, Tensor) or c not in self._nodes:
            raise ConfigError("node of a step", got=c, expected=f"one of {self._nodes}",
                              do="Step it with the table that it was unrolled for.")  # fmt: skip
        return self._nodes.index(c)

    def group(self, k: int) -> list[nn.Parameter]:
        self.check_step(k)
        return [field.get_parameter(name) for field in self._fields(k) for name in field.group_names]

    def control(self, k: int) -> list[nn.Parameter]:
        self.check_step(k)
        return list(self.steps[k].parameters())

    def affine_readout(self) -> tuple[Tensor, Tensor]:
        anchor = next(self.parameters(), torch.empty(0))
        return tuple(part.to(anchor) for part in affine(self.reading))  # type: ignore[return-value]

    def constrain_(self) -> None:
        if self.constrained:
            for k in range(self.depth):
                for field in self._fields(k):
                    field.constrain_()

    def release_(self) -> None:
        self.constrained = False

    def subsystem(self, steps: Sequence[int]) -> UnrolledSystem:
        for k in steps:
            self.check_step(k)
        return self._of([copy.deepcopy(self._fields(k)) for k in steps], [self.times[k] for k in steps],
                        [self._h[k] for k in steps])  # fmt: skip

    def insert(self, places: Sequence[int], generator: torch.Generator) -> UnrolledSystem:
        steps = [copy.deepcopy(self._fields(k)) for k in range(self.depth)]
        times, h = list(self.times), list(self._h)
        for p in sorted(places, reverse=True):
            fresh = copy.deepcopy(self._fields(min(p, self.depth - 1)))
            for field in fresh:
                field.reset_(generator)
            near = min(p, self.depth - 1)
            steps.insert(p, fresh)
            times.insert(p, self.times[near])
            h.insert(p, self._h[max(p - 1, 0)])
        return self._of(steps, times, h)

    def halved(self, steps: Collection[int]) -> UnrolledSystem:
        """A new system in which each of these steps is two of half its size, at times of their own.

        One control a step is copied. Of several, the halves take the values of the polynomial through them. A table of
        order p with s distinct nodes keeps its order by that if p <= s + 1, and every table here does: the polynomial
        errs by w(c) v with w(c) = prod_j (c - c_j) and |v| = O(h^s), the step by h (v int w dc + O(h^{s+1})), and
        int w dc = 0 where p > s, as the nodes are then those of a quadrature exact in degree s (our derivation).
        Nothing is taken from other steps, since a control may jump between two.

        Args:
            steps: layers k.
        """
        fields: list[list[VectorField]] = []
        times, h = [], []
        for k in range(self.depth):
            for half in (0.0, 0.5) if k in steps else (None,):
                size = 1.0 if half is None else 0.5
                start = half or 0.0
                fields.append([self._interpolated(k, start + size * c) for c in self._nodes])
                times.append(self.times[k] + start * self._h[k])
                h.append(size * self._h[k])
        return self._of(fields, times, h)

    @torch.no_grad()
    def _interpolated(self, k: int, c: float) -> VectorField:
        """A field with parameters of its own: the polynomial in c through those of step k, exact at its nodes."""
        known = self._fields(k)
        made = copy.deepcopy(known[0])
        weights = [
            math.prod((c - other) / (node - other) for other in self._nodes if other != node) for node in self._nodes
        ]
        for p, *values in zip(made.parameters(), *(field.parameters() for field in known), strict=True):
            p.copy_(sum(weight * value for weight, value in zip(weights, values, strict=True) if weight))
        return made

    def _of(self, steps: list[list[VectorField]], times: Sequence[float], h: Sequence[float]) -> UnrolledSystem:
        other = UnrolledSystem(steps, times=times, h=h, nodes=self._nodes, lift=copy.deepcopy(self.lifting),
                               head=copy.deepcopy(self.reading), constrained=self.constrained)  # fmt: skip
        other._field = self._field
        return other

    def spec(self) -> dict[str, Any]:
        return {
            "kind": "unrolled", "field": self._field, "times": list(self.times), "h": list(self._h),
            "nodes": list(self._nodes), "lift": part_spec(self.lifting), "head": part_spec(self.reading),
            "constrained": self.constrained,
        }  # fmt: skip


def unrolled_from(
    field: dict[str, Any] | None, times: Sequence[float], h: Sequence[float], nodes: Sequence[float],
    lift: dict[str, Any], head: dict[str, Any], constrained: bool,
) -> UnrolledSystem:  # fmt: skip
    """The unrolled system of a description, with fresh weights."""
    steps = [[field_from(field) for _ in nodes] for _ in times] if field else []
    system = UnrolledSystem(steps, times=times, h=h, nodes=nodes, lift=part_from(lift), head=part_from(head),
                            constrained=constrained)  # fmt: skip
    system._field = field
    return system
