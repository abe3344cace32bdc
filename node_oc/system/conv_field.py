"""Derivatives by hand of the convolutional branch F(x) = W_out * act(W_in * act(x) + b_in) + b_out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from node_oc.system.field import NONLINEARITIES, Activation, Field, Role


class ConvField(Field):
    """Convolutional branches of n steps of one width, 3x3 kernels.

    Args:
        roles: W_in (C, C, 3, 3), b_in (C,), W_out and b_out likewise, of each step.
        stages: evaluations of each step.
        activation: as in :class:`node_oc.ConvSystem`.

    ``kept`` holds one tensor (B, C, H, W) an evaluation: act(W_in * act(x) + b_in), or its argument where the
    derivative needs that. act(x) is computed again on the way back: it is cheaper than to keep it.
    """

    def __init__(self, roles: Sequence[Role], stages: int, activation: Activation) -> None:
        super().__init__(roles, stages)
        self.act = NONLINEARITIES[activation]
        self.inner, self.inner_bias, self.outer, self.outer_bias = (role.rows for role in roles)

    def value(self, e: int, x: Tensor) -> Tensor:
        j = e // self.stages
        z = F.conv2d(self.act.value(x), self.inner[j], self.inner_bias[j], padding=1)
        a, kept = self.act.keep(z)
        self.kept.append(kept)
        return F.conv2d(a, self.outer[j], self.outer_bias[j], padding=1)

    def pull(self, e: int, x: Tensor, g: Tensor, into: Tensor | None) -> None:
        j, kept = e // self.stages, self.kept[e]
        if e == self.steps * self.stages - 1:
            self._gradients: list[list[Tensor]] = [[] for _ in self.roles]
        dz, *outer = _convolution_backward(g, self.act.value_of(kept), self.outer[j])
        self.act.pull_(dz, kept)
        a = self.act.value(x)
        dx, *inner = _convolution_backward(dz, a, self.inner[j], into is not None)
        if into is not None:
            self.act.pull_(dx, a if self.act.value_ else x)
            into.add_(dx)
        for role, gradient in zip(self._gradients, (*inner, *outer), strict=True):
            if (e + 1) % self.stages:  # a later stage of the same step has been here
                role[-1].add_(gradient)
            else:
                role.append(gradient)

    def gradients(self, x: Tensor, g: Tensor) -> list[list[Tensor]]:
        gradients, self._gradients = self._gradients, []
        return [role[::-1] for role in gradients]


def _convolution_backward(g: Tensor, x: Tensor, weight: Tensor, wants_x: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Cotangents of the input, the weight and the bias of a 3x3 convolution."""
    return torch.ops.aten.convolution_backward(
        g, x, weight, [len(weight)], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [wants_x, True, True]
    )
