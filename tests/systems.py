"""Small systems with known answers, shared by the tests."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from node_oc.errors import ShapeError
from node_oc.system import DenseSystem, System, TokenVectors, TransformerSystem


class Field(System):
    """x' = u_k f(x) with one number u_k a step; the state is the padded input, and the readout is the state."""

    def __init__(self, f: Callable[[Tensor], Tensor], depth: int, size: int = 1) -> None:
        super().__init__()
        self.f, self.size = f, size
        self.u = nn.ParameterList(nn.Parameter(torch.ones(())) for _ in range(depth))

    @property
    def depth(self) -> int:
        return len(self.u)

    def lift(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, self.size - x.shape[-1]))

    def branch(self, k: int, x: Tensor) -> Tensor:
        return self.u[k] * self.f(x)

    def skip(self, k: int, x: Tensor) -> Tensor:
        return x

    def is_identity(self, k: int) -> bool:
        return True

    def head(self, x: Tensor) -> Tensor:
        return x

    def group(self, k: int) -> list[nn.Parameter]:
        self.check_step(k)
        return [self.u[k]]

    def control(self, k: int) -> list[nn.Parameter]:
        return self.group(k)

    def affine_readout(self) -> tuple[Tensor, Tensor]:
        return torch.eye(self.size, dtype=self.u[0].dtype), torch.zeros(self.size, dtype=self.u[0].dtype)

    def constrain_(self) -> None:
        pass

    def release_(self) -> None:
        pass

    def subsystem(self, steps: Sequence[int]) -> Field:
        small = Field(self.f, len(steps), self.size)
        for u, k in zip(small.u, steps, strict=True):
            u.data = self.u[k].detach().clone()
        return small

    def insert(self, places: Sequence[int], generator: torch.Generator) -> Field:
        old: list[nn.Parameter | None] = list(self.u)
        for p in sorted(places, reverse=True):
            old.insert(p, None)
        large = Field(self.f, len(old), self.size)
        for u, known in zip(large.u, old, strict=True):
            u.data = torch.randn((), generator=generator) if known is None else known.detach().clone()
        return large.to(self.u[0].dtype)

    def spec(self) -> dict[str, Any]:
        return {"kind": "field"}


def decay(depth: int, size: int = 1) -> Field:
    """x' = -x, in float64: x(t) = x(0) exp(-t)."""
    return Field(torch.neg, depth, size).double()


class Projecting(System):
    """Skips that are projections tanh(x A) where the width changes: the readout is not affine in the state."""

    def __init__(self, widths: Sequence[int], outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.widths, self.outputs = tuple(widths), outputs

        def weight(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator) / shape[0] ** 0.5)

        pairs = list(itertools.pairwise(widths))
        self.u = nn.ParameterList(weight(a, b) for a, b in pairs)
        self.projections = nn.ParameterDict({str(k): weight(a, b) for k, (a, b) in enumerate(pairs) if a != b})
        self.reading = weight(widths[-1], outputs)

    @property
    def depth(self) -> int:
        return len(self.u)

    def lift(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, self.widths[0] - x.shape[-1]))

    def branch(self, k: int, x: Tensor) -> Tensor:
        return torch.sin(x) @ self.u[k]

    def skip(self, k: int, x: Tensor) -> Tensor:
        return x if self.is_identity(k) else torch.tanh(x @ self.projections[str(k)])

    def is_identity(self, k: int) -> bool:
        return str(k) not in self.projections

    def head(self, x: Tensor) -> Tensor:
        return x @ self.reading

    def group(self, k: int) -> list[nn.Parameter]:
        self.check_step(k)
        return [self.u[k]]

    def control(self, k: int) -> list[nn.Parameter]:
        return self.group(k)

    def affine_readout(self) -> tuple[Tensor, Tensor]:
        raise ShapeError("readout", got="projecting skips", expected="an affine readout", do="Use the logit distance.")

    def constrain_(self) -> None:
        pass

    def release_(self) -> None:
        pass

    def subsystem(self, steps: Sequence[int]) -> Projecting:
        raise NotImplementedError("only whole stages of it could be dropped")

    def insert(self, places: Sequence[int], generator: torch.Generator) -> Projecting:
        old: list[int | None] = list(range(self.depth))
        widths = list(self.widths)
        for p in sorted(places, reverse=True):
            old.insert(p, None)
            widths.insert(p, self.widths[p])
        large = Projecting(widths, self.outputs, generator).to(self.reading.dtype)
        large.reading.data = self.reading.detach().clone()
        for k, known in enumerate(old):
            if known is not None:
                large.u[k].data = self.u[known].detach().clone()
                if not self.is_identity(known):
                    large.projections[str(k)].data = self.projections[str(known)].detach().clone()
        return large

    def spec(self) -> dict[str, Any]:
        return {"kind": "projecting"}


class Padded(TransformerSystem):
    """A Transformer on sequences made of two numbers (a, b): a; padding, or b where it is positive; padding."""

    def __init__(self, outputs: int, steps: Any, generator: torch.Generator | None = None, **sizes: Any) -> None:
        sizes = {"width": 4, "heads": 2, "hidden": 5, "row_norm": 0.0, **sizes}
        super().__init__(TokenVectors(1, 3), outputs, steps=steps, generator=generator, **sizes)

    def lift(self, x: Tensor) -> Tensor:
        nothing = torch.full_like(x[:, :1], math.nan)
        return super().lift(torch.cat([x[:, :1], torch.where(x[:, 1:] > 0, x[:, 1:], nothing), nothing], 1)[..., None])

    def spec(self) -> dict[str, Any]:
        return {"kind": "padded"}

    def _with(self, steps: Any) -> Padded:
        other = Padded(self._sizes["outputs"], 0)
        other.lifting, other.reading = copy.deepcopy(self.lifting), copy.deepcopy(self.reading)
        other.steps = nn.ModuleList(steps)
        return other


def randn(*shape: int, seed: int = 0) -> Tensor:
    """The same normal numbers every time, in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@torch.no_grad()
def zero_(system: System, *steps: int) -> None:
    """Make the groups of these steps exactly zero."""
    for k in steps:
        for p in system.group(k):
            p.zero_()


@torch.no_grad()
def stir_(module: nn.Module, size: float = 0.3, seed: int = 0) -> None:
    """Add noise to every weight: a start with zero biases hides mistakes."""
    for i, p in enumerate(module.parameters()):
        p.add_(size * randn(*p.shape, seed=seed + 1000 * i).to(p))


def linear(*matrices: Tensor, offset: float = 0.0) -> DenseSystem:
    """x' = A_k x + offset, one matrix (D, D) a step, in float64: a dense system with branches of its own.

    The state is the input, and the readout is the state.
    """
    size = len(matrices[0])
    system = DenseSystem(size, size, depth=0, width=size, lift="pad", head="coordinates", row_norm=0.0)
    for matrix in matrices:
        layer = nn.Linear(size, size, dtype=torch.float64)
        layer.weight.data.copy_(matrix)
        layer.bias.data.fill_(offset)
        system.steps.append(layer)
    return system
