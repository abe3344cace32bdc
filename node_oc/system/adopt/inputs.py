"""The inputs of a model, from whatever they come as: a tensor, a tuple, a dict."""

from __future__ import annotations

from collections.abc import Mapping
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


def leaves_of(x: Any, spec: pytree.TreeSpec, example: tuple[tuple[int, ...], torch.dtype]) -> list[Any]:
    """The flattened arguments of the model.

    Args:
        x: inputs; a tensor may come flat, (B, D).
        spec: how the model's arguments are flattened.
        example: shape of a sample without the batch, and its dtype.

    Raises:
        ShapeError: other inputs than the example had.
    """
    if isinstance(x, Tensor):
        shape, dtype = example
        if x.dim() == 2 and len(shape) > 1:
            x = x.reshape(-1, *shape)
        if x.is_floating_point() != dtype.is_floating_point:
            x = x.to(dtype)
        if spec.num_leaves > 1:
            raise ShapeError("inputs", got="one tensor", expected=f"{spec.num_leaves} inputs, as the example had",
                             do="Give a tuple, or a dict of keyword arguments.")  # fmt: skip
        return [x]
    args, kwargs = arguments_of(x)
    leaves, found = pytree.tree_flatten((args, in_order(kwargs, spec)))
    if len(leaves) != spec.num_leaves or (kwargs and found != spec):
        raise ShapeError("inputs", got=list(kwargs) or f"{len(leaves)} values",
                         expected=_names(spec) or f"{spec.num_leaves} values",
                         do="Give the model what the example input had.")  # fmt: skip
    return leaves


def in_order(kwargs: dict[str, Any], spec: pytree.TreeSpec) -> dict[str, Any]:
    """Keyword arguments in the order of the example, by which they are flattened."""
    names = _names(spec)
    return {name: kwargs[name] for name in names} if set(names) == set(kwargs) else kwargs


def _names(spec: pytree.TreeSpec) -> list[str]:
    return list(spec.child(1).context or [])


def repeated(values: list[Any], batch: int, rows: int) -> list[Any]:
    """Inputs of a batch, as often as states of it are stacked: ``rows`` is a multiple of ``batch``."""
    times = rows // batch
    along = [isinstance(v, Tensor) and v.dim() > 0 and v.shape[0] == batch for v in values]
    return [v.repeat(times, *(1,) * (v.dim() - 1)) if times > 1 and a else v for v, a in zip(values, along)]
