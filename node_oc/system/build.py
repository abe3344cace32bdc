"""From a configuration to a system."""

from __future__ import annotations

import math

import torch

from node_oc.config import SystemSection
from node_oc.errors import ShapeError
from node_oc.system.base import System
from node_oc.system.conv import ConvSystem
from node_oc.system.dense import DenseSystem


def make_system(c: SystemSection, features: int, outputs: int, depth: int, generator: torch.Generator) -> System:
    """An untrained system of the configured kind.

    Args:
        c: kind, widths, activation.
        features: number of inputs.
        outputs: size K of a readout.
        depth: residual steps N; spread evenly over the stages of a convolutional system, see :func:`spread`.
        generator: where the initial weights come from.

    Raises:
        ShapeError: features that are not the pixels of the configured image.
    """
    if c.kind == "conv":
        return ConvSystem(
            image_of(c.image, features), outputs, channels=c.channels, blocks=spread(depth, len(c.channels)),
            activation=c.activation, row_norm=c.row_norm, generator=generator,
        )  # fmt: skip
    return DenseSystem(
        features, outputs, depth=depth, width=c.width, hidden=c.hidden, activation=c.activation, lift=c.lift,
        head=c.head, row_norm=c.row_norm, generator=generator,
    )  # fmt: skip


def spread(depth: int, stages: int) -> tuple[int, ...]:
    """Blocks of each stage: as even as possible, the remainder to the last stages."""
    return tuple((depth + s) // stages for s in range(stages))


def image_of(image: tuple[int, ...], features: int) -> tuple[int, ...]:
    """(channels, rows, columns) of flat inputs: as configured, otherwise one square channel.

    Raises:
        ShapeError: the numbers do not agree.
    """
    side = math.isqrt(features)
    image = image or (1, side, side)
    if math.prod(image) != features:
        raise ShapeError(
            "system.image", got=f"{list(image)} for {features} features",
            expected="channels x rows x columns = features",
            do="Set system.image, [3, 32, 32] for a colour image; tables without pixels want system.kind=dense.",
        )  # fmt: skip
    return image
