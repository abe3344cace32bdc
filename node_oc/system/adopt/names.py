"""A residual addition, and the module that its branch lives in."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, fx

from node_oc.system.adopt.operations import path_of
from node_oc.system.adopt.trunk import Flow


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


def named(additions: Sequence[Addition], flow: Flow) -> list[Addition]:
    """Additions with the module that each branch lives in: the deepest that has all of its parameters.

    Where several branches share it, attention and MLP of one block, the submodule with most parameters gives the name.
    """
    owners = [sizes_of(flow, a.fork, a.branch) for a in additions]
    names = [common(list(sizes)) for sizes in owners]
    while True:
        shared = {name for name in names if names.count(name) > 1}
        deeper = [(_child(name, sizes) or name) if name in shared else name for name, sizes in zip(names, owners)]
        if deeper == names:
            break
        names = deeper
    return [replace(a, module=name) for a, name in zip(additions, names, strict=True)]


def common(paths: Sequence[str]) -> str:
    """The path that all of these begin with."""
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


def module_of(flow: Flow, fork: fx.Node, operand: fx.Node) -> str:
    """The deepest module that has all parameters between two values; without any, all operations."""
    return common(list(sizes_of(flow, fork, operand)))


def sizes_of(flow: Flow, fork: fx.Node, operand: fx.Node) -> dict[str, int]:
    """Numbers of parameters between two values by module; ones where there are none."""
    own = flow.between(fork, operand)
    sizes: dict[str, int] = {}
    for n in own:
        for t in n.all_input_nodes:
            value = t.meta.get("val")
            if t in flow.graph.tensors and isinstance(value, Tensor) and path_of(n):
                sizes[path_of(n)] = sizes.get(path_of(n), 0) + int(value.numel())
    return sizes or {path_of(n): 1 for n in own}


def within(path: str, modules: Collection[str]) -> bool:
    """Whether a path lies in one of these modules."""
    return any(path == m or path.startswith(f"{m}.") for m in modules)
