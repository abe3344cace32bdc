"""A network between raw units: standardisation of the inputs before it, the target's own units behind it."""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor, nn

from node_oc.data.split import Scale
from node_oc.discretization.network import Network

# Types of which every value is a float32 too.
WITHIN_FLOAT32 = frozenset(
    {torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.int16, torch.bool}
)


class Scaled(nn.Module):
    """Raw features (B, D) to logits (B, K), or to a target in its own units (B, 1) in regression.

    Args:
        network: the trained network.
        x_scale: how raw features became the network's inputs.
        y_scale: how raw targets became the network's targets; None in classification.
    """

    x_mean: Tensor
    x_std: Tensor
    y_mean: Tensor | None
    y_std: Tensor | None

    def __init__(self, network: Network, x_scale: Scale, y_scale: Scale | None) -> None:
        super().__init__()
        self.network = network
        # Mean and deviation in float64: a time stamp of 1e9 seconds has no digits left in float32.
        self.register_buffer("x_mean", x_scale.mean.double())
        self.register_buffer("x_std", x_scale.std.double())
        self.register_buffer("y_mean", None if y_scale is None else y_scale.mean.double())
        self.register_buffer("y_std", None if y_scale is None else y_scale.std.double())

    @property
    def dtype(self) -> torch.dtype:
        """Floating point type that the network computes in."""
        numbers = (t for t in chain(self.network.parameters(), self.network.buffers()) if t.is_floating_point())
        return next((t.dtype for t in numbers), torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        """Raw features to logits or targets."""
        return self.in_units(self.network(self.standardised(x)))

    def standardised(self, x: Tensor) -> Tensor:
        """The network's inputs: z = (x - mean) / std, to the digits that x and the network have.

        In place, so that one temporary lives at a time: with several in float64, allocating them takes longer than the
        forward pass of a short network.
        """
        dtype = self.dtype
        if x.dtype in WITHIN_FLOAT32 and dtype != torch.float64:
            # The mean in two parts. Near it the first difference is exact, far from it the second is a rounding error:
            # float32 throughout, and the relative error of z is below 3 * 2**-23 wherever x lies.
            mean = self.x_mean.float()
            rest = (self.x_mean - mean).float()
            return x.float().sub(mean).sub_(rest).div_(self.x_std.float()).to(dtype)
        return x.to(torch.float64).sub(self.x_mean).div_(self.x_std).to(dtype)

    def in_units(self, out: Tensor) -> Tensor:
        """The network's outputs as logits or targets."""
        return out if self.y_mean is None or self.y_std is None else out * self.y_std + self.y_mean
