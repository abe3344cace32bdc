"""The graph of a model, traced once in each of its two modes: flat, without in-place operations on what is learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from node_oc.errors import AdoptError

WRAPPERS = {"wrap_with_set_grad_enabled": 1, "wrap_with_autocast": 4}  # name: where its submodule stands


@dataclass(frozen=True)
class Graph:
    """A model as a list of operations.

    Attributes:
        nodes: in the order in which they are computed; ``meta["val"]`` has shapes and dtypes.
        tensors: placeholder -> name of the parameter, buffer or constant that it stands for.
        inputs: placeholders of the model's tensor inputs, in the order of its flattened arguments.
        outputs: what the model returns, flattened.
        constants: tensors that are neither parameters nor buffers, by name.
        in_spec: how the arguments are flattened; out_spec: the same of what is returned.
    """

    nodes: tuple[fx.Node, ...]
    tensors: dict[fx.Node, str]
    inputs: tuple[fx.Node, ...]
    outputs: tuple[Any, ...]
    constants: dict[str, Tensor]
    in_spec: pytree.TreeSpec
    out_spec: pytree.TreeSpec


def trace(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Graph:
    """The graph of the model in the mode that it is in.

    The batch is dimension 0 of every tensor input and stays free, and so does dimension 1 of integer inputs, a
    sequence.

    Raises:
        AdoptError: ``torch.export`` cannot trace the model, or its batch size is fixed.
    """
    shapes = pytree.tree_map(_free, (args, dict(kwargs)))
    named = dict(zip(_names(model, args), shapes[0])) | shapes[1]
    try:
        program = torch.export.export(model, args, dict(kwargs), dynamic_shapes=named, strict=False)
    except Exception as error:  # torch.export has no base class for what it raises
        reason = str(error).strip().splitlines() or [""]
        do = "Whatever torch.export.export refuses must be written in another way, or done outside of the model."
        if isinstance(error, TypeError):
            do = "Give every input that model(*example) wants: a tuple of them, or a dict of keyword arguments."
        elif "data-dependent" in str(error).lower():
            do = (
                "Data-dependent control flow, or a Python number read off a tensor, must go: replace it by torch.where."
            )
        raise AdoptError(
            f"model {type(model).__name__}", got=f"{type(error).__name__}: {reason[0][:300]}",
            expected="a model that torch.export can trace, with a free batch size",
            do=do,
        ) from error  # fmt: skip
    graph = _flat(program)
    _sums(graph)
    _functional(graph)
    _without_factors(graph)
    outputs = next(n for n in reversed(graph.nodes) if n.op == "output").args[0]
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers,
             **signature.inputs_to_lifted_tensor_constants}  # fmt: skip
    places = [n for n in graph.nodes if n.op == "placeholder"]
    tensors = {n: names[n.name] for n in places if n.name in names}
    constants = {name: v for name, v in program.constants.items() if isinstance(v, Tensor) and name in tensors.values()}
    inputs = tuple(n for n in places if n.name not in names)
    spec = program.call_spec
    return Graph(tuple(graph.nodes), tensors, inputs, tuple(outputs), constants, spec.in_spec, spec.out_spec)


def _free(value: Any) -> dict[int, Any] | None:
    if not isinstance(value, Tensor) or not value.dim():
        return None
    sequence = value.dim() > 1 and not value.is_floating_point()
    return {0: Dim.AUTO, 1: Dim.AUTO} if sequence else {0: Dim.AUTO}


def _names(model: nn.Module, args: Sequence[Any]) -> list[str]:
    """Names of the positional arguments of the model's forward."""
    import inspect

    names, rest = [], None
    for name, parameter in inspect.signature(model.forward).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest = name
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(name)
    if rest is not None and len(args) > len(names):
        raise AdoptError(f"model {type(model).__name__}", got=f"forward(*{rest})", expected="named arguments",
                         do="Give forward one name for each input.")  # fmt: skip
    return names


def _flat(program: ExportedProgram) -> fx.Graph:
    """The program's graph, with what stands under no_grad or autocast in one list with the rest."""
    graph = fx.Graph()

    def detached(value: Any) -> Any:
        """No gradient goes back into what stood under no_grad."""
        if not isinstance(value, fx.Node) or not is_float(value):
            return value
        node = graph.call_function(torch.ops.aten.detach.default, (value,))
        node.meta = {**value.meta, "no_grad": True}
        return node

    def copy(source: fx.Graph, owner: nn.Module, values: dict[fx.Node, Any], no_grad: bool) -> Any:
        for node in source.nodes:
            if node in values or node.op == "get_attr":
                continue
            if node.op == "output":
                return fx.map_arg(node.args[0], values.__getitem__)
            wrapper = getattr(node.target, "__name__", "")
            if wrapper in WRAPPERS:
                at = WRAPPERS[wrapper]
                inner = getattr(owner, node.args[at].target)
                given = [fx.map_arg(a, values.__getitem__) for a in node.args[at + 1 :]]
                places = [n for n in inner.graph.nodes if n.op == "placeholder"]
                quiet = no_grad or (at == 1 and not node.args[0])
                made = copy(inner.graph, inner, dict(zip(places, given, strict=True)), quiet)
                values[node] = tuple(map(detached, made)) if quiet and not no_grad else made
            elif getattr(node.target, "__name__", "") == "getitem" and not isinstance(values[node.args[0]], fx.Node):
                values[node] = values[node.args[0]][node.args[1]]
            else:
                values[node] = graph.node_copy(node, values.__getitem__)
                values[node].meta["no_grad"] = no_grad
        return None

    module = program.graph_module
    graph.output(copy(module.graph, module, {}, False))
    return graph


def _sums(graph: fx.Graph) -> None:
    """x - f as x + (-f), which is the same to the bit, so that it is seen."""
    for node in list(graph.nodes):
        if op_name(node) != "sub" or node.kwargs or not all(isinstance(a, fx.Node) and is_float(a) for a in node.args):
            continue
        with graph.inserting_before(node):
            minus = graph.call_function(torch.ops.aten.neg.default, (node.args[1],))
        minus.meta = dict(node.args[1].meta)
        node.target, node.args = torch.ops.aten.add.Tensor, (node.args[0], minus)


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


def _is_no_cast(node: fx.Node) -> bool:
    """Whether an operation hands on its argument as it is: a cast to the type that it has."""
    if not str(node.target).startswith("aten.to.") or not isinstance(node.args[0], fx.Node):
        return False
    before, after = node.args[0].meta["val"], node.meta["val"]
    return before.dtype == after.dtype and before.device == after.device


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
