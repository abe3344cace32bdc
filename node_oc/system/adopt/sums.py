"""Residual sums that are written in other ways, made into additions of a skip and a branch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import reduce
from typing import Any, cast

import torch
from torch import fx

from node_oc.system.adopt.additions import is_addition, is_learnt, is_linear
from node_oc.system.adopt.graph import Graph
from node_oc.system.adopt.names import within
from node_oc.system.adopt.operations import op_name, path_of
from node_oc.system.adopt.trunk import Flow

aten = torch.ops.aten
PRODUCTS: dict[str, Any] = {"addcmul": aten.mul.Tensor, "addcdiv": aten.div.Tensor, "addmm": aten.mm.default,
                            "baddbmm": aten.bmm.default}  # fmt: skip


def flow_of(graph: Graph, main: fx.Node, output: fx.Node, branches: Collection[str] = ()) -> Flow:
    """The flow of a graph, changed so that its residual sums are additions of a skip and a branch.

    ``addcmul(x, f, g)`` becomes x + f g, and ``x + f + g``, which is ``(x + f) + g``, becomes x + (f + g), so that
    parallel branches are one. That is equal to rounding, and not to the bit.

    Args:
        graph: of the model; changed in place.
        main: the input that the states come from.
        output: the output that is read.
        branches: as of :func:`node_oc.adopt`.
    """
    flow = Flow(graph, main, output)
    for change in (_unfuse, _regroup):
        changed = [change(flow, fork, node, branches) for fork, node in zip(flow.trunk, flow.trunk[1:])]
        flow = Flow(graph, main, output) if any(changed) else flow
    return flow


def _unfuse(flow: Flow, fork: fx.Node, node: fx.Node, branches: Collection[str]) -> bool:
    """Split what adds and does something else too, at a place on the trunk and in the sums that lead to it."""
    changed, todo = False, [node]
    while todo:
        n = todo.pop()
        if op_name(n) in (*PRODUCTS, "lerp") and flow.is_live(n.args[0]):
            _split(flow.graph.code, n)
            changed = True
        if is_addition(n) and (branches or fork not in n.args):
            todo += [a for a in _operands(n) if a is not fork and len(a.users) == 1]
    return changed


def _split(code: fx.Graph, node: fx.Node) -> None:
    """Make a fused operation an addition, in place."""
    x, one, other = cast(tuple[Any, Any, Any], node.args[:3])

    def new(target: Any, *args: Any) -> fx.Node:
        with code.inserting_before(node):
            made = code.call_function(target, args)
        made.meta = dict(node.meta)
        return made

    def times(value: Any, factor: Any) -> Any:
        return value if factor == 1 else new(aten.mul.Tensor, value, factor)

    if op_name(node) == "lerp":
        rest = new(aten.rsub.Scalar, other, 1) if isinstance(other, fx.Node) else 1 - other
        skip, branch = new(aten.mul.Tensor, x, rest), new(aten.mul.Tensor, one, other)
    else:
        factors = [node.kwargs.get(name, 1) for name in ("beta", "alpha", "value")]
        product = new(PRODUCTS[op_name(node)], one, other)
        skip, branch = times(x, factors[0]), times(times(product, factors[1]), factors[2])
    node.target, node.args, node.kwargs = aten.add.Tensor, (skip, branch), {}


def _regroup(flow: Flow, fork: fx.Node, node: fx.Node, branches: Collection[str]) -> bool:
    """A sum of three and more as the sum of its skip and its branches; left alone where that is not clear."""
    if not is_addition(node) or len(terms := _terms(flow, fork, node)) < 3:
        return False
    live = [t for t in terms if flow.is_live(t)]
    paths = {t: flow.between(fork, t) for t in live}
    if branches:
        skips = {t for t in live if not any(within(path_of(n), branches) for n in paths[t])}
    else:
        skips = {fork} & {*live} or {t for t in live if all(is_linear(flow, n) for n in paths[t])}
        if len(skips) != 1 or not any(is_learnt(flow, n) for t in live if t not in skips for n in paths[t]):
            return False
    apart = _apart(flow, fork, node, skips)
    added = [t for t in apart if flow.is_live(t) and t not in skips]
    kept = sorted((t for t in apart if t not in added), key=lambda t: not flow.is_live(t))
    whole = all(str(t.meta["val"].shape) == str(node.meta["val"].shape) for t in (*added, *kept[:1]))
    done = len(added) == 1 and added[0] in node.args
    if not skips or not added or not whole or done:
        return False
    node.args = _sum(flow.graph.code, node, kept), _sum(flow.graph.code, node, added)
    return True


def _is_part(flow: Flow, fork: fx.Node, operand: fx.Node) -> bool:
    """Whether an operand is a sum of which nothing else is made."""
    later = operand is not fork and flow.place[operand] > flow.place[fork]
    return later and is_addition(operand) and len(operand.users) == 1


def _terms(flow: Flow, fork: fx.Node, node: fx.Node) -> list[fx.Node]:
    """What a sum is made of, in order."""
    return [t for a in _operands(node) for t in (_terms(flow, fork, a) if _is_part(flow, fork, a) else [a])]


def _apart(flow: Flow, fork: fx.Node, node: fx.Node, skips: set[fx.Node]) -> list[fx.Node]:
    """The same, where a part without a skip in it stays whole: a constant that is added there is a branch's bias."""
    found = []
    for a in _operands(node):
        mixed = _is_part(flow, fork, a) and not skips.isdisjoint(_terms(flow, fork, a))
        found += _apart(flow, fork, a, skips) if mixed else [a]
    return found


def _operands(node: fx.Node) -> list[fx.Node]:
    return [a for a in node.args[:2] if isinstance(a, fx.Node)]


def _sum(code: fx.Graph, node: fx.Node, terms: Sequence[fx.Node]) -> fx.Node:
    def plus(one: fx.Node, other: fx.Node) -> fx.Node:
        with code.inserting_before(node):
            made = code.call_function(aten.add.Tensor, (one, other))
        made.meta = dict(node.meta)
        return made

    return reduce(plus, terms)
