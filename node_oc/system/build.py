"""From a configuration to a system."""

from __future__ import annotations

import math

import torch

from node_oc.config import SystemSection
from node_oc.errors import ShapeError
from node_oc.system.adopt import AdoptedSystem, adopted_from, source_of
from node_oc.system.base import System
from node_oc.system.conv import ConvSystem
from node_oc.system.dense import DenseSystem
from node_oc.system.discrete import DiscreteResidualSystem, DiscreteSystem
from node_oc.system.paired import PairedSystem
from node_oc.system.transformer import Patches, TransformerSystem

OUTPUTS = ("num_classes", "num_labels")  # what torchvision and timm, and transformers, call the number of outputs


def make_system(c: SystemSection, features: int, outputs: int, depth: int, generator: torch.Generator) -> System:
    """An untrained system of the configured kind.

    Args:
        c: kind, widths, activation.
        features: number of inputs.
        outputs: size K of a readout.
        depth: residual steps N; spread evenly over the stages of a convolutional system, see :func:`spread`; without
            meaning for an adopted model, which has all of its branches, and for a chain, which has its layers.
        generator: where the initial weights come from; of an adopted model, whose own code draws them, the seed.

    Raises:
        ShapeError: features that are not the pixels of the configured image, or an adopted model with another number
            of outputs.
    """
    if c.kind == "adopted":
        return _make_adopted(c, features, outputs, generator)
    if c.kind == "discrete":
        return DiscreteSystem(features, outputs, layers=c.layers, values=c.values, image=c.image or None,
                              generator=generator)  # fmt: skip
    if c.kind == "discrete_residual":
        return DiscreteResidualSystem(features, outputs, depth=depth, width=c.width, hidden=c.hidden, values=c.values,
                                      generator=generator)  # fmt: skip
    if c.branches == 2:
        one = c.model_copy(update={"branches": 1})
        return PairedSystem(*(make_system(one, features, outputs, depth, generator) for _ in range(2)))
    if c.kind == "conv":
        return ConvSystem(
            image_of(c.image, features), outputs, channels=c.channels, blocks=spread(depth, len(c.channels)),
            activation=c.activation, row_norm=c.row_norm, generator=generator,
        )  # fmt: skip
    if c.kind == "transformer":
        # A table without pixels is a row of them, where each is a token by itself.
        row = c.patch == 1 and not c.image and math.isqrt(features) ** 2 != features
        tokens = Patches((1, 1, features) if row else image_of(c.image, features), c.patch)
        return TransformerSystem(
            tokens, outputs, steps=depth, width=c.width, heads=c.heads, hidden=c.hidden, activation=c.activation,
            row_norm=c.row_norm, generator=generator,
        )  # fmt: skip
    return DenseSystem(
        features, outputs, depth=depth, width=c.width, hidden=c.hidden, activation=c.activation, lift=c.lift,
        head=c.head, row_norm=c.row_norm, generator=generator,
    )  # fmt: skip


def _make_adopted(c: SystemSection, features: int, outputs: int, generator: torch.Generator) -> AdoptedSystem:
    if math.prod(c.image) != features:
        raise ShapeError(
            "system.image", got=f"{list(c.image)}, {math.prod(c.image):,} numbers", expected=f"{features:,} a sample",
            do="Give the shape that a sample of the data has: --input 3,32,32 for a colour image.",
        )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(generator.initial_seed())
        system = adopted_from(**source_of(str(c.model), [2, *c.image], c.arguments))
    with torch.no_grad():
        readout = system.head(_last_state(system, torch.zeros(2, features)))
    if (got := tuple(readout.shape)) != (2, outputs):
        wanted = " or ".join(f"--arg {name}={outputs}" for name in OUTPUTS)
        raise ShapeError(
            f"outputs of {c.model}", got=f"shape {list(got[1:])} for a sample", expected=f"{outputs}, as the data have",
            do=f"Set the argument that says how many: {wanted}, as your model calls it.",
        )  # fmt: skip
    return system


def _last_state(system: System, x: torch.Tensor) -> torch.Tensor:
    system = system.given(x)
    state = system.lift(x)
    for k in range(system.depth):
        state = sum(system.split(k, 0.0, state))  # type: ignore[assignment]
    return state


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
