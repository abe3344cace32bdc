"""A network with what it needs to be used on raw data: standardisation in, classes or units out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from node_oc.data.split import Scale, Split
from node_oc.discretization.network import Network
from node_oc.errors import ShapeError


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
        # Standardisation in float64: a time stamp of 1e9 seconds has no digits left in float32.
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
        z = (x.double() - self.x_mean) / self.x_std
        out = self.network(z.to(self.dtype))
        return out if self.y_mean is None or self.y_std is None else out * self.y_std + self.y_mean

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
