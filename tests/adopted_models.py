"""Residual networks written by hand, as users write them: what the tests adopt."""

from __future__ import annotations

import copy
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import node_oc as oc


class Block(nn.Module):
    """Pre-norm MLP branch with a layer scale."""

    def __init__(self, width: int, scale: bool) -> None:
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(width), nn.Linear(width, 2 * width)
        self.outer = nn.Linear(2 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.5)) if scale else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.outer(F.gelu(self.inner(self.norm(x))))
        return y if self.scale is None else self.scale * y


class ResidualMLP(nn.Module):
    """Lift, pre-norm blocks, final norm, head; an addition in place, dropout in the branch."""

    def __init__(self, inputs: int = 2, outputs: int = 3, depth: int = 4, width: int = 5, drop: float = 0.0) -> None:
        super().__init__()
        self.lift = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(Block(width, scale=k % 2 == 1) for k in range(depth))
        self.drop, self.norm, self.head = nn.Dropout(drop), nn.LayerNorm(width), nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x)
        for block in self.blocks:
            x += self.drop(block(x))
        return self.head(self.norm(x))


class PostBlock(nn.Module):
    """conv-bn-relu-conv-bn, then the sum, then a ReLU, as torchvision's BasicBlock; here with linear maps."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inner, self.bn1 = nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs)
        self.outer, self.bn2 = nn.Linear(outputs, outputs, bias=False), nn.BatchNorm1d(outputs)
        self.down = nn.Identity()
        if inputs != outputs:
            self.down = nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.outer(self.relu(self.bn1(self.inner(x)))))
        out += self.down(x)
        return self.relu(out)


class PostActivation(nn.Module):
    """Two stages of such blocks with a projection between them."""

    def __init__(self, inputs: int = 2, outputs: int = 3, widths: tuple[int, ...] = (5, 5, 6, 6)) -> None:
        super().__init__()
        self.lift, self.bn = nn.Linear(inputs, widths[0]), nn.BatchNorm1d(widths[0])
        self.blocks = nn.Sequential(*(PostBlock(a, b) for a, b in zip((widths[0], *widths[:-1]), widths)))
        self.head = nn.Linear(widths[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(F.relu(self.bn(self.lift(x)))))


class PreActivation(nn.Module):
    """ResNet-v2: the projection acts on the normalised state, and a norm stands before the head."""

    def __init__(self, inputs: int = 2, outputs: int = 3, widths: tuple[int, ...] = (5, 5, 6, 6)) -> None:
        super().__init__()
        self.lift = nn.Linear(inputs, widths[0])
        pairs = list(zip((widths[0], *widths[:-1]), widths))
        self.norms = nn.ModuleList(nn.BatchNorm1d(a) for a, _ in pairs)
        self.inner = nn.ModuleList(nn.Linear(a, b) for a, b in pairs)
        self.outer = nn.ModuleList(nn.Linear(b, b) for _, b in pairs)
        self.down = nn.ModuleList(nn.Linear(a, b, bias=False) if a != b else nn.Identity() for a, b in pairs)
        self.norm, self.head = nn.BatchNorm1d(widths[-1]), nn.Linear(widths[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x)
        for norm, inner, outer, down in zip(self.norms, self.inner, self.outer, self.down):
            y = F.relu(norm(x))
            x = (x if isinstance(down, nn.Identity) else down(y)) + outer(F.relu(inner(y)))
        return self.head(F.relu(self.norm(x)))


class PreNormTransformer(nn.Module):
    """Token and position embeddings, pre-norm attention and MLP with a padding mask, final norm, language head."""

    def __init__(self, vocabulary: int = 11, length: int = 8, width: int = 8, depth: int = 2) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * depth))
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(depth))
        self.out = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.mlp = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)) for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
        seen = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
        if mask is not None:
            seen = seen & (mask[:, None, None, :] > 0)
        for k, (qkv, out, mlp) in enumerate(zip(self.qkv, self.out, self.mlp)):
            q, key, v = (p.unflatten(-1, (2, -1)).transpose(1, 2) for p in qkv(self.norms[2 * k](x)).chunk(3, -1))
            x = x + out(F.scaled_dot_product_attention(q, key, v, seen).transpose(1, 2).flatten(2))
            x = x + mlp(self.norms[2 * k + 1](x))
        return self.head(self.norm(x))


class SharedLoop(nn.Module):
    """One block, applied several times in a Python loop."""

    def __init__(self, inputs: int = 2, outputs: int = 3, depth: int = 4, width: int = 5) -> None:
        super().__init__()
        self.lift, self.block, self.head = nn.Linear(inputs, width), Block(width, False), nn.Linear(width, outputs)
        self.depth = depth

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x)
        for _ in range(self.depth):
            x = x + self.block(x)
        return self.head(x)


MODELS = {model.__name__: model for model in (ResidualMLP, PostActivation, PreActivation, SharedLoop)}
for _name, _model in MODELS.items():
    oc.register_model(f"tests-{_name}", _model)


@cache
def _once(name: str) -> oc.AdoptedSystem:
    """Tracing takes most of a second."""
    return oc.adopt(MODELS[name]().eval(), torch.zeros(2, 2), source=oc.source_of(f"tests-{name}", [2, 2]))


def adopted(name: str, generator: torch.Generator) -> oc.AdoptedSystem:
    """One of them in evaluation mode, adopted with its source, its weights drawn from the generator."""
    system = copy.deepcopy(_once(name))
    with torch.no_grad():
        for p in system.parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=generator))
        for key, buffer in system.named_buffers():
            if "running" in key:
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return system
