"""The discrete chain: linear maps and convolutions of discrete weights, batch norms between them, no skips."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from node_oc.errors import ConfigError, ShapeError
from node_oc.system.base import System
from node_oc.system.discrete.architecture import Block, blocks_of
from node_oc.system.discrete.layers import DiscreteConv2d, DiscreteLayer, DiscreteLinear

NORM = {"eps": 1e-4, "momentum": 0.1}  # code: read off the authors' logs


class ChainBlock(nn.Module):
    """[dropout] -> discrete linear or convolution -> [max pool] -> batch norm -> ReLU, but for the last block."""

    def __init__(
        self, block: Block, shape: tuple[int, ...], last: bool, values: str, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.dropout, self.pool, self.last = block.dropout, block.pool, last
        self.layer: DiscreteLayer
        self.norm: nn.Module
        if block.kernel:
            side = [size // block.pool for size in shape[1:]]
            if min(side) < 1:
                raise ConfigError("layers", got=f"a pool of {block.pool} on {shape[1]} x {shape[2]} pixels",
                                  expected="a pixel that is left", do="Pool less often.")  # fmt: skip
            self.shape: tuple[int, ...] = (block.outputs, *side)
            self.layer = DiscreteConv2d(shape[0], block.outputs, block.kernel, values=values, generator=generator)
            self.norm = nn.BatchNorm2d(block.outputs, **NORM)  # type: ignore[arg-type]
        else:
            self.shape = (block.outputs,)
            self.layer = DiscreteLinear(math.prod(shape), block.outputs, values, generator=generator)
            self.norm = nn.BatchNorm1d(block.outputs, **NORM)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        if self.dropout:
            x = F.dropout(x, self.dropout, self.training)
        y = self.layer(x.flatten(1) if isinstance(self.layer, DiscreteLinear) else x)
        y = self.norm(F.max_pool2d(y, self.pool) if self.pool > 1 else y)
        return y if self.last else F.relu(y)


class DiscreteSystem(System):
    """A chain of blocks x_{k+1} = F_k(x_k) with discrete weights (arXiv 1803.01299): S_k = 0, states of many shapes.

    A block is a linear map or convolution without bias, [max pool], batch norm, ReLU; the last one a linear map to the
    K outputs and a batch norm (code: read off the authors' logs). Lift and head are the identity: the state x_0 is the
    input, as an image where the first layer is a convolution, and x_N the output.

    The control u_k has a real and a discrete part. ``control(k)`` is the real one, the parameters of the batch norm:
    what gradient methods, Controls and control energy work on. ``discrete(k)`` is the layer whose weights are taken
    from the set: :class:`node_oc.MSA` trains them. Without a skip no step can be off: there is no group, no readout but
    the output, no crop.

    Args:
        features: number of inputs.
        outputs: size K of the output.
        layers: the layers before the last one: "2048" linear, "128C3" convolution of 3x3 with the same padding, "MP2"
            max pool, "D0.5" dropout.
        values: "binary", {-1, 1}, or "ternary", {-1, 0, 1}.
        image: (channels, rows, columns) of an input; a grey square if None. Only where the first layer is a
            convolution.
        generator: where the initial weights come from, uniform on the set; a generator seeded with 0 if None.

    Raises:
        ConfigError: a layer or a set that is not known.
        ShapeError: features that are not the pixels of the image.
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        *,
        layers: Sequence[str] = ("2048", "2048", "2048"),
        values: str = "ternary",
        image: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        blocks = blocks_of(layers, outputs)
        side = math.isqrt(features)
        self.image = tuple(image or (1, side, side)) if blocks[0].kernel else None
        if self.image and (len(self.image) != 3 or math.prod(self.image) != features):
            raise ShapeError("image", got=f"{list(self.image)} for {features} features",
                             expected="channels x rows x columns = features",
                             do="A colour image of 32 x 32 is [3, 32, 32].")  # fmt: skip
        if image and not self.image:
            raise ConfigError("image", got=list(image), expected="a convolution for the first layer, or no image",
                              do="Leave it out: linear layers read flat inputs.")  # fmt: skip
        generator = generator or torch.Generator().manual_seed(0)
        self._spec: dict[str, Any] = {
            "kind": "discrete", "features": features, "outputs": outputs, "layers": [str(layer) for layer in layers],
            "values": values,
            "image": list(self.image) if self.image else None,
        }  # fmt: skip
        self.steps = nn.ModuleList()
        shape: tuple[int, ...] = self.image or (features,)
        for block in blocks:
            step = ChainBlock(block, shape, len(self.steps) + 1 == len(blocks), values, generator)
            self.steps.append(step)
            shape = step.shape

    @property
    def depth(self) -> int:
        return len(self.steps)

    @property
    def noisy(self) -> bool:
        return any(self._step(k).dropout > 0 for k in range(self.depth))

    @property
    def coupled(self) -> bool:
        return True

    def lift(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.image) if self.image else x

    def branch(self, k: int, x: Tensor) -> Tensor:
        return self.steps[k](x)

    def skip(self, k: int, x: Tensor) -> Tensor:
        """S_k = 0, in the shape of the next state."""
        return x.new_zeros(()).expand(x.shape[0], *self._step(k).shape)

    def is_identity(self, k: int) -> bool:
        return False

    def head(self, x: Tensor) -> Tensor:
        return x

    def readout(self, x: Tensor, k: int) -> Tensor:
        """The output of a final state, k = N.

        Raises:
            ConfigError: any other k: with its branches off, a chain hands on nothing.
        """
        if k != self.depth:
            raise self._no_skips(f"of layer {k}")
        return x

    def skips(self, k: int, states: Tensor) -> Tensor:
        """Raises ConfigError: readouts of earlier layers would be those of zero."""
        raise self._no_skips("of every layer")

    def _no_skips(self, where: str) -> ConfigError:
        return ConfigError(
            f"readouts {where}", got="a chain without skips, S_k = 0: it has no output but the last one",
            expected="a problem without stage costs, stage_weight = 0",
            do="Use Problem(cost, cost, stage_weight=0), or a system with skips: DiscreteResidualSystem.",
        )  # fmt: skip

    def group(self, k: int) -> list[nn.Parameter]:
        self.check_step(k)
        return []  # without a skip no step can be off

    def control(self, k: int) -> list[nn.Parameter]:
        self.check_step(k)
        return list(self._step(k).norm.parameters())

    def discrete(self, k: int) -> list[DiscreteLayer]:
        self.check_step(k)
        return [self._step(k).layer]

    def affine_readout(self) -> tuple[Tensor, Tensor]:
        raise ShapeError("readout of a chain", got="states without a readout, but for the last one",
                         expected="a readout that is affine in the state", do="Ask a system with skips.")  # fmt: skip

    def constrain_(self) -> None:
        """Nothing: discrete weights have a fixed scale, which the batch norms take out."""

    def release_(self) -> None:
        """Nothing is constrained."""

    def subsystem(self, steps: Sequence[int]) -> DiscreteSystem:
        if tuple(steps) != tuple(range(self.depth)):
            raise ConfigError("steps of a chain", got=list(steps), expected=f"all of 0..{self.depth - 1}",
                              do="A chain without skips cannot be cut: use DiscreteResidualSystem.")  # fmt: skip
        return copy.deepcopy(self)

    def insert(self, places: Sequence[int], generator: torch.Generator) -> DiscreteSystem:
        if places:
            raise ConfigError("new steps", got=f"places {list(places)} in a chain", expected="a system with skips",
                              do="Make a chain of more layers, or use DiscreteResidualSystem.")  # fmt: skip
        return copy.deepcopy(self)

    def spec(self) -> dict[str, Any]:
        return copy.deepcopy(self._spec)

    def _step(self, k: int) -> ChainBlock:
        return cast(ChainBlock, self.steps[k])
