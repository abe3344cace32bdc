"""How to make a model again: torchvision:, timm: and hf: by name, or a function of your own."""

from __future__ import annotations

import copy
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from node_oc.errors import ConfigError, StoreError
from node_oc.system.adopt.adopted import AdoptedSystem
from node_oc.system.adopt.adoption import adopt

ZOOS = {"torchvision": "torchvision.models", "timm": "timm", "hf": "transformers"}
OWN: dict[str, Callable[..., nn.Module]] = {}
TRUSTED: set[str] = set()
REMEMBERED = 4
FOUND: dict[Any, AdoptedSystem] = {}  # by source, and by what is registered under its name


def register_model(name: str, make: Callable[..., nn.Module]) -> None:
    """Let files name a model of yours: they then say ``name``, and this program knows how to make it.

    Args:
        name: without a colon.
        make: from the arguments of :func:`source_of` to a model.

    Raises:
        ConfigError: a name with a colon.
    """
    if ":" in name:
        raise ConfigError("name of a model", got=repr(name), expected="no colon", do="Choose another name.")
    OWN[name] = make


def trust_model(name: str) -> None:
    """Let files name this ``package.module:function``: its code is run. For names that a person has typed.

    Args:
        name: as of :func:`make_model`; other kinds of names need no trust.
    """
    TRUSTED.add(name)


def make_model(name: str, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """A model with random weights; nothing is downloaded.

    Args:
        name: "torchvision:resnet18", "timm:deit_tiny_patch16_224", "hf:GPT2LMHeadModel" (arguments are then those of
            its configuration), or "package.module:function".
        arguments: passed on.

    Raises:
        ConfigError: a name of another form, a package that is not installed, a model that it does not have.
    """
    zoo, _, model = name.partition(":")
    if not model and name not in OWN:
        raise ConfigError("model", got=repr(name),
                          expected=f"torchvision:NAME, timm:NAME, hf:CLASS, module:function, or {sorted(OWN)}",
                          do="For your own model write package.module:make_model.")  # fmt: skip
    try:
        package: Any = None if name in OWN else importlib.import_module(ZOOS.get(zoo, zoo))
    except (ImportError, ValueError, RuntimeError) as error:
        raise ConfigError(f"model {name!r}", got=f"{error}", expected=f"an importable {ZOOS.get(zoo, zoo)}",
                          do="Install it, in the version for this torch, or correct the name.") from error  # fmt: skip
    given = dict(arguments or {})
    try:
        if name in OWN:
            made = OWN[name](**given)
        elif zoo == "torchvision":
            made = package.get_model(model, weights=None, **given)
        elif zoo == "timm":
            made = package.create_model(model, pretrained=False, **given)
        else:
            maker = getattr(package, model)
            made = maker(maker.config_class(**given)) if zoo == "hf" else maker(**given)
    except (AttributeError, ImportError, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"model {name!r}", got=f"{type(error).__name__}: {error}",
                          expected="a model of that package, with arguments that it takes",
                          do="Correct the name or the arguments, or install what it needs, for this torch.",
                          ) from error  # fmt: skip
    if not isinstance(made, nn.Module):
        raise ConfigError(f"model {name!r}", got=f"a {type(made).__name__}", expected="an nn.Module",
                          do="Name a function that returns a model.")  # fmt: skip
    return made


def source_of(
    name: str, inputs: Mapping[str, Any] | Sequence[int | str], arguments: Mapping[str, Any] | None = None,
    branches: Sequence[str] = (), output: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A JSON-able description from which :func:`adopted_from` adopts the model again.

    Args:
        name: as of :func:`make_model`.
        inputs: shape of the example input, batch first; or shapes by keyword, a list of integers each, with "int64" at
            its end for integers.
        arguments: as of :func:`make_model`.
        branches: as of :func:`node_oc.adopt`.
        output: as of :func:`node_oc.adopt`.
    """
    shapes = {k: list(v) for k, v in inputs.items()} if isinstance(inputs, Mapping) else list(inputs)
    return {
        "model": name,
        "inputs": shapes,
        "arguments": dict(arguments or {}),
        "branches": list(branches),
        "output": output,
    }


def adopted_from(
    *, model: str, inputs: Any, arguments: Mapping[str, Any], branches: Sequence[str], output: str | None,
    steps: Sequence[int] | None = None, made: nn.Module | None = None, dtype: torch.dtype | None = None,
) -> AdoptedSystem:  # fmt: skip
    """The system that a description stands for, with random weights, in evaluation mode.

    Args:
        model, inputs, arguments, branches, output: see :func:`source_of`.
        steps: the branches that are left; all if None.
        made: the model itself: a file may name code of yours, but does not get it run.
        dtype: what the model, and with it the example, is converted to before it is adopted; as it is made if None.

    Raises:
        StoreError: code of yours, and no ``made``.
        ConfigError: as :func:`make_model`.
    """
    if made is None and model not in OWN and model not in TRUSTED and model.partition(":")[0] not in ZOOS:
        raise StoreError(f"model {model!r}", got="the name of a function in a file", expected="the model itself",
                         do=f"Files run no code. Where you trust that function: --model {model}; in Python: "
                         "load_system(stem, model=..), or register_model.")  # fmt: skip
    source = source_of(model, inputs, arguments, branches, output)
    if made is None:
        system = _again(source, dtype)
    else:
        system = adopt(made.to(dtype), example_of(inputs, dtype), branches=branches, output=output, source=source)
    return system if steps is None or len(steps) == system.depth else system.subsystem(steps)


def _again(source: dict[str, Any], dtype: torch.dtype | None) -> AdoptedSystem:
    """The model made and adopted. What was found is remembered: to find it takes seconds."""
    made = make_model(source["model"], source["arguments"]).eval().to(dtype)
    key = json.dumps(source), OWN.get(source["model"]), dtype
    if key not in FOUND:
        if len(FOUND) == REMEMBERED:
            FOUND.pop(next(iter(FOUND)))
        example = example_of(source["inputs"], dtype)
        _check_takes(made, example, source)
        FOUND[key] = adopt(copy.deepcopy(made), example, branches=source["branches"], output=source["output"],
                           source=source)  # fmt: skip
    system = copy.deepcopy(FOUND[key])
    system.load_state_dict(made.state_dict())
    return system


@torch.no_grad()
def _check_takes(made: nn.Module, example: Any, source: Mapping[str, Any]) -> None:
    """Raise ConfigError where the model cannot be called with the input: torch.export would say so at great length."""
    try:
        made(**example) if isinstance(example, Mapping) else made(example)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        first = next(iter(str(error).splitlines()), "")
        raise ConfigError(f"input {source['inputs']} of {source['model']}", got=f"{type(error).__name__}: {first}",
                          expected="a shape, the batch first, that the model takes with its arguments",
                          do="Correct --input (system.image) or --arg (system.arguments).") from error  # fmt: skip


def example_of(inputs: Any, dtype: torch.dtype | None = None) -> Tensor | dict[str, Tensor]:
    """Zeros of the described shapes.

    Args:
        inputs: see :func:`source_of`.
        dtype: of what is no integer.
    """
    if isinstance(inputs, Mapping):
        return {name: _zeros(shape, dtype) for name, shape in inputs.items()}
    return _zeros(inputs, dtype)


def _zeros(shape: Sequence[Any], dtype: torch.dtype | None) -> Tensor:
    if shape and isinstance(shape[-1], str):
        return torch.zeros(list(shape[:-1]), dtype=getattr(torch, shape[-1]))
    return torch.zeros(list(shape), dtype=dtype)
