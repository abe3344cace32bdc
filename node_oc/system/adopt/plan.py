"""What adopting a model finds: its branches, and the pieces that they, the skips, the lift and the head are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import SymInt, Tensor, fx, nn
from torch.utils import _pytree as pytree

from node_oc.errors import AdoptError
from node_oc.system.adopt.additions import find_additions
from node_oc.system.adopt.ends import check_states, check_types, main_input, readout
from node_oc.system.adopt.graph import Graph, trace
from node_oc.system.adopt.group import gains, group_of
from node_oc.system.adopt.names import Addition
from node_oc.system.adopt.operations import is_float, op_name
from node_oc.system.adopt.piece import Cutter, Piece
from node_oc.system.adopt.skips import of_both, skips_of, states
from node_oc.system.adopt.sums import flow_of
from node_oc.system.adopt.trunk import Flow


@dataclass(frozen=True)
class Branch:
    """One residual branch of an adopted model.

    Attributes:
        k: its step.
        module: the module that it lives in, as a path.
        skip: "identity"; "settling", one operation that changes nothing the second time, as a ReLU after the sum is, so
            that it is the identity on what has passed it; "projection"; or "trunk", where something else stands between
            two additions.
        parameters: names of its parameters.
        group: those whose zero makes the branch zero; empty where it does not end in an affine map.
        shared: whether another branch, the lift, a skip or the head has one of them too.
    """

    k: int
    module: str
    skip: Literal["identity", "settling", "projection", "trunk"]
    parameters: tuple[str, ...]
    group: tuple[str, ...]
    shared: bool


@dataclass(frozen=True)
class Step:
    """The pieces of step k, all of them functions of x_k."""

    split: Piece
    skip: Piece
    branch: Piece
    tail: Piece


@dataclass(frozen=True)
class Mode:
    """The pieces of a model in evaluation or in training mode."""

    lift: Piece
    steps: tuple[Step, ...]
    head: Piece
    heads: Piece


@dataclass(frozen=True)
class Plan:
    """A model seen as a residual system; it holds no tensors, so that networks cut from one model share it.

    Attributes:
        modes: by ``training``.
        branches: one for each step.
        identity: whether the skip of each step is the identity.
        settling: where it is one operation that changes nothing the second time, as a ReLU is, which; None elsewhere.
        redundant: whether what follows the step on the trunk does all that its skip does.
        gains: names of the vectors that scale a value.
        trunk: names of the parameters of lift and skips, those left out that the head has too.
        affine_head: whether the head is one affine map of the state: weight and bias by name; empty if not.
        in_spec, out_spec: how arguments and outputs are flattened.
        output: place of the readout among the outputs.
        outputs: how many there are.
        main: place of the main input among the flattened arguments.
        keywords: whether inputs come as a dict of keyword arguments.
        by_sample: whether the rows of a state are samples; not so where tokens stand in one long row.
        types: of the floating point tensors of the model when it was traced, by name.
        expected: of each flattened argument its shape, None where a size is free; or the value of what is no tensor.
    """

    modes: dict[bool, Mode]
    branches: tuple[Branch, ...]
    identity: tuple[bool, ...]
    settling: tuple[str | None, ...]
    redundant: tuple[bool, ...]
    gains: frozenset[str]
    trunk: frozenset[str]
    affine_head: tuple[str | None, ...]
    in_spec: pytree.TreeSpec
    out_spec: pytree.TreeSpec
    output: int
    outputs: int
    main: int
    keywords: bool
    expected: tuple[Any, ...]
    by_sample: bool
    types: dict[str, torch.dtype]

    def __deepcopy__(self, memo: dict[int, Any]) -> Plan:
        return self

    def standing(self, start: int, stop: int) -> list[int]:
        """Of the branches start..stop-1, those whose skip does something where they are cut out."""
        return [j for j in range(start, stop) if not self.redundant[j]]

    def pieces(self, steps: Sequence[int], training: bool) -> list[Piece]:
        """What a model with these branches alone needs."""
        mode = self.modes[training]
        skips = [mode.steps[j].skip for j in self.standing(0, len(self.branches)) if j not in steps]
        return [mode.lift, mode.head, *skips, *(mode.steps[k].split for k in steps)]

    @property
    def reads_input(self) -> bool:
        """Whether branches, skips or the head read the model's inputs too, as a padding mask."""
        return any(piece.inputs for mode in self.modes.values() for piece in _pieces(mode)[1:])


