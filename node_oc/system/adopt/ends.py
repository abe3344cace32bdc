"""The two ends of a model, the input that the states come from and the readout; and whether its states can be kept."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import SymInt, Tensor, fx
from torch.utils import _pytree as pytree

from node_oc.errors import AdoptError
from node_oc.system.adopt.additions import find_additions
from node_oc.system.adopt.graph import Graph
from node_oc.system.adopt.names import Addition
from node_oc.system.adopt.operations import base, is_inplace, op_name, path_of
from node_oc.system.adopt.sums import flow_of
from node_oc.system.adopt.trunk import Flow

MAIN = ("input_ids", "pixel_values", "inputs_embeds")
PRODUCTS = frozenset({"linear", "conv1d", "conv2d", "conv3d", "convolution", "addmm", "matmul", "mm", "bmm", "baddbmm"})


def main_input(graph: Graph, place: int, branches: Collection[str] = ()) -> int:
    """Place of the input that the states come from: by its name, or that from which most additions are seen.

    Args:
        graph: of the model.
        place: of the readout among the outputs.
        branches: as of :func:`node_oc.adopt`.

    Raises:
        AdoptError: no input is a tensor.
    """
    tensors = [i for i, n in enumerate(graph.inputs) if isinstance(n.meta.get("val"), Tensor)]
    named = [i for i in tensors if graph.inputs[i].name in MAIN]
    if not tensors:
        raise AdoptError("inputs", got="no tensor", expected="a tensor that the states come from",
                         do="Give an example input.")  # fmt: skip
    if named or len(tensors) == 1:
        return (named or tensors)[0]

    def seen(i: int) -> int:
        try:
            flow = flow_of(graph, graph.inputs[i], graph.outputs[place], branches)
            return len(find_additions(flow, branches))
        except AdoptError:  # told again of the one that is taken
            return -1

    return max(tensors, key=seen)


def readout(graph: Graph, output: str | None) -> int:
    """Place of the readout among the outputs.

    Args:
        graph: of the model.
        output: its name, or its place; the only tensor, or "logits", if None.

    Raises:
        AdoptError: there is none, or it is not clear which.
    """
    tensors = [i for i, n in enumerate(graph.outputs) if isinstance(n, fx.Node)]
    tree = pytree.tree_unflatten(range(len(graph.outputs)), graph.out_spec)
    keys = list(tree.keys()) if hasattr(tree, "keys") else list(map(str, tensors))
    if output is None and len(tensors) == 1:
        return tensors[0]
    name = "logits" if output is None and "logits" in keys else output
    if name not in keys:
        asked = f", and output={output!r}" if output else ""
        raise AdoptError("outputs of the model", got=f"{keys or 'no tensor'}{asked}",
                         expected="one that is the readout", do="Choose it: output='..'.")  # fmt: skip
    chosen = tree[name] if hasattr(tree, "keys") else int(name or 0)
    if not isinstance(chosen, int) or chosen not in tensors:
        raise AdoptError(f"output {name!r}", got="no single tensor", expected="one", do="Choose another: output='..'.")
    return chosen


def check_types(graph: Graph) -> None:
    """That products are of one type: an example of another one than the model's would be traced all the same.

    Raises:
        AdoptError: they are not.
    """
    for node in graph.nodes:
        types = {a.meta["val"].dtype for a in node.all_input_nodes if isinstance(a.meta.get("val"), Tensor)}
        if op_name(node) in PRODUCTS and len(types) > 1:
            raise AdoptError(
                f"{node.name} in module {path_of(node) or '(the model itself)'}",
                got=" and ".join(sorted(map(str, types))), expected="one type",
                do="Give an example of the model's own type: example.to(next(model.parameters()).dtype).",
            )  # fmt: skip


def check_states(flow: Flow, additions: Sequence[Addition]) -> None:
    """That states have a free batch size, and that nothing writes over them.

    Raises:
        AdoptError: one of the two does not hold.
    """
    for node in (flow.main, additions[0].fork):
        size = node.meta["val"].shape[0]
        if not any(isinstance(s, SymInt) for s in node.meta["val"].shape[:1]):
            raise AdoptError("batch size", got=f"fixed at {size} in {node.name}", expected="a free one, dimension 0",
                             do="Put the batch first, as in an example (2, 3, 32, 32); in the model, write "
                             "x.shape[0] instead of the number.")  # fmt: skip
    states = {base(node): node for a in additions for node in (a.fork, a.node)}
    for node in flow.graph.nodes:
        if is_inplace(node) and base(node) in states and flow.place[node] > flow.place[states[base(node)]]:
            raise AdoptError(
                f"{node.name} in module {path_of(node) or '(the model itself)'}", got="a part of a state written over",
                expected="states that stay as they are: readouts of all depths need them",
                do="Compute the new state instead: x = torch.cat([..], 1), or torch.where.",
            )  # fmt: skip
