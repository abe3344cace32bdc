"""What every reader returns: three parts, and what is needed to use a model on new data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Task = Literal["classification", "regression", "language"]


def onto(values: Tensor, anchor: Tensor) -> Tensor:
    """Values on the device of another tensor, and in its dtype unless they are whole numbers, as token ids are."""
    return values.to(anchor.device, anchor.dtype if values.is_floating_point() else None)


@dataclass(frozen=True)
class Part:
    """Samples of one part of a split.

    Attributes:
        x: standardised features, float32, (n, D); or whatever an adopted model takes, (n, ..).
        y: class indices, int64, (n,); or standardised targets, float32, (n, 1), in regression; or token ids, int64,
            (n, L), of a language model.
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Scale:
    """An affine standardisation z = (x - mean) / std, learnt on the training part.

    Attributes:
        mean: (D,) or (1,).
        std: (D,) or (1,); a feature that does not vary has std 1.
    """

    mean: Tensor
    std: Tensor

    def apply(self, x: Tensor) -> Tensor:
        """Raw values (n, D) to standardised ones."""
        return (x - self.mean) / self.std

    def undo(self, z: Tensor) -> Tensor:
        """Standardised values (n, D) to raw ones."""
        return z * self.std + self.mean


@dataclass(frozen=True)
class Split:
    """Training, validation and test samples, and the names that travel with a model.

    Attributes:
        train, val, test: the three parts. Nothing but ``train`` is ever trained on.
        task: "classification" or "regression".
        classes: the label of each class index, as text; empty in regression.
        features: the name of each input column, in order.
        x_scale: how raw features became ``x``.
        y_scale: how raw targets became ``y`` in regression; None in classification.
    """

    train: Part
    val: Part
    test: Part
    task: Task
    classes: tuple[str, ...]
    features: tuple[str, ...]
    x_scale: Scale
    y_scale: Scale | None = None

    @property
    def inputs(self) -> int:
        """Number of input features D."""
        return len(self.features)

    @property
    def outputs(self) -> int:
        """Size of a readout: the number of classes, or 1 in regression."""
        return len(self.classes) if self.task == "classification" else 1