def make_plan(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], branches: Collection[str], output: str | None
) -> tuple[Plan, dict[str, Tensor]]:
    """The plan of a model, and its constants by name; see :func:`node_oc.adopt`."""
    modes: dict[bool, Mode] = {}
    found, constants = [], dict[str, Tensor]()
    for training in (False, True):
        with _mode(model, training):
            graph = trace(model, args, kwargs)
        check_types(graph)
        place = readout(graph, output)
        main = main_input(graph, place, branches)
        flow = flow_of(graph, graph.inputs[main], graph.outputs[place], branches)
        additions = find_additions(flow, branches)
        check_states(flow, additions)
        modes[training] = _cut(flow, additions)
        constants |= graph.constants
        found.append((graph, flow, additions, main, place))
    if (n := len(found[0][2])) != (m := len(found[1][2])):
        raise AdoptError(f"model {type(model).__name__}", got=f"{n} branches in evaluation and {m} in training mode",
                         expected="as many", do="Name them by hand: branches=['blocks.0.mlp', ..].")  # fmt: skip
    graph, flow, additions, main, place = found[0]
    steps = list(states(flow, additions))
    identity, settling, redundant = of_both([skips_of(list(states(f, a))) for _, f, a, *_ in found])
    described = _describe(flow, model, modes[False], additions, steps, identity, settling)
    affine = _affine(flow, additions[-1].node)
    before = {t for piece in (modes[False].lift, *(s.skip for s in modes[False].steps)) for t in piece.tensors}
    trunk = frozenset(before & {n for n, _ in model.named_parameters()} - set(modes[False].head.tensors))
    expected = tuple(_expected(n) for n in graph.inputs)
    by_sample = additions[0].fork.meta["val"].shape[0].node.expr == flow.main.meta["val"].shape[0].node.expr
    plan = Plan(modes, described, identity, settling, redundant, gains(flow), trunk, affine, graph.in_spec,
                graph.out_spec, place, len(graph.outputs), main, bool(kwargs), expected, by_sample,
                _types(graph))  # fmt: skip
    return plan, constants


def _pieces(mode: Mode) -> list[Piece]:
    return [mode.lift, *(p for s in mode.steps for p in (s.split, s.skip, s.branch, s.tail)), mode.head, mode.heads]


def _types(graph: Graph) -> dict[str, torch.dtype]:
    return {name: n.meta["val"].dtype for n, name in graph.tensors.items() if is_float(n)}


def _expected(node: fx.Node) -> Any:
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return value
    return tuple(None if isinstance(s, SymInt) else s for s in value.shape)


@contextmanager
def _mode(model: nn.Module, training: bool) -> Iterator[None]:
    before = {m: m.training for m in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for m, flag in before.items():
            m.training = flag


def _affine(flow: Flow, state: fx.Node) -> tuple[str | None, ...]:
    """Weight and bias, where the head is one linear map of a state (B, D)."""
    nodes = flow.between(state, flow.output)
    if (
        len(nodes) != 1
        or op_name(nodes[0]) != "linear"
        or nodes[0].args[0] is not state
        or state.meta["val"].dim() != 2
    ):
        return ()
    names = [flow.graph.tensors.get(a) if isinstance(a, fx.Node) else None for a in nodes[0].args[1:]]
    return tuple((*names, None)[:2]) if names[0] else ()


def _cut(flow: Flow, additions: Sequence[Addition]) -> Mode:
    cutter = Cutter(flow)
    steps, state = [], additions[0].fork
    for a in additions:
        skip, branch = ((value,) for value in (a.skip, a.branch))
        steps.append(Step(cutter.cut(state, skip + branch, a.node), cutter.cut(state, skip, a.node),
                          cutter.cut(state, branch, a.node), cutter.cut(state, skip, a.node, tail=True)))  # fmt: skip
        state = a.node
    end, output = flow.graph.nodes[-1], (flow.output,)
    head = cutter.cut(state, output, end), cutter.cut(state, output, end, tail=True)
    return Mode(cutter.cut(None, (additions[0].fork,)), tuple(steps), *head)


def _describe(
    flow: Flow, model: nn.Module, mode: Mode, additions: Sequence[Addition],
    steps: Sequence[tuple[Addition, list[fx.Node], fx.Node]], identity: Sequence[bool],
    settling: Sequence[str | None],
) -> tuple[Branch, ...]:  # fmt: skip
    learnt = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    cutter = Cutter(flow)
    own = [[t for t in cutter.cut(a.fork, (a.branch,), a.node).tensors if t in learnt] for a in additions]
    trunk = {t for piece in (mode.lift, mode.head, *(s.skip for s in mode.steps)) for t in piece.tensors}
    result = []
    for k, (a, *_) in enumerate(steps):
        others = {t for j, names in enumerate(own) if j != k for t in names} | trunk
        group = tuple(name for name in group_of(a, flow) if name in learnt)
        kind: Any = "projection" if a.skip is not a.fork else "trunk"
        if identity[k] or settling[k]:
            kind = "identity" if identity[k] else "settling"
        result.append(Branch(k, a.module, kind, tuple(own[k]), group, bool(others & set(own[k]))))
    return tuple(result)
