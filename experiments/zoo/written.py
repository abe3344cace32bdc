"""Three residual networks written by hand, as users write them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ResidualMLP(nn.Module):
    """Pre-norm blocks of different shapes: an addition in place, a layer scale, a bottleneck."""

    def __init__(self, inputs: int = 6, outputs: int = 3, depth: int = 5, width: int = 8) -> None:
        super().__init__()
        self.lift, self.head = nn.Linear(inputs, width), nn.Linear(width, outputs)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))
            for inner in range(4, 4 + depth)
        )
        self.scales = nn.ParameterList(torch.full((width,), 0.5) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x)
        for block, scale in zip(self.blocks, self.scales):
            x += scale * block(x)
        return self.head(torch.tanh(x))


class PreNormTransformer(nn.Module):
    """torch's own encoder layers, norm first, with dropout and a causal mask; a language head on the final norm."""

    def __init__(self, vocabulary: int = 50, length: int = 16, width: int = 16, depth: int = 3) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 2 * width, batch_first=True, norm_first=True) for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, ids: Tensor) -> Tensor:
        length = ids.shape[1]
        x = self.tokens(ids) + self.places(torch.arange(length, device=ids.device))
        later = torch.ones(length, length, dtype=torch.bool, device=ids.device).triu(1)
        for layer in self.layers:
            x = layer(x, src_mask=later)
        return self.head(self.norm(x))


class SharedLoop(nn.Module):
    """One block, applied several times in a Python loop: every step has the same weights."""

    def __init__(self, inputs: int = 6, outputs: int = 3, depth: int = 4, width: int = 8) -> None:
        super().__init__()
        self.lift, self.head, self.depth = nn.Linear(inputs, width), nn.Linear(width, outputs), depth
        self.norm, self.inner, self.outer = nn.LayerNorm(width), nn.Linear(width, 16), nn.Linear(16, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x)
        for _ in range(self.depth):
            x = x + self.outer(F.gelu(self.inner(self.norm(x))))
        return self.head(x)
