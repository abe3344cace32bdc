"""A part of a graph as a function: from a state, the tensors that it reads, and the inputs that it needs."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import sympy
import torch
from torch import SymInt, Tensor, fx, nn
from torch.utils._sympy.functions import FloorDiv, PythonMod

from node_oc.errors import AdoptError
from node_oc.system.adopt.operations import base, is_inplace, op_name, path_of
from node_oc.system.adopt.trunk import Flow

ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    sympy.Add: operator.add, sympy.Mul: operator.mul, FloorDiv: operator.floordiv, PythonMod: operator.mod,
}  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """A function cut out of a graph.

    Attributes:
        function: (state, *tensors, *inputs) -> values; of the lift without a state, of a tail with the number of depths
            that are stacked in the state, and whether running statistics are updated, behind it.
        tensors: names of the parameters, buffers and constants.
        inputs: places of the model's inputs among its flattened arguments.
        tail: whether batch norms take their statistics from the last of the stacked depths.
        random: whether it draws random numbers.
        coupled: whether it has a batch norm in training mode.
        counters: names of the buffers in which those count their batches; a tail leaves that to its caller.
    """

    function: fx.GraphModule
    tensors: tuple[str, ...]
    inputs: tuple[int, ...]
    tail: bool = False
    random: bool = False
    coupled: bool = False
    counters: tuple[str, ...] = ()

    def __deepcopy__(self, memo: dict[int, Any]) -> Piece:
        return self  # it holds no tensors


class Cutter:
    """Cuts pieces out of one graph.

    Args:
        flow: of the graph.
    """

    def __init__(self, flow: Flow) -> None:
        self.flow, self.graph = flow, flow.graph
        self.writes: dict[fx.Node, list[fx.Node]] = {}
        for node in self.graph.nodes:
            if is_inplace(node):
                self.writes.setdefault(base(node), []).append(node)

    def needed(self, start: fx.Node | None, targets: Sequence[fx.Node], until: fx.Node | None) -> list[fx.Node]:
        """Operations between a state and what is computed from it, in order, placeholders among them.

        What is written into a value is needed where it is read later, or it is a target and written before ``until``.

        Raises:
            AdoptError: it reads another state than that one.
        """
        place, found, todo = self.flow.place, set(), list(targets)
        first = -1 if start is None else place[start]
        while todo:
            node = todo.pop()
            if node is not start and node not in found:
                if self.flow.is_live(node) and place[node] < first:
                    raise AdoptError(
                        f"module {path_of(targets[0]) or '(the model itself)'}",
                        got=f"a value from module {path_of(node)}",
                        expected="nothing but the state, its own parameters, and the inputs",
                        do="A branch that reads an earlier state is no part of a residual system: it cannot be cut.",
                    )  # fmt: skip
                found.add(node)
                if not isinstance(node.meta.get("val"), SymInt):
                    todo += node.all_input_nodes
            if not todo:
                todo = self._written(start, targets, until, found)
        return sorted(found, key=place.__getitem__)

    def _written(
        self, start: fx.Node | None, targets: Sequence[fx.Node], until: fx.Node | None, found: set[fx.Node]
    ) -> list[fx.Node]:
        """Writes into what these operations read, before they read it, that are not among them yet."""
        place, read = self.flow.place, dict[fx.Node, int]()
        reads = [(a, place[n]) for n in found for a in n.all_input_nodes]
        for value, at in reads + [(t, place[until]) for t in targets if until is not None]:
            root = base(value)
            read[root] = max(at, read.get(root, -1))
        began = {} if start is None else {base(start): place[start]}
        writes = [(w, root) for root in read if root.op == "call_function" for w in self.writes.get(root, ())]
        return [w for w, root in writes if w not in found and began.get(root, -1) < place[w] < read[root]]

    def counted(self, nodes: Sequence[fx.Node], start: fx.Node | None, end: fx.Node) -> list[fx.Node]:
        """The writes of the modules of these that count batches or keep averages: nothing reads what they write."""
        place, paths = self.flow.place, {path_of(n) for n in nodes if n.op == "call_function"}
        first = -1 if start is None else place[start]
        return [w for root, ws in self.writes.items() if root in self.graph.tensors for w in ws
                if path_of(w) in paths and first < place[w] < place[end]]  # fmt: skip

    def _measured(self, start: fx.Node, nodes: Sequence[fx.Node]) -> set[fx.Node]:
        """Inputs whose sizes are needed because the state does not show them, as of tokens in one long row."""
        wanted = {s for n in nodes if isinstance(v := n.meta.get("val"), SymInt) for s in v.node.expr.free_symbols}
        missing = wanted - symbols_of(start)
        return {n for n in self.graph.inputs if missing & symbols_of(n)}

    def cut(
        self, start: fx.Node | None, targets: Sequence[fx.Node], until: fx.Node | None = None, *, tail: bool = False
    ) -> Piece:
        """The function from the state at ``start``, or from the inputs alone, to the values at ``targets``.

        Args:
            start: where the state stands; None for the lift.
            targets: what is computed; ``start`` itself may be among it.
            until: what reads the targets; what is written into them before is part of them.
            tail: see :class:`Piece`; only where there is a batch norm in training mode.
        """
        nodes = self.needed(start, targets, until)
        tail = tail and any(_is_training_norm(n) for n in nodes)
        counters = self.counted(nodes, start, until or targets[-1])
        if not tail:
            nodes = sorted({*nodes, *self.needed(start, counters, None)}, key=self.flow.place.__getitem__)
        graph, values = fx.Graph(), {}
        if start is not None:
            values[start] = graph.placeholder("x")
        extra = [graph.placeholder(name) for name in ("depths", "update")] if tail else []
        tensors, inputs = [], []
        for node in nodes:
            if node in self.graph.tensors:
                tensors.append(self.graph.tensors[node])
                values[node] = graph.placeholder(f"t{len(tensors)}")
        read = set(nodes) | (set() if start is None else self._measured(start, nodes))
        sources = [n for n in self.graph.inputs if start is None or n in read]
        for node in sources:
            inputs.append(self.graph.inputs.index(node))
            values[node] = graph.placeholder(f"input_{inputs[-1]}")
        sizes = _Sizes(graph, {n: values[n] for n in ([start] if start is not None else []) + sources})
        for node in nodes:
            if node in values:
                continue
            if isinstance(node.meta.get("val"), SymInt):
                values[node] = sizes(node.meta["val"].node.expr)
            elif tail and _is_training_norm(node):
                given = [fx.map_arg(a, values.__getitem__) for a in node.args[:5]]
                values[node] = graph.call_function(norm_by_last, (*given, *node.args[6:8], *extra))
            else:
                values[node] = graph.node_copy(node, values.__getitem__)
        graph.output(tuple(values[t] for t in targets))
        random = any(_is_random(n) for n in nodes)
        coupled = any(_is_training_norm(n) for n in nodes)
        return Piece(fx.GraphModule(nn.Module(), graph), tuple(tensors), tuple(inputs), tail, random, coupled,
                     tuple(self.graph.tensors[base(w)] for w in counters))  # fmt: skip


def symbols_of(node: fx.Node) -> set[Any]:
    """The free sizes that the shape of a value shows by themselves, or times a whole number."""
    sizes = [s.node.expr.as_coeff_Mul() for s in getattr(node.meta.get("val"), "shape", ()) if isinstance(s, SymInt)]
    return {symbol for factor, symbol in sizes if symbol.is_Symbol and factor.is_Integer}


class _Sizes:
    """Free sizes read off the shapes of what a piece is given."""

    def __init__(self, graph: fx.Graph, sources: dict[fx.Node, fx.Node]) -> None:
        self.graph, self.known = graph, dict[Any, Any]()
        self.places: dict[Any, tuple[fx.Node, int, int]] = {}
        for node, value in sources.items():
            for d, size in enumerate(getattr(node.meta.get("val"), "shape", ())):
                expr = size.node.expr if isinstance(size, SymInt) else sympy.Integer(size)
                factor, symbol = expr.as_coeff_Mul()
                if symbol.is_Symbol and factor.is_Integer:
                    self.places.setdefault(symbol, (value, d, int(factor)))

    def __call__(self, expr: Any) -> Any:
        if expr.is_Integer:
            return int(expr)
        if expr not in self.known:
            self.known[expr] = self._make(expr)
        return self.known[expr]

    def _make(self, expr: Any) -> Any:
        if expr in self.places:
            value, d, factor = self.places[expr]
            size = self.graph.call_function(torch.ops.aten.sym_size.int, (value, d))
            return size if factor == 1 else self.graph.call_function(operator.floordiv, (size, factor))
        values = [self(part) for part in expr.args]
        for kind, function in ARITHMETIC.items():
            if isinstance(expr, kind):
                return reduce(lambda a, b: self.graph.call_function(function, (a, b)), values)
        raise AdoptError("a size in the model", got=str(expr), expected="sums, products and whole quotients of sizes",
                         do="Give the model inputs of one fixed length.")  # fmt: skip


def _is_training_norm(node: fx.Node) -> bool:
    return op_name(node) == "batch_norm" and node.args[5] is True


def _is_random(node: fx.Node) -> bool:
    target: Any = node.target
    switched_off = op_name(node).startswith("dropout") and (node.args[1] == 0 or node.args[2] is False)
    seeded = isinstance(target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in target.tags
    attention = op_name(node) == "scaled_dot_product_attention"
    return bool(seeded and not switched_off and not (attention and _no_dropout(node)))


def _no_dropout(node: fx.Node) -> bool:
    return not (node.args[4] if len(node.args) > 4 else node.kwargs.get("dropout_p", 0.0))


def norm_by_last(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor | None, var: Tensor | None, momentum: float,
    eps: float, depths: int, update: bool,
) -> Tensor:  # fmt: skip
    """Batch norm in training mode of the stacked states of several depths, by the statistics of the last one.

    The head and the skips are one map each, the same for every depth, as in evaluation mode, where the running
    statistics are those of the network's own states as well (our decision). Gradients go through the statistics.

    Args:
        x: (depths * B, C, ..), the network's own state in the last B rows.
        mean, var: running statistics, changed in place where ``update`` is set.
        depths: how many are stacked.
        update: whether the last state counts in the running statistics.
    """
    own = x[-(x.shape[0] // depths) :].to(torch.promote_types(x.dtype, torch.float32))  # as torch's own takes them
    dims = [d for d in range(x.dim()) if d != 1]
    variance, average = torch.var_mean(own, dims, correction=0)
    if update and mean is not None and var is not None:
        with torch.no_grad():
            count = own.numel() // own.shape[1]
            mean.lerp_(average.detach().to(mean.dtype), momentum)
            var.lerp_((variance.detach() * (count / max(count - 1, 1))).to(var.dtype), momentum)
    # By hand: torch's batch norm has no gradient in statistics that it is given.
    scale = (variance + eps).rsqrt()
    scale = scale if weight is None else weight * scale
    shift = -average * scale if bias is None else bias - average * scale
    shape = [1 if d != 1 else -1 for d in range(x.dim())]
    return torch.addcmul(shift.view(shape), x, scale.view(shape)).to(x.dtype)
