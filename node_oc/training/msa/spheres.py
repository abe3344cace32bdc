"""Rows of fixed norm: L-BFGS moves freely, and what it is told is the projected point."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from node_oc.system.base import System

Tangent = Callable[[Sequence[Tensor]], list[Tensor]]


@torch.no_grad()
def held_rows(system: System) -> dict[int, int]:
    """Which parameters have rows of fixed norm: id -> d, a row being what stands behind the first d axes.

    Tried out on the constraint itself: the norms that come back after random factors on all entries are held.

    Args:
        system: whose ``constrain_`` counts; it is not changed.
    """
    before = [p.clone() for p in system.parameters()]
    system.constrain_()
    inside = [p.clone() for p in system.parameters()]
    generator = torch.Generator().manual_seed(0)
    for p in system.parameters():
        p.mul_(1 + torch.rand(p.shape, generator=generator).to(p))
    system.constrain_()
    held = {}
    for p, at in zip(system.parameters(), inside, strict=True):
        fits = [d for d in range(1, p.dim()) if torch.allclose(_norms(p, d), _norms(at, d), rtol=1e-4)]
        if fits and not torch.equal(p, at):
            held[id(p)] = max(fits)
    for p, old in zip(system.parameters(), before, strict=True):
        p.copy_(old)
    return held


class Spheres:
    """The admissible set of some parameters: rows whose norm stays what it was.

    Args:
        axes: of each parameter, how many axes count its rows; None where it is free.
        values: of the parameters, in the set.
    """

    def __init__(self, axes: Sequence[int | None], values: Sequence[Tensor]) -> None:
        self.axes = axes
        self.norms = [None if d is None else _norms(v, d) for d, v in zip(axes, values, strict=True)]

    @contextmanager
    def projected(self, parameters: Sequence[Tensor]) -> Iterator[Tangent]:
        """Within the block the parameters are their projections u = r v / |v|; yields gradients in u to those in v."""
        free = [p.detach().clone() for p in parameters]
        factors: list[Tensor | None] = []
        with torch.no_grad():
            for p, d, r in zip(parameters, self.axes, self.norms, strict=True):
                factors.append(None if d is None or r is None else r / _norms(p, d).clamp_min(1e-12))
                if factors[-1] is not None:
                    p.mul_(factors[-1])

        def tangent(slopes: Sequence[Tensor]) -> list[Tensor]:
            moved = []
            for p, slope, d, r, factor in zip(parameters, slopes, self.axes, self.norms, factors, strict=True):
                if d is not None and r is not None and factor is not None:
                    along = (slope * p.detach()).flatten(d).sum(-1).reshape(r.shape) / r.square().clamp_min(1e-24)
                    slope = factor * (slope - along * p.detach())
                moved.append(slope)
            return moved

        try:
            yield tangent
        finally:
            with torch.no_grad():
                for p, old in zip(parameters, free, strict=True):
                    p.copy_(old)


def _norms(p: Tensor, d: int) -> Tensor:
    """Of the rows behind the first d axes, with those axes' shape and ones behind."""
    return p.detach().flatten(d).norm(dim=-1).reshape(*p.shape[:d], *(1,) * (p.dim() - d))
