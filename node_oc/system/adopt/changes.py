"""Whether a model is still what was traced: its modules, hooks, modes and types. A trace follows none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from node_oc.errors import AdoptError
from node_oc.system.adopt.weights import Weights

BACKWARD = ("_backward_hooks", "_backward_pre_hooks")
HOOKS = ("_forward_hooks", "_forward_pre_hooks", *BACKWARD)
RECORDERS = frozenset({"transformers.utils.output_capturing"})  # their hooks, set by a call, change no value
LIBRARIES = frozenset({"torch", "torchvision", "timm", "transformers"})  # no call of their modules changes a number
FULL = 4  # bytes of the smallest type whose casts a trace need not keep


class Traced:
    """What a model was when it was traced, to be compared with what it is.

    Args:
        weights: of the model, or of what was cut from it.
        types: of its floating point tensors when it was traced, by name.
    """

    def __init__(self, weights: Weights, types: Mapping[str, torch.dtype]) -> None:
        self.weights, self.types = weights, {name: kind for name, kind in types.items() if name in weights}
        self.modules = [(name, m, tuple(m._modules.values()), _hooks(m), _forward(m, name), _numbers(m))
                        for name, m in weights.root.named_modules()]  # fmt: skip

    def check(self) -> None:
        """Raise AdoptError where the model has been changed in a way that its trace does not follow."""
        training = self.weights.root.training
        for name, module, children, hooks, forward, numbers in self.modules:
            got = ""
            if module.training is not training:
                got = f"training={module.training}, the model {training}"
            elif tuple(module._modules.values()) != children:
                got = "other modules in it than when it was adopted"
            elif _hooks(module) != hooks:
                got = "a hook that was added or removed after adopting"
            elif _forward(module, name) != forward:
                got = "another forward than when it was adopted"
            elif (now := _numbers(module)) != numbers:
                got = f"{dict(set(now) - set(numbers))} in it, when it was adopted {dict(set(numbers) - set(now))}"
            if got:
                raise AdoptError(f"module {name!r} of an adopted model", got=got, expected="what was traced",
                                 do="Undo it, or change the model first and adopt the model again.")  # fmt: skip
        for name, kind in self.types.items():
            _check_type(name, kind, self.weights[name].dtype)

    def check_conversion(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Raise AdoptError where a function of all tensors, as ``module.to`` has one, would change their type so."""
        for kind in set(self.types.values()):
            name = next(name for name in self.types if self.types[name] == kind)
            empty = torch.empty(0, dtype=self.weights[name].dtype, device=self.weights[name].device)
            _check_type(name, kind, fn(empty).dtype)


def check_hooks(model: nn.Module) -> None:
    """Raise AdoptError where a model has hooks of the backward pass: no trace has them."""
    for name, module in model.named_modules():
        if any(getattr(module, kind) for kind in BACKWARD):
            raise AdoptError(f"module {name!r}", got="a backward hook", expected="hooks of the forward pass alone",
                             do="Remove it, and look at the gradients after loss.backward().")  # fmt: skip


def _check_type(name: str, traced: torch.dtype, now: torch.dtype) -> None:
    if traced is not now and min(traced.itemsize, now.itemsize) < FULL:
        raise AdoptError(
            f"type of {name} in an adopted model", got=now, expected=traced,
            do=f"It was adopted in {traced}, and the casts of that are part of what was traced: convert the model "
            "first, and adopt it again.",
        )  # fmt: skip


def _hooks(module: nn.Module) -> tuple[Any, ...]:
    """The numbers of the hooks that may change something; torch gives each its own."""
    found = [(number, hook) for kind in HOOKS for number, hook in getattr(module, kind).items()]
    return tuple(number for number, hook in found if getattr(hook, "__module__", "") not in RECORDERS)


def _forward(module: nn.Module, name: str) -> Any:
    """A forward of the module's own; of the whole model others may have wrapped it, for mixed precision."""
    return vars(module).get("forward") if name else None


def _numbers(module: nn.Module) -> tuple[tuple[str, float], ...]:
    """The real numbers that a module of a library computes with, as the rate of a dropout: a trace has them in it."""
    known = type(module).__module__.partition(".")[0] in LIBRARIES
    return tuple((name, v) for name, v in vars(module).items() if type(v) is float) if known else ()
