"""From a model to a system: what `node_oc.adopt` does."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from node_oc.errors import AdoptError
from node_oc.system.adopt.adopted import AdoptedSystem
from node_oc.system.adopt.changes import check_hooks
from node_oc.system.adopt.inputs import arguments_of
from node_oc.system.adopt.piece import Piece
from node_oc.system.adopt.plan import Branch, Plan, make_plan
from node_oc.system.adopt.samples import check_samples
from node_oc.system.adopt.weights import Weights


def adopt(
    model: nn.Module,
    example_input: Tensor | tuple[Any, ...] | Mapping[str, Any],
    *,
    branches: Collection[str] = (),
    output: str | None = None,
    source: Mapping[str, Any] | None = None,
) -> AdoptedSystem:
    """See a PyTorch model with residual additions as a system: lift, branches, skips, head.

    The additions are found in the graph that ``torch.export`` makes of the model: those on the trunk, through which
    every path from the input to the output goes. What stands on the trunk between two of them belongs to the skip of
    the second (theory: "The trunk"). The model stays yours: the system has its very parameters under their names, and
    ``system(x)`` is what the model returns.

    Args:
        model: any model that ``torch.export`` can trace in both of its modes, with a free batch size. It is not
            changed.
        example_input: a tensor, a tuple of arguments, or a dict of keyword arguments; the batch comes first. Only
            shapes and dtypes matter.
        branches: paths of the modules that are branches, as "blocks.0.mlp", where the graph does not show them.
        output: which of the model's outputs is the readout; its only tensor, or "logits", by default.
        source: how to make the model again, see :func:`node_oc.make_model`: without it a file cannot describe it.

    Raises:
        AdoptError: the model cannot be traced, has no residual additions, or one that is not understood; the message
            names it.
    """
    branches = [branches] if isinstance(branches, str) else branches
    _check_model(model, branches)
    args, kwargs = arguments_of(example_input)
    _check_example(model, pytree.tree_leaves((args, kwargs)))
    args, kwargs = pytree.tree_map(_at_least_two, (args, kwargs))
    plan, constants = make_plan(model, args, kwargs, branches, output)
    leaves = pytree.tree_leaves((args, kwargs))
    weights, main = Weights.of(model, constants), leaves[plan.main]
    states: list[Tensor] = []
    plan = replace(plan, branches=tuple(tried(plan, weights, leaves, states)))
    check_samples(plan, weights, leaves, states)
    return AdoptedSystem(plan, weights, range(len(plan.branches)), whole=True,
                         example=(tuple(main.shape[1:]), main.dtype), source=source)  # fmt: skip


@torch.no_grad()
def tried(plan: Plan, weights: Weights, leaves: Sequence[Any], states: list[Tensor]) -> Iterator[Branch]:
    """The branches of a plan, without a group where its zero is no zero branch.

    A factor 1 + w, a norm v/||v||: what the graph shows is a guess, so that each group is set to zero once, in
    evaluation mode, at a state drawn at random (nothing is changed).

    Args:
        plan: of the model.
        weights: of the model.
        leaves: its flattened example arguments.
        states: those that it was tried at are put here, and one for the head.
    """
    mode, generator = plan.modes[False], torch.Generator().manual_seed(0)

    def call(piece: Piece, *state: Tensor, zero: Sequence[str] = ()) -> tuple[Tensor, ...]:
        tensors = [torch.zeros_like(weights[n]) if n in zero else weights[n] for n in piece.tensors]
        return piece.function(*state, *tensors, *(leaves[i] for i in piece.inputs))

    def drawn(x: Tensor) -> Tensor:
        states.append(torch.randn(x.shape, generator=generator).to(x))
        return states[-1]

    x = drawn(call(mode.lift)[0])
    for branch, step in zip(plan.branches, mode.steps, strict=True):
        off = call(step.branch, x, zero=branch.group)[0] if branch.group else x
        yield branch if not branch.group or bool((off == 0).all()) else replace(branch, group=())
        x = drawn(call(step.skip, x)[0])


def _check_model(model: nn.Module, branches: Collection[str]) -> None:
    if not isinstance(model, nn.Module):
        raise AdoptError("model", got=f"a {type(model).__name__}", expected="an nn.Module",
                         do="Make it first, as with node_oc.make_model('torchvision:resnet18').")  # fmt: skip
    if (wrapped := _wrapped(model)) is not None:
        raise AdoptError("model", got=f"a {type(model).__name__}", expected="the model itself", do=wrapped)
    modules = dict(model.named_modules(remove_duplicate=False))
    if quantised := [name for name, m in modules.items() if ".quantized." in f"{type(m).__module__}."]:
        raise AdoptError(f"module {quantised[0]!r}", got="a quantised one", expected="parameters with gradients",
                         do="Adopt the model before it is quantised; quantise what is left of it.")  # fmt: skip
    check_hooks(model)
    if isinstance(model, AdoptedSystem):
        raise AdoptError("model", got="a system that was adopted already", expected="a model",
                         do="Use it as it is, or node_oc.crop it.")  # fmt: skip
    other = [name for name, m in modules.items() if m.training != model.training]
    if other:
        raise AdoptError(f"module {other[0]!r}", got=f"training={not model.training}, the model {model.training}",
                         expected="one mode for all of it", do="Adopt it after model.train() or model.eval(); a part "
                         "that stays in another mode is not followed.")  # fmt: skip
    if unknown := [name for name in branches if name not in modules]:
        raise AdoptError(f"branches={list(branches)}", got=f"no module {unknown[0]!r} in the model",
                         expected="paths as of model.named_modules()", do="Correct the name.")  # fmt: skip


def _wrapped(model: nn.Module) -> str | None:
    """What to do with a model in a wrapper that no graph can be made of; None of any other."""
    if hasattr(model, "_orig_mod"):
        return "Adopt model._orig_mod, and compile what comes of it."
    if isinstance(model, torch.jit.ScriptModule):
        return "Adopt the nn.Module that it was scripted from: this one has no Python code to trace."
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    return "Adopt model.module, and wrap what comes of it." if isinstance(model, parallel) else None


def _check_example(model: nn.Module, leaves: Sequence[Any]) -> None:
    tensors = [v for v in leaves if isinstance(v, Tensor)]
    places = {p.device for p in [*model.parameters(), *model.buffers()]}
    given = {v.device for v in tensors}
    if len(places | given) > 1:
        raise AdoptError("example input", got=f"on {sorted(map(str, given))}, the model on {sorted(map(str, places))}",
                         expected="one device", do="Move it: example.to(device).")  # fmt: skip
    if torch.device("meta") in places | given:
        raise AdoptError("model and example input", got="on the device 'meta', without values", expected="values",
                         do="Make them on the CPU: what adopting finds is tried once.")  # fmt: skip
    if any(v.dim() and not len(v) for v in tensors):
        raise AdoptError("example input", got="no sample", expected="a batch of one or more, dimension 0",
                         do="Give an example such as torch.zeros(2, 3, 32, 32).")  # fmt: skip


def _at_least_two(value: Any) -> Any:
    """A batch of one says nothing about which dimension is the batch."""
    if isinstance(value, Tensor) and value.dim() and value.shape[0] == 1:
        return torch.cat([value, value])
    return value
