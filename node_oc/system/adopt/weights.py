"""Parameters, buffers and constants by name, where the model keeps them."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Weights:
    """The named tensors of a module tree.

    Args:
        root: whose parameters and buffers they are.
        constants: tensors that the model's code makes itself, by name; they move with the rest, and no file has them.
    """

    def __init__(self, root: nn.Module, constants: Mapping[str, Tensor]) -> None:
        self.root, self.constants = root, dict(constants)
        self._owner: dict[str, tuple[nn.Module, str]] = {}
        for path, module in root.named_modules(remove_duplicate=False):
            for name in (*module._parameters, *module._buffers):
                self._owner[f"{path}.{name}" if path else name] = (module, name)

    @classmethod
    def of(cls, model: nn.Module, constants: Mapping[str, Tensor]) -> Weights:
        """Those of a model, which go on being its own."""
        weights = cls(model, {})
        weights.constants = {name: value for name, value in constants.items() if name not in weights._owner}
        return weights

    def __contains__(self, name: object) -> bool:
        return name in self._owner or name in self.constants

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._owner:
            return self.constants[name]
        module, own = self._owner[name]
        return module._parameters[own] if own in module._parameters else module._buffers[own]  # type: ignore[return-value]

    def parameter(self, name: str) -> nn.Parameter:
        """The same for a parameter."""
        return self[name]  # type: ignore[return-value]

    def only(self, names: Collection[str]) -> Weights:
        """Copies of these tensors, and of whatever else is the same tensor, in a tree of plain modules."""
        root = nn.Module()
        root.training = self.root.training
        copies: dict[int, Tensor] = {}
        wanted = {id(self[name]) for name in names}
        for name, (module, own) in self._owner.items():
            value = self[name]
            if value is None or id(value) not in wanted:
                continue
            if id(value) not in copies:
                copies[id(value)] = copy.deepcopy(value)
            place = root
            for part in name.split(".")[:-1]:
                if part not in place._modules:
                    place._modules[part] = nn.Module().train(root.training)
                place = place._modules[part]  # type: ignore[assignment]
            if own in module._parameters:
                place._parameters[own] = copies[id(value)]  # type: ignore[assignment]
            else:
                place.register_buffer(own, copies[id(value)], persistent=own not in module._non_persistent_buffers_set)
        constants = {name: value.clone() for name, value in self.constants.items() if name in names}
        return Weights(root, constants)

    def move(self, fn: Any) -> None:
        """Apply a function to the constants."""
        with torch.no_grad():
            self.constants = {name: fn(value) for name, value in self.constants.items()}


def without_prefix(system: nn.Module, values: dict[str, Any], prefix: str, meta: Any) -> None:
    """A hook: the entries of the child "model" under the model's own names."""
    for name in [name for name in values if name.startswith(f"{prefix}model.")]:
        values[prefix + name[len(f"{prefix}model.") :]] = values.pop(name)


def with_prefix(system: nn.Module, values: dict[str, Any], prefix: str, *rest: Any) -> None:
    """A hook: those entries back under "model"."""
    for name in [name for name in values if name.startswith(prefix)]:
        values[f"{prefix}model.{name[len(prefix) :]}"] = values.pop(name)


def row_norms(p: Tensor) -> Tensor:
    """Norms of the rows of a matrix, or of a vector as a whole, ready to be multiplied."""
    return p.flatten(1).norm(dim=1).view(-1, *(1,) * (p.dim() - 1)) if p.dim() > 1 else p.norm()[None]


@torch.no_grad()
def scale_rows_(p: Tensor, norms: Tensor) -> None:
    """Give the rows these norms, in place; rows of zeros stay."""
    now = row_norms(p)
    p.mul_(torch.where(now > 0, norms / now.clamp_min(1e-12), 1.0))
