"""The parts of a Transformer: its lift, and the two kinds of branch.

A state is (B, L, D), one vector a token. Padding is a vector of zeros, which branches keep at zero: so the mask is part
of the state, any subset of a batch has its own, and a state alone says what the next one is (our decision).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from node_oc.errors import DataError, ShapeError
from node_oc.system.field import ACTIVATIONS, Activation
from node_oc.system.transformer.tokens import Tokens

Kind = Literal["attention", "mlp"]


def real(x: Tensor) -> Tensor:
    """Which tokens of a state (.., L, D) are no padding, (.., L)."""
    return (x != 0).any(-1)


class Lift(nn.Module):
    """A learnt map of each token, plus a learnt vector for each place; zeros where a token is padding."""

    def __init__(self, tokens: Tokens, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.tokens = tokens
        if tokens.vocabulary is None:
            weight = torch.randn(width, tokens.size, generator=generator) / math.sqrt(tokens.size)
        else:
            weight = torch.randn(tokens.vocabulary, width, generator=generator)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(width)) if tokens.vocabulary is None else None
        self.positions = nn.Parameter(0.5 * torch.randn(tokens.length, width, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        """Inputs to states (B, L, D)."""
        tokens, mask = self.tokens.split(x)
        length = tokens.shape[1]
        if length > len(self.positions):
            raise ShapeError("tokens of a sample", got=length, expected=f"at most {len(self.positions)}",
                             do="Shorten the sequences, or make a system of another length.")  # fmt: skip
        if mask is not None:
            if not torch.compiler.is_compiling() and not bool(mask.any(1).all()):
                rows = (~mask.any(1)).nonzero().flatten().tolist()
                raise DataError("samples", got=f"nothing but padding in row {rows[0]}" + ", .." * (len(rows) > 1),
                                expected="at least one token", do="Leave these rows out.")  # fmt: skip
            tokens = tokens if self.bias is None else tokens.masked_fill(~mask[..., None], 0.0)
        state = F.embedding(tokens, self.weight) if self.bias is None else F.linear(tokens, self.weight, self.bias)
        state = state + self.positions[:length]
        return state if mask is None else state.masked_fill(~mask[..., None], 0.0)

    @torch.no_grad()
    def constrain_(self, norm: float) -> None:
        """Rows of the map of that norm, or ids of as large entries: see :class:`TransformerSystem`."""
        size = norm * math.sqrt(self.weight.shape[1]) if self.bias is None else norm
        scale_(self.weight, size)


class Attention(nn.Module):
    """F(x) = W_out attention(W_q n, W_k n, W_v n) + b_out, n = norm(x); the group of the step is (W_out, b_out)."""

    kind: Kind = "attention"

    def __init__(self, width: int, heads: int, padded: bool, generator: torch.Generator) -> None:
        super().__init__()
        self.heads, self.padded = heads, padded
        self.inner = nn.utils.skip_init(nn.Linear, width, 3 * width, bias=False)
        self.outer = nn.utils.skip_init(nn.Linear, width, width)
        with torch.no_grad():
            self.inner.weight.copy_(torch.randn(3 * width, width, generator=generator) / math.sqrt(width))
            self.outer.weight.copy_(torch.randn(width, width, generator=generator) * (0.1 / math.sqrt(width)))
            self.outer.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        seen = mask = real(x) if self.padded else None
        if mask is not None:  # of nothing but padding, which a compiled graph may meet, all: no NaN comes of it
            seen = (mask | ~mask.any(-1, keepdim=True))[..., None, None, :]
        parts = self.inner(F.layer_norm(x, x.shape[-1:])).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.movedim(-3, 0).transpose(-3, -2)
        mixed = F.scaled_dot_product_attention(query, key, value, seen)
        added = self.outer(mixed.transpose(-3, -2).flatten(-2))
        return added if mask is None else added.masked_fill(~mask[..., None], 0.0)

    @property
    def rows(self) -> Tensor:
        """Whose norms are fixed: W_v."""
        return self.inner.weight[-self.inner.in_features :]


class MLP(nn.Module):
    """F(x) = W_out act(W_in norm(x) + b_in) + b_out, of every token; the group of the step is (W_out, b_out)."""

    kind: Kind = "mlp"

    def __init__(
        self, width: int, hidden: int, activation: Activation, padded: bool, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.activation, self.padded = activation, padded
        self.inner = nn.utils.skip_init(nn.Linear, width, hidden)
        self.outer = nn.utils.skip_init(nn.Linear, hidden, width)
        with torch.no_grad():
            self.inner.weight.copy_(torch.randn(hidden, width, generator=generator) / math.sqrt(width))
            self.inner.bias.copy_(torch.rand(hidden, generator=generator).mul_(2).sub_(1))
            self.outer.weight.copy_(torch.randn(width, hidden, generator=generator) * (0.1 / math.sqrt(width)))
            self.outer.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        added = self.outer(ACTIVATIONS[self.activation](self.inner(F.layer_norm(x, x.shape[-1:]))))
        return added.masked_fill(~real(x)[..., None], 0.0) if self.padded else added

    @property
    def rows(self) -> Tensor:
        """Whose norms are fixed: W_in."""
        return self.inner.weight


def scale_(rows: Tensor, norm: float) -> None:
    """Give rows (.., n) that norm, in place."""
    rows.div_(rows.norm(dim=-1, keepdim=True).clamp_min_(1e-12).div_(norm))
