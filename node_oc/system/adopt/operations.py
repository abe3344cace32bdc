"""What an operation of a graph is: its name, its module, its memory."""

from __future__ import annotations

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree


def op_name(node: fx.Node) -> str:
    """The operation without its namespace and overload: "conv2d"."""
    target = node.target
    return target._schema.name.split("::")[1] if isinstance(target, torch._ops.OpOverload) else str(target)


def path_of(node: fx.Node) -> str:
    """The module that an operation stands in, "" for the model itself."""
    stack = node.meta.get("nn_module_stack")
    return str(list(stack.values())[-1][0]) if stack else ""


def is_inplace(node: fx.Node) -> bool:
    """Whether an operation writes into its first argument."""
    if not isinstance(node.target, torch._ops.OpOverload) or not node.args or not isinstance(node.args[0], fx.Node):
        return False
    alias = node.target._schema.arguments[0].alias_info if node.target._schema.arguments else None
    return alias is not None and alias.is_write


def base(node: fx.Node) -> fx.Node:
    """Whose memory a value is: through views and in-place operations to where it was made."""
    while isinstance(node.target, torch._ops.OpOverload) and node.args and isinstance(node.args[0], fx.Node):
        arguments = node.target._schema.arguments
        if not arguments or arguments[0].alias_info is None:
            break
        node = node.args[0]
    return node


def is_float(node: fx.Node) -> bool:
    """Whether a value is a floating point tensor, or a tuple with one."""
    return any(isinstance(v, Tensor) and v.is_floating_point() for v in pytree.tree_leaves(node.meta.get("val")))
