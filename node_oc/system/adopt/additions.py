"""The residual additions on the trunk: which operand is the skip, and which the branch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import cast

import torch
from torch import fx

from node_oc.errors import AdoptError
from node_oc.system.adopt.names import Addition, module_of, named, within
from node_oc.system.adopt.operations import op_name, path_of
from node_oc.system.adopt.trunk import Flow

ADDITIONS = ("aten::add", "aten::add_")
LINEAR = frozenset({"conv1d", "conv2d", "conv3d", "convolution", "linear", "addmm", "matmul", "mm", "batch_norm",
                    "avg_pool2d", "adaptive_avg_pool2d", "max_pool2d", "view", "reshape", "permute", "transpose",
                    "contiguous", "slice", "select", "pad", "constant_pad_nd", "flatten", "unflatten", "dropout",
                    "constant", "cat", "unsqueeze", "squeeze", "expand", "t", "to", "clone", "add", "neg",
                    "mean", "sum", "mul", "div"})  # fmt: skip
PRODUCTS = frozenset({"mul", "matmul", "mm"})  # linear in one of their factors


def find_additions(flow: Flow, branches: Collection[str] = ()) -> list[Addition]:
    """The residual additions on the trunk, in order, named by the modules of their branches.

    Args:
        flow: whose trunk.
        branches: paths of the modules that are branches; found by themselves if empty.

    Raises:
        AdoptError: no addition, or one of which it is not clear which operand is the skip.
    """
    found = []
    for before, node in zip(flow.trunk, flow.trunk[1:]):
        if not is_addition(node):
            continue
        one, other = cast(tuple[fx.Node, fx.Node], node.args[:2])
        if one is other or not (flow.is_live(one) and flow.is_live(other)):
            continue
        addition = _addition(flow, before, node, one, other, branches)
        if addition is not None:
            found.append(addition)
    for name in branches:
        if not any(within(path_of(n), [name]) for a in found for n in flow.between(a.fork, a.branch)):
            raise AdoptError(
                f"branches={list(branches)}", got=f"no addition on the trunk for {name!r}",
                expected="modules whose output is added to the state, and is read nowhere else",
                do="Leave it out, or name the module that computes the other operand.",
            )  # fmt: skip
    if not found:
        raise AdoptError(
            "residual additions", got=f"none on the way from the input to the output{_met(flow)}",
            expected="x + f(x) through which the whole state goes",
            do="Networks with dense or parallel connections have no depth to cut. Otherwise write the sum as "
            "x + f(x), and name the modules of branches without parameters: branches=['blocks.0.mixing', ..].",
        )  # fmt: skip
    return named(found, flow)


def _addition(
    flow: Flow, fork: fx.Node, node: fx.Node, one: fx.Node, other: fx.Node, branches: Collection[str]
) -> Addition | None:
    paths = {operand: flow.between(fork, operand) for operand in (one, other)}
    if branches:
        inside = [o for o in (one, other) if any(within(path_of(n), branches) for n in paths[o])]
        if len(inside) != 1:
            return None
        return Addition(fork, node, other if inside[0] is one else one, inside[0])
    if not any(is_learnt(flow, n) for o in paths for n in paths[o]):
        return None  # two ways to pool, say
    if fork in (one, other):
        return Addition(fork, node, fork, other if fork is one else one)
    plain = [o for o in (one, other) if all(is_linear(flow, n) for n in paths[o])]
    size = {o: sum(any(a in flow.graph.tensors for a in n.all_input_nodes) for n in paths[o]) for o in paths}
    if len(plain) == 2 and size[one] != size[other]:
        plain = [min(plain, key=size.__getitem__)]
    if len(plain) != 1:
        where = f"addition {node.name} in module {path_of(node) or '(the model itself)'}"
        if read := _read_twice(flow, fork, paths[one] + paths[other]):
            raise AdoptError(
                where, got=f"the branch {read[0]!r}, which is read by {read[1]!r} as well as added to the state",
                expected="branches that nothing but their addition reads",
                do="Let the later module read the state instead: without the branch it could not be computed.",
            )  # fmt: skip
        names = " or ".join(f"branches=[{module_of(flow, fork, o)!r}, ..]" for o in (one, other))
        raise AdoptError(
            where, got="two operands that are both computed, and neither or both of them linear",
            expected="a skip (the state itself, or a projection of it) and a branch",
            do=f"Name the modules of the branches by hand: {names}.",
        )  # fmt: skip
    return Addition(fork, node, plain[0], other if plain[0] is one else one)


def is_learnt(flow: Flow, node: fx.Node) -> bool:
    """Whether an operation reads something learnt beside the state."""
    return any(a in flow.learnt and not flow.is_live(a) for a in node.all_input_nodes)


def is_linear(flow: Flow, node: fx.Node) -> bool:
    """Whether an operation is linear in the state, up to a constant."""
    name, live = op_name(node), [flow.is_live(a) for a in node.args[:2]]
    return name in LINEAR and not (name in PRODUCTS and all(live)) and not (name == "div" and live[1])


def _met(flow: Flow) -> str:
    """Where on the trunk the state and what is learnt from it meet first, if not in an addition."""
    for fork, node in zip(flow.trunk, flow.trunk[1:]):
        paths = [flow.between(fork, a) for a in node.all_input_nodes if flow.is_live(a)]
        learnt = [any(is_learnt(flow, n) for n in path) for path in paths]
        if not is_addition(node) and any(learnt) and not all(learnt):
            where = path_of(node) or "(the model itself)"
            return f"; in {node.name} in module {where} a state and what is computed from it meet"
    return ""


def _read_twice(flow: Flow, fork: fx.Node, nodes: Sequence[fx.Node]) -> tuple[str, str] | None:
    """A branch between fork and addition that something beside its own addition reads: its module, and who."""
    for node in nodes:
        if not is_addition(node):
            continue
        for operand, other in (node.args[:2], node.args[1::-1]):
            if not isinstance(operand, fx.Node) or not isinstance(other, fx.Node) or operand is fork:
                continue
            if is_addition(operand) or not flow.is_live(operand) or operand in flow.between(fork, other):
                continue  # a state, or the skip of what lies inside
            readers = [u for u in operand.users if flow.is_live(u) and u is not node]
            if readers:
                named = (path_of(v) for v in (readers[-1], *readers[-1].users))
                return module_of(flow, fork, operand), next(filter(None, named), "the model itself")
    return None


def is_addition(node: fx.Node) -> bool:
    """Whether an operation is the sum of two tensors."""
    sums = isinstance(node.target, torch._ops.OpOverload) and node.target._schema.name in ADDITIONS
    return sums and all(isinstance(a, fx.Node) for a in node.args[:2])
