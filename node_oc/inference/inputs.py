"""The inputs of some samples of a batch, where branches read them beside the state."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from node_oc.system.adopt import AdoptedSystem
from node_oc.system.adopt.inputs import arguments_of, in_order
from node_oc.system.base import System


def rows_of(system: System, x: Any, rows: Tensor) -> Any:
    """The same inputs for these samples alone: masks go with their samples, and what has no batch stays as it is.

    Args:
        system: whose inputs.
        x: of a batch: a tensor (B, ..), or whatever an adopted model takes.
        rows: numbers of samples, (n,).
    """
    if isinstance(x, Tensor):
        return x[rows]
    if not isinstance(system, AdoptedSystem):
        return pytree.tree_map(lambda leaf: leaf[rows] if isinstance(leaf, Tensor) else leaf, x)
    plan = system.plan
    args, kwargs = arguments_of(x)
    leaves, spec = pytree.tree_flatten((args, in_order(kwargs, plan.in_spec)))
    free = [isinstance(shape, tuple) and shape[:1] == (None,) for shape in plan.expected]
    args, kwargs = pytree.tree_unflatten([leaf[rows] if f else leaf for leaf, f in zip(leaves, free)], spec)
    return kwargs or args
