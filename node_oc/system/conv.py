"""The convolutional system: a pre-activation ResNet in stages of constant width, projections between them."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from node_oc.errors import ConfigError, ShapeError
from node_oc.system.base import System
from node_oc.system.conv_field import ConvField
from node_oc.system.field import ACTIVATIONS, Activation, Role, by_role


class ConvBranch(nn.Module):
    """F(x) = W_out * act(W_in * act(x) + b_in) + b_out, 3x3 convolutions; the group of the step is (W_out, b_out)."""

    def __init__(self, channels: int, activation: Activation, generator: torch.Generator) -> None:
        super().__init__()
        self.inner = _conv(channels, channels, 3, generator)
        self.outer = _conv(channels, channels, 3, generator, scale=0.1)
        self.activation = activation
        with torch.no_grad():
            cast(Tensor, self.inner.bias).copy_(torch.rand(channels, generator=generator).mul_(2).sub_(1))

    def forward(self, x: Tensor) -> Tensor:
        act = ACTIVATIONS[self.activation]
        return self.outer(act(self.inner(act(x))))


class ConvSystem(System):
    """Pre-activation ResNet: 3x3 lift, stages of constant width, head of activation, mean over pixels and affine map.

    Between two stages the state is averaged over 2x2 pixels and a 1x1 convolution changes the width (a stride
    instead of the mean would hide three quarters of an early state from its readout). That projection belongs to
    the skip of the first step of the new stage, and that step's branch acts on the projected state:
    x_{k+1} = S_k(x_k) + h_k F_k(S_k(x_k)). So every branch keeps its width, any of them can be dropped, and the
    projections stay; those after the last step belong to the head.

    There is no batch norm: it couples samples, which J, a mean over samples, does not know (our decision). The
    state is kept in channels_last, in which CPU convolutions are faster (benchmarks/channels_last.py); one stage of
    a multiple of 16 channels in NCHW.

    Args:
        image: (channels, rows, columns) of an input; inputs come flat, (B, channels * rows * columns).
        outputs: size K of a readout.
        channels: width of each stage.
        blocks: residual steps of each stage; their sum is the depth N.
        activation: "tanh", "relu" or "gelu".
        row_norm: the norm that the weights of every output channel of W_in are kept at, or 0 for free ones: see
            :class:`node_oc.DenseSystem`.
        generator: where the initial weights come from; a generator seeded with 0 if None.

    Raises:
        ConfigError: a size below 1, or not one number of blocks for each stage.
    """

    def __init__(
        self,
        image: Sequence[int],
        outputs: int,
        *,
        channels: Sequence[int] = (8, 16, 32),
        blocks: Sequence[int] = (6, 6, 6),
        activation: Activation = "relu",
        row_norm: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ConfigError("activation", got=repr(activation), expected=f"one of {tuple(ACTIVATIONS)}",
                              do="Correct the name.")  # fmt: skip
        if len(image) != 3 or min(image) < 1:
            raise ConfigError("image", got=list(image), expected="channels, rows, columns, each at least 1",
                              do="A grey image of 28 x 28 is [1, 28, 28].")  # fmt: skip
        if not channels or len(channels) != len(blocks) or min(channels) < 1 or min(blocks) < 0 or not row_norm >= 0:
            raise ConfigError(
                "stages", got=f"channels {list(channels)}, blocks {list(blocks)}, row_norm {row_norm}",
                expected="one number of blocks >= 0 for each width >= 1, row_norm >= 0", do="Correct the numbers.",
            )  # fmt: skip
        generator = generator or torch.Generator().manual_seed(0)
        self._spec: dict[str, Any] = {
            "kind": "conv", "image": list(image), "outputs": outputs, "channels": list(channels),
            "blocks": list(blocks), "activation": activation, "row_norm": row_norm,
        }  # fmt: skip
        self.image, self.row_norm, self.activation = tuple(image), row_norm, activation
        self.stage = tuple(s for s, count in enumerate(blocks) for _ in range(count))
        self.lifting = _conv(image[0], channels[0], 3, generator)
        self.projections = nn.ModuleList(_conv(a, b, 1, generator) for a, b in itertools.pairwise(channels))
        self.steps = nn.ModuleList(ConvBranch(channels[s], activation, generator) for s in self.stage)
        self.reading = nn.utils.skip_init(nn.Linear, channels[-1], outputs)
        with torch.no_grad():
            self.reading.weight.copy_(torch.randn(outputs, channels[-1], generator=generator) / math.sqrt(channels[-1]))
            self.reading.bias.zero_()
        self.constrain_()

    @property
    def depth(self) -> int:
        return len(self.steps)

    def lift(self, x: Tensor) -> Tensor:
        # Measured on a CPU: one stage of 16, 32 or 64 channels is 5 to 20 % faster in NCHW, all others are slower.
        channels = self._spec["channels"]
        one_stage = len(channels) == 1 and channels[0] % 16 == 0
        order = torch.contiguous_format if one_stage else torch.channels_last
        return self.lifting(x.reshape(-1, *self.image)).contiguous(memory_format=order)

    def branch(self, k: int, x: Tensor) -> Tensor:
        return self.steps[k](self.skip(k, x))

    @property
    def by_hand(self) -> bool:
        return super().by_hand and all(type(step) is ConvBranch for step in self.steps)

    def field(self, steps: Sequence[int], stages: int, roles: Sequence[Role] | None = None) -> ConvField:
        roles = roles or by_role([self.control(k) for k in steps])
        return ConvField(roles, stages, self.activation)

    def skip(self, k: int, x: Tensor) -> Tensor:
        return self._project(x, self.stage[k - 1] if k else 0, self.stage[k])

    def is_identity(self, k: int) -> bool:
        return self.stage[k] == (self.stage[k - 1] if k else 0)

    def head(self, x: Tensor) -> Tensor:
        x = self._project(x, self.stage[-1] if self.stage else 0, len(self.projections))
        return self.reading(F.adaptive_avg_pool2d(ACTIVATIONS[self.activation](x), 1).flatten(1))

    def _project(self, x: Tensor, start: int, stop: int) -> Tensor:
        for projection in self.projections[start:stop]:
            for d in (-2, -1):  # not ceil_mode: compiled, its gradient at the edge is wrong (torch 2.13)
                if x.shape[d] % 2:
                    x = torch.cat([x, x.narrow(d, -1, 1)], d)
            x = projection(F.avg_pool2d(x, 2))
        return x

    def group(self, k: int) -> list[nn.Parameter]:
        self.check_step(k)
        return list(self._step(k).outer.parameters())

    def control(self, k: int) -> list[nn.Parameter]:
        self.check_step(k)
        return list(self.steps[k].parameters())

    def affine_readout(self) -> tuple[Tensor, Tensor]:
        raise ShapeError(
            "readout of a convolutional system", got=f"{self.activation} and a mean over pixels before the last map",
            expected="a readout that is affine in the state", do="Ask for the logit distance or the excess instead.",
        )  # fmt: skip

    @torch.no_grad()
    def constrain_(self) -> None:
        if self.row_norm:
            for k in range(self.depth):
                self._normalise(self._step(k))

    def _normalise(self, step: ConvBranch) -> None:
        norm = step.inner.weight.flatten(1).norm(dim=1).clamp_min(1e-12).div_(self.row_norm)
        step.inner.weight.div_(norm[:, None, None, None])

    def release_(self) -> None:
        self.row_norm = self._spec["row_norm"] = 0.0

    def subsystem(self, steps: Sequence[int]) -> ConvSystem:
        for k in steps:
            self.check_step(k)
        stages = [self.stage[k] for k in steps]
        blocks = [stages.count(s) for s in range(len(self._spec["channels"]))]
        fields = {name: value for name, value in self._spec.items() if name != "kind"}
        small = ConvSystem(**fields | {"blocks": [0] * len(blocks)})
        small._spec["blocks"], small.stage = blocks, tuple(stages)
        for name in ("lifting", "projections", "reading"):
            setattr(small, name, copy.deepcopy(getattr(self, name)))
        small.steps = nn.ModuleList(copy.deepcopy(self.steps[k]) for k in steps)
        return small

    def insert(self, places: Sequence[int], generator: torch.Generator) -> ConvSystem:
        # Between two stages a new step belongs to the earlier one, whose projection it then comes before.
        large, stages = self.subsystem(range(self.depth)), list(self.stage)
        for p in sorted(places, reverse=True):
            s = stages[p - 1] if p else stages[0] if stages else len(self.projections)
            new = ConvBranch(self._spec["channels"][s], self.activation, generator).to(next(self.parameters()))
            if self.row_norm:
                with torch.no_grad():
                    self._normalise(new)
            large.steps.insert(p, new)
            stages.insert(p, s)
        large.stage = tuple(stages)
        large._spec["blocks"] = [stages.count(s) for s in range(len(self._spec["channels"]))]
        return large

    def spec(self) -> dict[str, Any]:
        return copy.deepcopy(self._spec)

    def _step(self, k: int) -> ConvBranch:
        return cast(ConvBranch, self.steps[k])


def _conv(inputs: int, outputs: int, size: int, generator: torch.Generator, scale: float = 1.0) -> nn.Conv2d:
    layer = nn.utils.skip_init(nn.Conv2d, inputs, outputs, size, padding=size // 2)
    with torch.no_grad():
        weight = torch.randn(outputs, inputs, size, size, generator=generator)
        layer.weight.copy_(weight * (scale / math.sqrt(inputs * size * size)))
        layer.bias.zero_()
    return layer
