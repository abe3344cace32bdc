"""What the skips of a model are: the identity, one operation that settles, or more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import fx

from node_oc.system.adopt.names import Addition
from node_oc.system.adopt.operations import op_name
from node_oc.system.adopt.trunk import Flow

# f(f(x)) = f(x): behind one of them the state stays what it is, if the next thing on the trunk is the same again.
IDEMPOTENT = frozenset({"relu", "hardtanh", "clamp", "clamp_min", "relu6"})


def states(flow: Flow, additions: Sequence[Addition]) -> Iterator[tuple[Addition, list[fx.Node], fx.Node]]:
    """Of each step: its addition, what stands on the trunk between x_k and the fork, and what reads x_{k+1} first."""
    before = additions[0].fork
    after = dict(zip(flow.trunk, flow.trunk[1:]))
    for a in additions:
        yield a, flow.between(before, a.fork) if before is not a.fork else [], after.get(a.node, a.node)
        before = a.node


def skips_of(steps: Sequence[tuple[Addition, list[fx.Node], fx.Node]]) -> list[tuple[bool, str | None, bool]]:
    """Of each step, whether its skip is the identity, what it is if it settles, and whether it is redundant."""
    result = []
    for a, pre, end in steps:
        same, once = a.skip is a.fork and not pre, _settling(a, pre)
        result.append((same, once, same or _is_again(once, end)))
    return result


def of_both(modes: Sequence[list[tuple[bool, str | None, bool]]]) -> tuple[tuple[Any, ...], ...]:
    """What holds in evaluation and in training mode: a model may do more on its trunk in one of them."""
    both = [(a[0] and b[0], a[1] if a[1] == b[1] else None, a[2] and b[2]) for a, b in zip(*modes, strict=True)]
    return tuple(zip(*both))


def _operation(node: fx.Node) -> str:
    """What a node does to its first argument, to compare."""
    return f"{op_name(node).rstrip('_')} {node.args[1:]}"


def _settling(a: Addition, pre: list[fx.Node]) -> str | None:
    """The one operation that a skip is, if it changes nothing the second time."""
    once = len(pre) == 1 and a.skip is a.fork and op_name(pre[0]).rstrip("_") in IDEMPOTENT
    return _operation(pre[0]) if once else None


def _is_again(once: str | None, following: fx.Node) -> bool:
    return once is not None and once == _operation(following)
