"""The inputs of a model, from whatever they come as: a tensor, a tuple, a dict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from node_oc.errors import ShapeError


def arguments_of(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments."""
    if isinstance(example, Mapping):
        return (), dict(example)
    return (tuple(example), {}) if isinstance(example, (tuple, list)) else ((example,), {})


def leaves_of(x: Any, spec: pytree.TreeSpec, expected: Sequence[Any], main: int, dtype: torch.dtype) -> list[Any]:
    """The flattened arguments of the model.

    Args:
        x: inputs; a tensor may come flat, (B, D).
        spec: how the model's arguments are flattened.
        expected: shape or value of each, see :class:`Plan`.
        main: place of the main input.
        dtype: of the main input.

    Raises:
        ShapeError: other inputs than the example had: sizes other than the batch are part of what was traced.
    """
    if isinstance(x, Tensor):
        shape = expected[main]
        if x.dim() == 2 and len(shape) > 2:
            x = x.reshape(-1, *shape[1:])
        if x.is_floating_point() != dtype.is_floating_point:
            x = x.to(dtype)
        if spec.num_leaves > 1:
            raise ShapeError("inputs", got="one tensor", expected=f"{spec.num_leaves} inputs, as the example had",
                             do="Give a tuple, or a dict of keyword arguments.")  # fmt: skip
        leaves = [x]
    else:
        args, kwargs = arguments_of(x)
        leaves, found = pytree.tree_flatten((args, in_order(kwargs, spec)))
        if len(leaves) != spec.num_leaves or (kwargs and found != spec):
            raise ShapeError("inputs", got=list(kwargs) or f"{len(leaves)} values",
                             expected=_names(spec) or f"{spec.num_leaves} values",
                             do="Give the model what the example input had.")  # fmt: skip
    if not torch.compiler.is_compiling():
        for value, wanted in zip(leaves, expected, strict=True):
            _check(value, wanted)
    return leaves


def _check(value: Any, wanted: Any) -> None:
    if isinstance(value, Tensor):
        same = isinstance(wanted, tuple) and len(wanted) == value.dim()
        if not same or any(w is not None and w != s for w, s in zip(wanted, value.shape)):
            told = tuple("any" if w is None else w for w in wanted) if isinstance(wanted, tuple) else wanted
            raise ShapeError("input of an adopted model", got=tuple(value.shape), expected=told,
                             do="Adopt the model again with an example of this size.")  # fmt: skip
    elif value != wanted:
        raise ShapeError("argument of an adopted model", got=repr(value), expected=repr(wanted),
                         do="Numbers are part of what was traced: adopt the model again with this one.")  # fmt: skip


def in_order(kwargs: dict[str, Any], spec: pytree.TreeSpec) -> dict[str, Any]:
    """Keyword arguments in the order of the example, by which they are flattened."""
    names = _names(spec)
    return {name: kwargs[name] for name in names} if set(names) == set(kwargs) else kwargs


def _names(spec: pytree.TreeSpec) -> list[str]:
    return list(spec.child(1).context or [])


def repeated(values: Sequence[Any], expected: Sequence[Any], times: int) -> list[Any]:
    """Inputs of a batch, as often as states of it are stacked; what has no free batch size is what it is.

    Args:
        values: of the inputs.
        expected: their shapes, see :class:`Plan`.
        times: how often.
    """
    along = [isinstance(v, Tensor) and isinstance(e, tuple) and e[:1] == (None,) for v, e in zip(values, expected)]
    return [v.repeat(times, *(1,) * (v.dim() - 1)) if times > 1 and a else v for v, a in zip(values, along)]
