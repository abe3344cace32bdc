"""A network with what it needs to be used on raw data: standardisation in, classes or units out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from node_oc.data.split import Scale, Split
from node_oc.discretization.network import Network
from node_oc.errors import ShapeError

# Types of which every value is a float32 too.
WITHIN_FLOAT32 = frozenset(
    {torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.int16, torch.bool}
)


class Model(nn.Module):
    """Raw features (B, D) to logits (B, K), or to a target in its own units (B, 1) in regression.

    Args:
        network: the trained network.
        x_scale: how raw features became the network's inputs.
        y_scale: how raw targets became the network's targets; None in classification.
        meta: task, class names and feature names, JSON-able.
    """

    x_mean: Tensor
    x_std: Tensor
    y_mean: Tensor | None
    y_std: Tensor | None

    def __init__(self, network: Network, x_scale: Scale, y_scale: Scale | None, meta: dict[str, Any]) -> None:
        super().__init__()
        self.network, self.meta = network, meta
        # Mean and deviation in float64: a time stamp of 1e9 seconds has no digits left in float32.
        self.register_buffer("x_mean", x_scale.mean.double())
        self.register_buffer("x_std", x_scale.std.double())
        self.register_buffer("y_mean", None if y_scale is None else y_scale.mean.double())
        self.register_buffer("y_std", None if y_scale is None else y_scale.std.double())

    @classmethod
    def of(cls, network: Network, split: Split) -> Model:
        """A network with the standardisation and the names of the data that it was trained on."""
        meta = {"task": split.task, "classes": list(split.classes), "features": list(split.features)}
        return cls(network, split.x_scale, split.y_scale, meta)

    @property
    def dtype(self) -> torch.dtype:
        """Floating point type that the network computes in."""
        return next((p.dtype for p in self.network.parameters()), torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        """Raw features to logits or targets."""
        dtype = self.dtype
        out = self.network(self._standardised(x, dtype).to(dtype))
        return out if self.y_mean is None or self.y_std is None else out * self.y_std + self.y_mean

    def _standardised(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """z = (x - mean) / std, to the digits that x and the network have.

        In place, so that one temporary lives at a time: with several in float64, allocating them takes longer than the
        forward pass of a short network.
        """
        if x.dtype in WITHIN_FLOAT32 and dtype != torch.float64:
            # The mean in two parts. Near it the first difference is exact, far from it the second is a rounding error:
            # float32 throughout, and the relative error of z is below 3 * 2**-23 wherever x lies.
            mean = self.x_mean.float()
            rest = (self.x_mean - mean).float()
            return x.float().sub(mean).sub_(rest).div_(self.x_std.float())
        return x.to(torch.float64).sub(self.x_mean).div_(self.x_std)

    @torch.no_grad()
    def predict(self, x: Tensor) -> tuple[list[str] | list[float], Tensor]:
        """Labels as text and probabilities (B, K), or target values and an empty tensor in regression.

        Raises:
            ShapeError: another number of features than the model was trained on.
        """
        features = len(self.meta["features"])
        if x.dim() != 2 or x.shape[1] != features:
            raise ShapeError("features", got=tuple(x.shape), expected=f"(samples, {features})",
                             do=f"Give the columns {self.meta['features'][:8]} in this order.")  # fmt: skip
        out = self(x.to(self.x_mean.device))
        if self.meta["task"] == "regression":
            return out[:, 0].tolist(), out[:, :0]
        return [self.meta["classes"][i] for i in out.argmax(1).tolist()], out.softmax(1)
