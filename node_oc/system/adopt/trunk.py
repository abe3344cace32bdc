"""The trunk: values through which every path from the input to the output goes."""

from __future__ import annotations

from torch import fx

from node_oc.system.adopt.graph import Graph
from node_oc.system.adopt.operations import is_float, op_name

SHAPES = ("new_", "empty", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "rand", "bernoulli")


class Flow:
    """What flows from the main input through learnt maps to the output.

    A value is *live* if it depends on the main input in a way that has a gradient, or is learnt and looked up by it (an
    embedding). Masks, positions and rotary tables are not live: they are what the branches read beside their state.

    Args:
        graph: of the model.
        main: the input that the states come from.
        output: the output that is read.

    Attributes:
        live: live values that the output depends on, in order.
        trunk: those through which every path goes.
    """

    def __init__(self, graph: Graph, main: fx.Node, output: fx.Node) -> None:
        self.graph, self.main, self.output = graph, main, output
        data, learnt, live = {main}, set(graph.tensors), set()
        if is_float(main):
            live.add(main)
        for node in graph.nodes:
            arguments = set(node.all_input_nodes)
            if node.op != "call_function" or not arguments:
                continue
            if arguments & data:
                data.add(node)
            shape_only = op_name(node).startswith(SHAPES)
            if arguments & learnt and not shape_only:
                learnt.add(node)
            if node.meta.get("no_grad") or shape_only or not is_float(node):
                continue
            looked_up = op_name(node) == "embedding" and node.args[1] in data and node.args[0] in learnt
            if arguments & live or looked_up:
                live.add(node)
        needed = {output}
        for node in reversed(graph.nodes):
            if node in needed:
                needed.update(a for a in node.all_input_nodes if a in live)
        self.live = [n for n in graph.nodes if n in live and n in needed]
        self.learnt = learnt
        self.place = {n: i for i, n in enumerate(graph.nodes)}
        self._live = set(self.live)
        self.trunk = self._trunk()

    def is_live(self, value: object) -> bool:
        """Whether a value is live and the output depends on it."""
        return value in self._live

    def _trunk(self) -> list[fx.Node]:
        index = {n: i for i, n in enumerate(self.live)}
        sources = [i for n, i in index.items() if not any(a in index for a in n.all_input_nodes)]
        reach, trunk = max(sources, default=0), []
        for node, i in index.items():
            if reach <= i:
                trunk.append(node)
            reach = max([reach, *(index[u] for u in node.users if u in index)])
        return trunk

    def between(self, start: fx.Node, end: fx.Node) -> list[fx.Node]:
        """Live values after ``start`` that ``end`` is computed from, itself included."""
        found, todo = set(), [end]
        while todo:
            node = todo.pop()
            if node is start or node in found:
                continue
            found.add(node)
            todo += [a for a in node.all_input_nodes if a in self._live]
        return sorted(found, key=self.place.__getitem__)
