"""Layers whose weights are discrete: int8 buffers in {-1, 1} or {-1, 0, 1}, no bias."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from node_oc.errors import ConfigError

SETS: dict[str, tuple[int, ...]] = {"binary": (-1, 1), "ternary": (-1, 0, 1)}


class DiscreteLayer(nn.Module, ABC):
    """A linear map whose weights are taken from a small set; they have no gradient, and no torch optimiser sees them.

    Args:
        shape: of the weight.
        values: name of the set, "binary" or "ternary".
        generator: where the initial weights come from, uniform on the set (code: the authors' logs).

    Attributes:
        weight: int8 buffer, in the ``state_dict``. A conversion of the module's floating point type leaves it int8.
        relaxed: a float leaf in its place while a method asks for slopes of the Hamiltonian in the weights; its entries
            are in the set, too. None otherwise: then ``forward`` casts ``weight`` to the type of its input.

    Raises:
        ConfigError: a set that is not known, a size below 1, or, when a ``state_dict`` is loaded, weights outside the
            set.
    """

    weight: Tensor

    def __init__(self, shape: tuple[int, ...], values: str, generator: torch.Generator | None) -> None:
        super().__init__()
        check_set(values)
        if min(shape) < 1:
            raise ConfigError(f"sizes of a {type(self).__name__}", got=shape, expected="at least 1", do="Correct them.")
        self.values = values
        known = torch.tensor(SETS[values], dtype=torch.int8)
        generator = generator or torch.Generator().manual_seed(0)
        self.register_buffer("weight", known[torch.randint(len(known), shape, generator=generator)])
        self.relaxed: Tensor | None = None
        self.register_state_dict_pre_hook(_settle)

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """The linear map of its input."""

    def used(self, x: Tensor) -> Tensor:
        """The weight as a tensor of floats: ``relaxed``, or ``weight`` in the type of x."""
        return self.weight.to(x.dtype) if self.relaxed is None else self.relaxed

    def relax_(self, dtype: torch.dtype) -> Tensor:
        """Put a float leaf in the weight's place, and return it: a method changes it in place."""
        self.relaxed = self.weight.to(dtype).requires_grad_()
        return self.relaxed

    @torch.no_grad()
    def settle_(self) -> None:
        """Write the values of ``relaxed`` into the int8 weight; asking for a ``state_dict`` does it too."""
        if self.relaxed is not None:
            self.weight.copy_(self.relaxed)

    @property
    def nonzero(self) -> float:
        """Share of the weights that are not zero, in [0, 1]; of those in use, where a method is at work."""
        weight = self.weight if self.relaxed is None else self.relaxed
        return int(weight.count_nonzero()) / weight.numel()

    def extra_repr(self) -> str:
        return f"{' x '.join(map(str, self.weight.shape))}, {self.values}"

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        loaded = state_dict.get(f"{prefix}weight")
        if loaded is not None:
            check_values(loaded, self.values, f"{prefix}weight")
        super()._load_from_state_dict(state_dict, prefix, *rest)
        if self.relaxed is not None:
            with torch.no_grad():
                self.relaxed.copy_(self.weight)


class DiscreteLinear(DiscreteLayer):
    """x W^T with W (outputs, inputs) in {-1, 1} or {-1, 0, 1}.

    Args:
        inputs: size of an input.
        outputs: size of an output.
        values: "binary" or "ternary".
        generator: where the initial weights come from; a generator seeded with 0 if None.
    """

    def __init__(
        self, inputs: int, outputs: int, values: str = "ternary", *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__((outputs, inputs), values, generator)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.used(x))


class DiscreteConv2d(DiscreteLayer):
    """Convolution with W (outputs, inputs, kernel, kernel) in {-1, 1} or {-1, 0, 1}, stride 1.

    Args:
        inputs: channels of an input.
        outputs: channels of an output.
        kernel: side of the filters, pixels.
        padding: pixels of zeros around an image; half the kernel, rounded down, if None.
        values: "binary" or "ternary".
        generator: where the initial weights come from; a generator seeded with 0 if None.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, padding: int | None = None, values: str = "ternary",
        generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__((outputs, inputs, kernel, kernel), values, generator)
        self.padding = kernel // 2 if padding is None else padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.used(x), padding=self.padding)


def check_set(values: str) -> None:
    """Raise ConfigError unless this is the name of a set."""
    if values not in SETS:
        raise ConfigError("values", got=repr(values), expected=f"one of {tuple(SETS)}", do="Correct the name.")


def check_values(weight: Tensor, values: str, name: str = "weight") -> None:
    """Raise ConfigError unless every weight is in the set.

    Args:
        weight: of any type.
        values: "binary" or "ternary".
        name: of the weight, for the message.
    """
    weight = weight.to(torch.promote_types(weight.dtype, torch.int8))  # or -1 among unsigned numbers would be 255
    known = torch.tensor(SETS[values], dtype=weight.dtype, device=weight.device)
    outside = ~torch.isin(weight, known)
    if bool(outside.any()):
        raise ConfigError(
            name, got=f"{int(outside.sum()):,} weights outside of {set(SETS[values])}, {weight[outside][0].item():g} "
            "the first", expected=f"{values} weights", do="The file is damaged, or of another network.",
        )  # fmt: skip


def _settle(layer: nn.Module, *_: Any) -> None:
    cast(DiscreteLayer, layer).settle_()
