"""The trunk: values through which every path from the input to the output goes, and the residual additions on it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, fx

from node_oc.errors import AdoptError
from node_oc.system.adopt.graph import Graph, base, is_float

SHAPES = ("new_", "empty", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "rand", "bernoulli")
ADDITIONS = ("aten::add", "aten::add_")
LINEAR = frozenset({"conv1d", "conv2d", "conv3d", "convolution", "linear", "addmm", "matmul", "mm", "batch_norm",
                    "avg_pool2d", "adaptive_avg_pool2d", "max_pool2d", "view", "reshape", "permute", "transpose",
                    "contiguous", "slice", "select", "pad", "constant_pad_nd", "flatten", "unflatten", "dropout",
                    "constant", "cat", "unsqueeze", "squeeze", "expand", "t", "to", "clone"})  # fmt: skip


@dataclass(frozen=True)
class Addition:
    """One residual addition x_{k+1} = S_k(x_k) + F_k(x_k).

    Attributes:
        fork: where branch and skip part; what stands before it on the trunk belongs to the skip.
        node: the addition itself.
        skip: the operand that is the skip; the fork itself where that is the identity.
        branch: the operand that is the branch.
        module: the module that the branch lives in, as a path.
    """

    fork: fx.Node
    node: fx.Node
    skip: fx.Node
    branch: fx.Node
    module: str = ""


def op_name(node: fx.Node) -> str:
    """The operation without its namespace and overload: "conv2d"."""
    target = node.target
    return target._schema.name.split("::")[1] if isinstance(target, torch._ops.OpOverload) else str(target)


def path_of(node: fx.Node) -> str:
    """The module that an operation stands in, "" for the model itself."""
    stack = node.meta.get("nn_module_stack")
    return str(list(stack.values())[-1][0]) if stack else ""


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

    def additions(self, branches: Collection[str] = ()) -> list[Addition]:
        """The residual additions on the trunk, in order, named by the modules of their branches.

        Args:
            branches: paths of the modules that are branches; found by themselves if empty.

        Raises:
            AdoptError: no addition, or one of which it is not clear which operand is the skip.
        """
        found = []
        for before, node in zip(self.trunk, self.trunk[1:]):
            if not _is_addition(node):
                continue
            one, other = cast(tuple[fx.Node, fx.Node], node.args[:2])
            if one is other or not (self.is_live(one) and self.is_live(other)):
                continue
            addition = self._addition(before, node, one, other, branches)
            if addition is not None:
                found.append(addition)
        for name in branches:
            if not any(_within(path_of(n), [name]) for a in found for n in self.between(a.fork, a.branch)):
                raise AdoptError(
                    f"branches={list(branches)}", got=f"no addition on the trunk for {name!r}",
                    expected="modules whose output is added to the state, and is read nowhere else",
                    do="Leave it out, or name the module that computes the other operand.",
                )  # fmt: skip
        if not found:
            raise AdoptError(
                "residual additions", got="none on the way from the input to the output",
                expected="x + f(x) through which the whole state goes",
                do="Networks with dense or parallel connections have no depth to cut. Otherwise name the modules "
                "of its branches: branches=['blocks.0.mlp', ..].",
            )  # fmt: skip
        return _named(found, self)

    def _addition(
        self, fork: fx.Node, node: fx.Node, one: fx.Node, other: fx.Node, branches: Collection[str]
    ) -> Addition | None:
        paths = {operand: self.between(fork, operand) for operand in (one, other)}
        if branches:
            inside = [o for o in (one, other) if any(_within(path_of(n), branches) for n in paths[o])]
            if len(inside) != 1:
                return None
            return Addition(fork, node, other if inside[0] is one else one, inside[0])
        if fork in (one, other):
            return Addition(fork, node, fork, other if fork is one else one)
        plain = [o for o in (one, other) if all(self._is_linear(n) for n in paths[o])]
        size = {o: sum(any(a in self.graph.tensors for a in n.all_input_nodes) for n in paths[o]) for o in paths}
        if len(plain) == 2 and size[one] != size[other]:
            plain = [min(plain, key=size.__getitem__)]
        if len(plain) != 1:
            where = f"addition {node.name} in module {path_of(node) or '(the model itself)'}"
            if read := self._read_twice(fork, paths[one] + paths[other]):
                raise AdoptError(
                    where, got=f"the branch {read[0]!r}, which is read by {read[1]!r} as well as added to the state",
                    expected="branches that nothing but their addition reads",
                    do="Let the later module read the state instead: without the branch it could not be computed.",
                )  # fmt: skip
            names = " or ".join(f"branches=[{self.module(fork, o)!r}, ..]" for o in (one, other))
            raise AdoptError(
                where, got="two operands that are both computed, and neither or both of them linear",
                expected="a skip (the state itself, or a projection of it) and a branch",
                do=f"Name the modules of the branches by hand: {names}.",
            )  # fmt: skip
        return Addition(fork, node, plain[0], other if plain[0] is one else one)

    def _is_linear(self, node: fx.Node) -> bool:
        scaled = op_name(node) in ("mul", "div") and sum(map(self.is_live, node.all_input_nodes)) == 1
        return scaled or op_name(node) in LINEAR

    def _read_twice(self, fork: fx.Node, nodes: Sequence[fx.Node]) -> tuple[str, str] | None:
        """A branch between fork and addition that something beside its own addition reads: its module, and who."""
        for node in nodes:
            if not _is_addition(node):
                continue
            for operand, other in (node.args[:2], node.args[1::-1]):
                if not isinstance(operand, fx.Node) or not isinstance(other, fx.Node) or operand is fork:
                    continue
                if _is_addition(operand) or not self.is_live(operand) or operand in self.between(fork, other):
                    continue  # a state, or the skip of what lies inside
                readers = [u for u in operand.users if self.is_live(u) and u is not node]
                if readers:
                    named = (path_of(v) for v in (readers[-1], *readers[-1].users))
                    return self.module(fork, operand), next(filter(None, named), "the model itself")
        return None

    def module(self, fork: fx.Node, operand: fx.Node) -> str:
        """The deepest module that has all parameters between two values; without any, all operations."""
        return _common(list(self.sizes(fork, operand)))

    def sizes(self, fork: fx.Node, operand: fx.Node) -> dict[str, int]:
        """Numbers of parameters between two values by module; ones where there are none."""
        own = self.between(fork, operand)
        sizes: dict[str, int] = {}
        for n in own:
            for t in n.all_input_nodes:
                value = t.meta.get("val")
                if t in self.graph.tensors and isinstance(value, Tensor) and path_of(n):
                    sizes[path_of(n)] = sizes.get(path_of(n), 0) + int(value.numel())
        return sizes or {path_of(n): 1 for n in own}


def _is_addition(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.name in ADDITIONS


def _within(path: str, modules: Collection[str]) -> bool:
    return any(path == m or path.startswith(f"{m}.") for m in modules)


def _named(additions: Sequence[Addition], flow: Flow) -> list[Addition]:
    """Additions with the module that each branch lives in: the deepest that has all of its parameters.

    Where several branches share it, attention and MLP of one block, the submodule with most parameters gives the name.
    """
    owners = [flow.sizes(a.fork, a.branch) for a in additions]
    names = [_common(list(sizes)) for sizes in owners]
    while True:
        shared = {name for name in names if names.count(name) > 1}
        deeper = [(_child(name, sizes) or name) if name in shared else name for name, sizes in zip(names, owners)]
        if deeper == names:
            break
        names = deeper
    return [replace(a, module=name) for a, name in zip(additions, names, strict=True)]


def _common(paths: Sequence[str]) -> str:
    parts = [p.split(".") for p in paths]
    shared = []
    for column in zip(*parts):
        if len(set(column)) > 1:
            break
        shared.append(column[0])
    return ".".join(shared)


def _child(module: str, sizes: dict[str, int]) -> str | None:
    """The child of a module with most parameters; None where there is none below."""
    depth = len(module.split(".")) if module else 0
    children: dict[str, int] = {}
    for path, size in sizes.items():
        parts = path.split(".")
        if len(parts) > depth:
            child = ".".join(parts[: depth + 1])
            children[child] = children.get(child, 0) + size
    return max(children, key=children.__getitem__) if children else None


__all__ = ["Addition", "Flow", "base", "op_name", "path_of"]
