"""Derivatives by hand of the dense branch F(x) = W_out act(W_in x + b_in) + b_out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from node_oc.system.field import NONLINEARITIES, Activation, Field, Role


class DenseField(Field):
    """Dense branches of n steps.

    The gradients of all weights are batched products over the steps: an eighth of the time of one product a step where
    layers are narrow, and no slower where they are wide.

    Args:
        roles: W_in (H, D), b_in (H,), W_out (D, H), b_out (D,) of each step.
        stages: evaluations of each step.
        activation: as in :class:`node_oc.DenseSystem`.

    ``kept`` holds one tensor (ns, B, H): act(W_in x + b_in), or its argument where the derivative needs that.
    """

    def __init__(self, roles: Sequence[Role], stages: int, activation: Activation) -> None:
        super().__init__(roles, stages)
        self.act = NONLINEARITIES[activation]
        self.inner, self.inner_bias, self.outer, self.outer_bias = (role.rows for role in roles)
        self._rows: Sequence[Tensor] = ()

    def value(self, e: int, x: Tensor) -> Tensor:
        j = e // self.stages
        if e == 0:
            self.kept = [x.new_empty(self.steps * self.stages, len(x), len(self.inner_bias[0]))]
            self._rows = self.kept[0].unbind()
        a, _ = self.act.keep(torch.addmm(self.inner_bias[j], x, self.inner[j].t(), out=self._rows[e]))
        if e == len(self._rows) - 1:
            self._rows = ()  # who holds the field then holds no states
        return torch.addmm(self.outer_bias[j], a, self.outer[j].t())

    def pull(self, e: int, x: Tensor, g: Tensor, into: Tensor | None) -> None:
        j = e // self.stages
        if not self._rows:
            self._rows, self._inner = self.kept[0].unbind(), torch.empty_like(self.kept[0])
            self._pulled = self._inner.unbind()
        dz = torch.mm(g, self.outer[j], out=self._pulled[e])
        self.act.pull_(dz, self._rows[e])
        if into is not None:
            into.addmm_(dz, self.inner[j])
        if e == 0:
            self._rows = self._pulled = ()

    def gradients(self, x: Tensor, g: Tensor) -> list[Tensor]:
        a, dz = self.act.value_of(self.kept[0]), self._inner
        del self._inner
        x, g, a, dz = (t.reshape(self.steps, -1, t.shape[-1]) for t in (x, g, a, dz))
        return [torch.bmm(dz.mT, x), dz.sum(1), torch.bmm(g.mT, a), g.sum(1)]
