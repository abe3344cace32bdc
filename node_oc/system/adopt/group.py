"""The group of a branch: its last affine map. Zero there, the branch is zero."""

from __future__ import annotations

from torch import fx

from node_oc.system.adopt.names import Addition
from node_oc.system.adopt.operations import op_name
from node_oc.system.adopt.trunk import Flow

MAPS = frozenset({"linear", "conv1d", "conv2d", "conv3d", "convolution", "conv_transpose2d", "addmm", "matmul", "mm",
                  "batch_norm", "layer_norm", "group_norm", "mul"})  # fmt: skip
NORMS = frozenset({"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"})
# They send zero to zero, so that what comes before them decides.
THROUGH = frozenset({
    "view", "reshape", "permute", "transpose", "contiguous", "dropout", "div", "to", "slice", "roll", "pad",
    "constant_pad_nd", "squeeze", "unsqueeze", "flatten", "unflatten", "clone", "expand", "relu", "gelu", "silu",
    "tanh", "hardtanh", "neg", "mul", "type_as", "_to_copy", "index", "select",
})  # fmt: skip


def group_of(addition: Addition, flow: Flow) -> tuple[str, ...]:
    """Names of the parameters of the last affine map of a branch; none where it does not end in one.

    A batch norm or a layer scale is an affine map: where the branch ends in one, that is its group, and what comes
    before it is not. Zero group, zero branch.
    """
    return _last_map(addition.branch, addition, flow)


def _last_map(node: fx.Node, addition: Addition, flow: Flow) -> tuple[str, ...]:
    bias: list[str] = []
    while node is not addition.fork:
        name = op_name(node)
        own = [t for a in node.all_input_nodes if a in flow.learnt and not flow.is_live(a) for t in _tensors(a, flow)]
        live = [a for a in node.all_input_nodes if flow.is_live(a)]
        if name == "add" and len(live) == 2:  # parallel branches are zero where each of them is
            both = [_last_map(a, addition, flow) for a in live]
            return tuple(dict.fromkeys([*both[0], *both[1], *bias])) if all(both) else ()
        if len(live) != 1:
            return ()
        if own and name in MAPS:
            return tuple(dict.fromkeys([*own, *bias]))
        if own and name == "add":
            bias += own
        elif own or name not in THROUGH:
            return ()
        node = live[0]
    return ()


def gains(flow: Flow) -> frozenset[str]:
    """Names of the vectors that scale a value: weights of normalisations, and what a value is multiplied by."""
    found = set()
    for n in flow.live:
        name = op_name(n)
        at = 2 if name in ("layer_norm", "group_norm", "rms_norm") else 1
        scales = n.args[:2] if name == "mul" else n.args[at : at + 1] if name in NORMS else ()
        found |= {flow.graph.tensors[a] for a in scales if isinstance(a, fx.Node) and a in flow.graph.tensors}
    return frozenset(found)


def _tensors(node: fx.Node, flow: Flow) -> list[str]:
    """The named tensors that a learnt value is made of."""
    if node in flow.graph.tensors:
        return [flow.graph.tensors[node]]
    return [t for a in node.all_input_nodes for t in _tensors(a, flow)]
