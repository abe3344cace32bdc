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
from node_oc.system.adopt.normal_form import normalise
from node_oc.system.adopt.operations import is_float

WRAPPERS = {"wrap_with_set_grad_enabled": 1, "wrap_with_autocast": 4}  # name: where its submodule stands


@dataclass(frozen=True)
class Graph:
    """A model as a list of operations.

    Attributes:
        code: the operations; ``meta["val"]`` has shapes and dtypes.
        tensors: placeholder -> name of the parameter, buffer or constant that it stands for.
        inputs: placeholders of the model's tensor inputs, in the order of its flattened arguments.
        outputs: what the model returns, flattened.
        constants: tensors that are neither parameters nor buffers, by name.
        in_spec: how the arguments are flattened; out_spec: the same of what is returned.
    """

    code: fx.Graph
    tensors: dict[fx.Node, str]
    inputs: tuple[fx.Node, ...]
    outputs: tuple[Any, ...]
    constants: dict[str, Tensor]
    in_spec: pytree.TreeSpec
    out_spec: pytree.TreeSpec

    @property
    def nodes(self) -> tuple[fx.Node, ...]:
        """In the order in which they are computed."""
        return tuple(self.code.nodes)


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
        refused = _refusal(model, args, kwargs)
        reason = str(refused or error).strip().splitlines() or [""]
        do = "Whatever torch.export.export refuses must be written in another way, or done outside of the model."
        if refused is not None:
            do = (
                "Give every input that model(*example) wants, of the shape and type that it takes: a tuple of them, or "
                "a dict of keyword arguments."
            )
        elif "data-dependent" in str(error).lower():
            do = (
                "Data-dependent control flow, or a Python number read off a tensor, must go: replace it by torch.where."
            )
        raise AdoptError(
            f"model {type(model).__name__}", got=f"{type(refused or error).__name__}: {reason[0][:300]}",
            expected="a model that torch.export can trace, with a free batch size" if refused is None else
            "an example that the model takes",
            do=do,
        ) from error  # fmt: skip
    graph = _flat(program)
    normalise(graph)
    outputs = next(n for n in reversed(graph.nodes) if n.op == "output").args[0]
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers,
             **signature.inputs_to_lifted_tensor_constants}  # fmt: skip
    places = [n for n in graph.nodes if n.op == "placeholder"]
    tensors = {n: names[n.name] for n in places if n.name in names}
    constants = {name: v for name, v in program.constants.items() if isinstance(v, Tensor) and name in tensors.values()}
    inputs = tuple(n for n in places if n.name not in names)
    spec = program.call_spec
    return Graph(graph, tensors, inputs, tuple(outputs), constants, spec.in_spec, spec.out_spec)


@torch.no_grad()
def _refusal(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Exception | None:
    """What the model itself raises, called with the example: then it is not its code that cannot be traced."""
    try:
        model(*args, **kwargs)
    except Exception as error:
        return error
    return None


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
        """What goes into no_grad: nothing inside has a gradient, also where it writes to out=, as spectral norms do."""
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
                if wrapper == "wrap_with_autocast" and node.args[2]:
                    raise AdoptError(
                        "the model's code", got=f"torch.autocast({node.args[0]!r}, {node.args[1]}) in it",
                        expected="one precision, that of whoever calls it",
                        do="Take it out, and call the system under torch.autocast: its casts do not go into a trace.",
                    )  # fmt: skip
                given = [fx.map_arg(a, values.__getitem__) for a in node.args[at + 1 :]]
                places = [n for n in inner.graph.nodes if n.op == "placeholder"]
                quiet = no_grad or (at == 1 and not node.args[0])
                if quiet and not no_grad:
                    given = [detached(v) for v in given]
                values[node] = copy(inner.graph, inner, dict(zip(places, given, strict=True)), quiet)
            elif getattr(node.target, "__name__", "") == "getitem" and not isinstance(values[node.args[0]], fx.Node):
                values[node] = values[node.args[0]][node.args[1]]
            else:
                values[node] = graph.node_copy(node, values.__getitem__)
                values[node].meta["no_grad"] = no_grad
        return None

    module = program.graph_module
    graph.output(copy(module.graph, module, {}, False))
    return graph
