"""Noise for some rows of many: a row has the same draws, whatever rows are computed beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from node_oc.discretization.driver import Diffusion, Driver
from node_oc.discretization.noise import Noise, Source
from node_oc.seeds import derived_seed
from node_oc.system.base import System

BLOCK = 256  # rows that are drawn together


@dataclass(frozen=True)
class RowNoise(Driver):
    """A noise whose draws belong to the number of a row, so that many rows can be taken in chunks of any size.

    Rows are drawn in whole blocks of 256, each from a seed of its own; so the work grows with the rows, and more rows
    behind change nothing either.

    Attributes:
        noise: without draws.
        seed: of all rows, layers and stages.
        first: number of the first row of a state.
        mirrored: whether these are the antithetic draws.
    """

    noise: Noise
    seed: int
    first: int = 0
    mirrored: bool = False

    @property
    def diffusion(self) -> Diffusion:
        return self.noise.diffusion

    def on(self, system: System) -> RowNoise:
        return replace(self, noise=self.noise.on(system))

    def increment(self, k: int, stage: int, h: float | Tensor, x: Tensor) -> float | Tensor:
        parts = []
        end = self.first + len(x)
        for block in range(self.first // BLOCK, max(self.first // BLOCK + 1, -(-end // BLOCK))):  # none of no rows
            start = block * BLOCK
            source = Source(derived_seed(self.seed, "rows", block), self.mirrored, (0, 1, BLOCK))
            drawn = replace(self.noise, source=source).increment(k, stage, h, x)
            if not isinstance(drawn, Tensor) or drawn.dim() == 0:
                return drawn  # a step without noise
            parts.append(drawn[max(0, self.first - start) : end - start])
        return torch.cat(parts)
