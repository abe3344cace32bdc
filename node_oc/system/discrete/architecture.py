"""The text that describes a chain of discrete layers: "128C3", "MP2", "2048", "D0.5"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from node_oc.errors import ConfigError

KINDS = "2048 (linear), 128C3 (convolution 3x3), MP2 (max pool 2x2, behind a convolution), D0.5 (dropout)"


@dataclass(frozen=True)
class Block:
    """One step of a chain: dropout, linear or convolution, pool, batch norm, ReLU.

    Attributes:
        outputs: units, or channels.
        kernel: side of a convolution's filters, pixels; 0 for a linear layer.
        pool: side of the max pool, pixels; 1 for none.
        dropout: probability that an input of the block is dropped in training.
    """

    outputs: int
    kernel: int = 0
    pool: int = 1
    dropout: float = 0.0


def blocks_of(layers: Sequence[str], outputs: int) -> tuple[Block, ...]:
    """The blocks of a chain, the last linear map to the outputs among them.

    Args:
        layers: one text a layer, as ("128C3", "MP2", "D0.5", "1024"). A pool belongs to the convolution before it, a
            dropout to the block behind it.
        outputs: size K of the output.

    Raises:
        ConfigError: one text in place of several, one that is none of these, a pool that is not behind a convolution,
            an even kernel, or a convolution behind a linear layer.
    """
    if isinstance(layers, str):  # its characters are no layers
        raise ConfigError("layers", got=repr(layers), expected="one text a layer", do=f"Write ({layers!r},).")
    blocks: list[Block] = []
    dropout = 0.0
    for i, text in enumerate(layers):
        name, found = f"layers[{i}]", re.fullmatch(r"(\d+)(?:C(\d+))?|MP(\d+)|D(0?\.\d+)", str(text))
        if found is None:
            raise ConfigError(name, got=repr(text), expected=KINDS, do="Correct the text.")
        size, kernel, pool, drop = found.groups()
        if drop is not None:
            dropout = 1 - (1 - dropout) * (1 - float(drop))
        elif pool is not None:
            before = blocks[-1] if blocks else None
            if before is None or not before.kernel or before.pool > 1 or int(pool) < 1 or dropout:
                raise ConfigError(name, got=f"{text} behind {layers[i - 1] if i else 'the input'}",
                                  expected="a pool directly behind a convolution", do="Move it.")  # fmt: skip
            blocks[-1] = Block(before.outputs, before.kernel, int(pool), before.dropout)
        else:
            if kernel is not None and (int(kernel) % 2 == 0 or (blocks and not blocks[-1].kernel)):
                raise ConfigError(name, got=text, expected="an odd kernel, before any linear layer",
                                  do="Pixels are gone behind a linear layer.")  # fmt: skip
            blocks.append(Block(int(size), int(kernel or 0), 1, dropout))
            dropout = 0.0
    return (*blocks, Block(outputs, dropout=dropout))
