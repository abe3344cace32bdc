"""Blocks joined to one ONNX graph: stopped rows leave by Compress, and an If asks before each block who is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

OPSET = 20  # at least; of the operators that join


def in_one_graph(blocks: Sequence[Any], exits: Sequence[int]) -> Any:
    """A model that takes x (batch, ..) and returns y (batch, K) and depth (batch,), in the order of the rows.

    The If of a block is nested in the one before, as samples that still go on are inside both; weights stay outside.

    Args:
        blocks: ONNX models from one exit to the next, with inputs x (and seen) and outputs y, stop (and state, seen).
        exits: depth k at the end of each.
    """
    import onnx
    from onnx import TensorProto, compose, helper

    parts = [compose.add_prefix(block, f"{k}/").graph for k, block in zip(exits, blocks, strict=True)]
    kind = parts[0].output[0].type.tensor_type.elem_type
    weights = [tensor for part in parts for tensor in part.initializer]

    def constant(name: str, values: list[int]) -> None:
        weights.append(helper.make_tensor(name, TensorProto.INT64, [len(values)] if len(values) else [], values or [0]))

    def told(place: str) -> list[Any]:
        kinds = {"order": TensorProto.INT64, "y": kind, "depth": TensorProto.INT64}
        return [helper.make_tensor_value_info(name + place, type_, None) for name, type_ in kinds.items()]

    def level(i: int, rows: str) -> list[Any]:
        """Nodes from block i on; they leave order-i, y-i and depth-i of the rows that come in."""
        k, part, last = exits[i], parts[i], i == len(parts) - 1
        y, stop = (found.name for found in part.output[:2])
        nodes = list(part.node)
        constant(f"exit-{i}", [k])
        if last:
            return [*nodes, helper.make_node("Identity", [rows], [f"order-{i}"]),
                    helper.make_node("Identity", [y], [f"y-{i}"]),
                    helper.make_node("Shape", [rows], [f"count-{i}"]),
                    helper.make_node("Expand", [f"exit-{i}", f"count-{i}"], [f"depth-{i}"])]  # fmt: skip
        left, onward = f"left-{i}", [found.name for found in parts[i + 1].input]
        nodes += [
            helper.make_node("Compress", [rows, stop], [f"gone-{i}"], axis=0),
            helper.make_node("Compress", [y, stop], [f"told-{i}"], axis=0),
            helper.make_node("Shape", [f"gone-{i}"], [f"count-{i}"]),
            helper.make_node("Expand", [f"exit-{i}", f"count-{i}"], [f"at-{i}"]),
            helper.make_node("Not", [stop], [left]),
            helper.make_node("Compress", [rows, left], [f"rows-{i + 1}"], axis=0),
            *(helper.make_node("Compress", [found.name, left], [name], axis=0)
              for found, name in zip(part.output[2:], onward)),
            helper.make_node("Size", [f"rows-{i + 1}"], [f"size-{i}"]),
            helper.make_node("Greater", [f"size-{i}", "zero"], [f"any-{i}"]),
        ]  # fmt: skip
        then = helper.make_graph(level(i + 1, f"rows-{i + 1}"), f"block-{i + 1}", [], told(f"-{i + 1}"))
        nothing = [helper.make_node("Identity", [f"rows-{i + 1}"], [f"order-none-{i}"]),
                   helper.make_node("Compress", [y, left], [f"y-none-{i}"], axis=0),
                   helper.make_node("Identity", [f"rows-{i + 1}"], [f"depth-none-{i}"])]  # fmt: skip
        otherwise = helper.make_graph(nothing, f"stop-{i}", [], told(f"-none-{i}"))
        rest = [f"later-order-{i}", f"later-y-{i}", f"later-depth-{i}"]
        nodes.append(helper.make_node("If", [f"any-{i}"], rest, then_branch=then, else_branch=otherwise))
        for name, own, later in zip(("order", "y", "depth"), ("gone", "told", "at"), rest):
            nodes.append(helper.make_node("Concat", [f"{own}-{i}", later], [f"{name}-{i}"], axis=0))
        return nodes

    given = blocks[0].graph.input[0]
    constant("zero", [])
    weights.append(helper.make_tensor("one", TensorProto.INT64, [], [1]))
    nodes = [
        helper.make_node("Identity", [given.name], [parts[0].input[0].name]),
        helper.make_node("Shape", [given.name], ["batch-shape"], start=0, end=1),
        helper.make_node("Squeeze", ["batch-shape"], ["batch"]),
        helper.make_node("Range", ["zero", "batch", "one"], ["rows-0"]),
        *level(0, "rows-0"),
        helper.make_node("Unsqueeze", ["order-0", "one"], ["place"]),
        helper.make_node("ScatterND", ["y-0", "place", "y-0"], ["y"]),
        helper.make_node("ScatterND", ["depth-0", "place", "depth-0"], ["depth"]),
    ]  # fmt: skip
    shape = [dim.dim_value or "batch" for dim in parts[0].output[0].type.tensor_type.shape.dim]
    graph = helper.make_graph(nodes, "early-exit", [given], [
        helper.make_tensor_value_info("y", kind, shape),
        helper.make_tensor_value_info("depth", TensorProto.INT64, shape[:1])], weights)  # fmt: skip
    model = helper.make_model(graph, opset_imports=blocks[0].opset_import, ir_version=blocks[0].ir_version)
    onnx.checker.check_model(model)
    return model
