"""What the tokens of a Transformer are: patches of an image, ids, or vectors; some of them padding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from node_oc.errors import ConfigError, DataError, ShapeError


class Tokens(ABC):
    """How an input becomes a sequence of tokens, and which of them are padding; a description without weights.

    Attributes:
        length: the most tokens of a sample.
        size: numbers in a token, 1 of an id.
        vocabulary: how many different tokens there are; None where they are numbers.
        padded: whether some of them may be padding.
    """

    length: int
    size: int
    vocabulary: int | None
    padded: bool

    @abstractmethod
    def split(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Inputs (B, ..) to tokens (B, L, size), or ids (B, L), and which of them are no padding, (B, L) or None."""

    def spec(self) -> dict[str, Any]:
        """The JSON-able description, "kind" among it."""
        kind = next(kind for kind, known in TOKENS.items() if type(self) is known)
        return {"kind": kind, **{key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}}  # type: ignore[call-overload]


@dataclass(frozen=True)
class Patches(Tokens):
    """An image in square patches, row by row; each patch is a token, its pixels channel by channel.

    Args:
        image: (channels, rows, columns); inputs come flat, (B, channels * rows * columns), or as (B, *image).
        patch: side of a patch, pixels.

    Raises:
        ConfigError: an image that is not three sizes of at least 1, or a patch below 1.
        ShapeError: rows or columns that are no multiple of it.
    """

    image: tuple[int, ...]
    patch: int = 1
    vocabulary, padded = None, False

    def __post_init__(self) -> None:
        object.__setattr__(self, "image", tuple(self.image))
        if len(self.image) != 3 or min(self.image) < 1 or self.patch < 1:
            raise ConfigError("image", got=f"{list(self.image)} in patches of {self.patch}",
                              expected="channels, rows, columns and a side, each at least 1",
                              do="A grey image of 28 x 28 is [1, 28, 28].")  # fmt: skip
        if self.image[1] % self.patch or self.image[2] % self.patch:
            raise ShapeError("patch", got=f"{self.patch} on an image of {self.image[1]} x {self.image[2]}",
                             expected="a divisor of rows and columns", do="Choose another side.")  # fmt: skip

    @property
    def length(self) -> int:  # type: ignore[override]
        """Number of patches."""
        return self.image[1] * self.image[2] // self.patch**2

    @property
    def size(self) -> int:  # type: ignore[override]
        """Numbers in a patch."""
        return self.image[0] * self.patch**2

    def split(self, x: Tensor) -> tuple[Tensor, None]:
        (channels, rows, columns), p = self.image, self.patch
        cut = x.reshape(-1, channels, rows // p, p, columns // p, p)
        return cut.permute(0, 2, 4, 1, 3, 5).reshape(-1, self.length, self.size), None


@dataclass(frozen=True)
class TokenIds(Tokens):
    """Sequences of ids, int64 (B, L), L at most ``length``; whole numbers in another dtype will do.

    Args:
        vocabulary: ids are 0..vocabulary-1.
        length: the most tokens of a sample.
        padding: the id that is padding, wherever it stands; None where there is none.

    Raises:
        ConfigError: a size below 1, or padding that is no id.
    """

    vocabulary: int
    length: int
    padding: int | None = 0
    size = 1

    def __post_init__(self) -> None:
        _at_least_one(vocabulary=self.vocabulary, length=self.length)
        if self.padding is not None and not 0 <= self.padding < self.vocabulary:
            raise ConfigError("padding", got=self.padding, expected=f"an id, 0..{self.vocabulary - 1}, or None",
                              do="Give it an id of its own.")  # fmt: skip

    @property
    def padded(self) -> bool:  # type: ignore[override]
        """Whether there is an id for padding."""
        return self.padding is not None

    def split(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        ids = x.long()
        if not torch.compiler.is_compiling():
            if x.is_floating_point() and not bool((ids == x).all()):
                raise DataError("token ids", got="fractions", expected="whole numbers", do="Give ids, and not values.")
            if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= self.vocabulary):
                raise DataError("token ids", got=f"{int(ids.min())} to {int(ids.max())}",
                                expected=f"0..{self.vocabulary - 1}", do="Raise the vocabulary.")  # fmt: skip
        return ids, None if self.padding is None else ids != self.padding


@dataclass(frozen=True)
class TokenVectors(Tokens):
    """Sequences of vectors, (B, L, size) or flat (B, L * size), L at most ``length``.

    A token that is NaN throughout is padding: ``x.masked_fill(~mask[..., None], math.nan)`` makes it of a mask. One
    NaN alone is none, and makes the sample's output NaN.

    Args:
        size: numbers in a token.
        length: the most tokens of a sample.
        padded: whether there may be padding; without, attention is spared the mask.

    Raises:
        ConfigError: a size below 1.
    """

    size: int
    length: int
    padded: bool = True
    vocabulary = None

    def __post_init__(self) -> None:
        _at_least_one(size=self.size, length=self.length)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        x = x.unflatten(1, (-1, self.size)) if x.dim() == 2 else x
        return x, ~x.isnan().all(-1) if self.padded else None


TOKENS: dict[str, type[Tokens]] = {"patches": Patches, "ids": TokenIds, "vectors": TokenVectors}


def tokens_from(spec: Mapping[str, Any]) -> Tokens:
    """The tokens of a description. Raises ConfigError on a kind that there is not."""
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in spec.items()}
    kind = fields.pop("kind", None)
    if kind not in TOKENS:
        raise ConfigError("tokens", got=repr(kind), expected=f"one of {sorted(TOKENS)}", do="Correct the kind.")
    return TOKENS[kind](**fields)


def _at_least_one(**sizes: int) -> None:
    for name, size in sizes.items():
        if not size >= 1:
            raise ConfigError(name, got=size, expected="at least 1", do="Correct the number.")
