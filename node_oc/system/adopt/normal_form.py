"""A graph in which nothing that is used again is written over, and sums are additions without factors."""

from __future__ import annotations

import torch
from torch import fx

from node_oc.system.adopt.operations import base, is_float, is_inplace, op_name


def normalise(graph: fx.Graph) -> None:
    """Bring a traced graph into that form, in place; its values stay the same."""
    _functional(graph)
    _apart(graph)
    _subtractions(graph)
    _without_factors(graph)


def _functional(graph: fx.Graph) -> None:
    """Replace in-place operations by those that return a new tensor, where what they write into is used by others.

    A trajectory keeps its states: an addition or a ReLU in place would write over them. Later readers of the old
    value read the new one, as they did before. What is written into views, or has no other form, stays as it is.
    """
    place = {node: i for i, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        if _is_no_cast(node):
            node.replace_all_uses_with(node.args[0])
            continue
        if not is_inplace(node) or base(node).op == "placeholder" or not is_float(node):
            continue
        packet = getattr(torch.ops.aten, node.target._schema.name.split("::")[1].rstrip("_"), None)
        overload = node.target._overloadname
        old = node.args[0]
        if packet is None or overload not in packet.overloads() or base(old) is not old:
            continue
        node.target = getattr(packet, overload)
        for user in list(old.users):
            if place[user] > place[node]:
                user.replace_input_with(old, node)


def _apart(graph: fx.Graph) -> None:
    """Let each of several writes into one buffer write into the buffer itself, and not into what the last one returned.

    That is the same memory; but a part of the graph can have one of them without the others.
    """
    for node in graph.nodes:
        if (is_inplace(node) or op_name(node) == "detach") and base(node).op == "placeholder":
            written = node.args[0]
            while is_inplace(written):
                written = written.args[0]
            node.args = (written, *node.args[1:])


def _is_no_cast(node: fx.Node) -> bool:
    """Whether an operation hands on its argument as it is: a cast to the type that it has."""
    if not str(node.target).startswith("aten.to.") or not isinstance(node.args[0], fx.Node):
        return False
    before, after = node.args[0].meta["val"], node.meta["val"]
    return before.dtype == after.dtype and before.device == after.device


def _subtractions(graph: fx.Graph) -> None:
    """x - f as x + (-f), which is the same to the bit, so that it is seen; x + 0, as sum([x, f]) begins, as x."""
    for node in list(graph.nodes):
        if _is_plus_zero(node):
            node.replace_all_uses_with(node.args[0])
        if op_name(node) not in ("sub", "rsub") or not all(isinstance(a, fx.Node) and is_float(a) for a in node.args):
            continue
        if op_name(node) == "rsub":
            node.args = node.args[::-1]
        if node.kwargs:
            node.target, node.kwargs = torch.ops.aten.add.Tensor, {"alpha": -node.kwargs["alpha"]}
            continue
        with graph.inserting_before(node):
            minus = graph.call_function(torch.ops.aten.neg.default, (node.args[1],))
        minus.meta = dict(node.args[1].meta)
        node.target, node.args = torch.ops.aten.add.Tensor, (node.args[0], minus)


def _is_plus_zero(node: fx.Node) -> bool:
    if op_name(node) != "add" or not isinstance(node.args[0], fx.Node) or isinstance(node.args[1], fx.Node):
        return False
    same = node.meta["val"].dtype == node.args[0].meta["val"].dtype
    return bool(same and node.args[1] == 0) and not any(map(is_inplace, node.users))


def _without_factors(graph: fx.Graph) -> None:
    """x + f alpha as x + (f alpha): the factor belongs to the operand."""
    for node in graph.nodes:
        alpha = node.kwargs.get("alpha", 1) if str(node.target).startswith(("aten.add.", "aten.add_.")) else 1
        if alpha == 1:
            continue
        scalar = not isinstance(node.args[1], fx.Node)
        if not scalar:
            with graph.inserting_before(node):
                scaled = graph.call_function(torch.ops.aten.mul.Tensor, (node.args[1], alpha))
            scaled.meta = {**node.args[1].meta, "nn_module_stack": node.meta.get("nn_module_stack")}
            scaled.meta["no_grad"] = node.meta.get("no_grad", False)
        node.args = (node.args[0], node.args[1] * alpha if scalar else scaled, *node.args[2:])
        node.kwargs = {name: value for name, value in node.kwargs.items() if name != "alpha"}
