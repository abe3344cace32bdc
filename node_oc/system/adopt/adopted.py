"""Any PyTorch model with residual additions, seen as a system: its own modules, parameters and names."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from node_oc.errors import ConfigError, ShapeError
from node_oc.system.adopt.changes import Traced
from node_oc.system.adopt.evaluation import Evaluation
from node_oc.system.adopt.inputs import in_order
from node_oc.system.adopt.plan import Branch, Plan
from node_oc.system.adopt.weights import Weights, row_norms, scale_rows_, with_prefix, without_prefix
from node_oc.system.base import System

MEMORY = 2**28  # bytes of the states that go through a tail or a head at a time


class AdoptedSystem(System):
    """A PyTorch model as a controlled system; made by :func:`node_oc.adopt`, cut by :func:`node_oc.crop`.

    Its ``state_dict`` has the model's keys, its parameters are the model's own. Batch norms on the trunk, between two
    branches or in the head, take the statistics of the network's own states in training mode as in evaluation mode: the
    readouts of earlier depths are normalised by the same numbers, and do not change the running statistics.

    Args:
        plan: what was found.
        weights: parameters, buffers and constants by name.
        steps: the branches that are left, ascending.
        whole: whether nothing has been cut, so that the model itself is called for ``system(x)``.
        example: shape of a sample of the main input without the batch, and its dtype.
        source: how to make the model again.

    Attributes:
        memory: bytes of stacked states that go through a tail or a head at a time. Readouts do not count: those of all
            depths that are read are held whole, whatever the chunks.
    """

    def __init__(
        self, plan: Plan, weights: Weights, steps: Sequence[int], *, whole: bool = False,
        example: tuple[tuple[int, ...], torch.dtype], source: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.memory = MEMORY
        self.plan, self.steps, self.example, self.source = plan, tuple(steps), example, source
        self._weights = weights
        self.model = weights.root
        self.whole = whole
        self._pieces = Evaluation(plan, weights, example[1])
        self._traced = Traced(weights, plan.types)
        self._norms: dict[str, Tensor] = {}
        # The model is a child, so that a child of its own called "head" is not in the way of ours; files have its
        # names.
        self.register_state_dict_post_hook(without_prefix)
        self.register_load_state_dict_pre_hook(with_prefix)

    # what it is

    @property
    def depth(self) -> int:
        return len(self.steps)

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The branches that are left, in order; ``k`` is their place in the whole model."""
        return tuple(self.plan.branches[k] for k in self.steps)

    @property
    def tied(self) -> bool:
        return any(branch.shared for branch in self.branches)

    def is_identity(self, k: int) -> bool:
        self.check_step(k)
        return not self._passed(k) and self.plan.identity[self.steps[k]]

    def settling(self, k: int) -> str | None:
        self.check_step(k)
        return None if self._passed(k) else self.plan.settling[self.steps[k]]

    def group(self, k: int) -> list[nn.Parameter]:
        self.check_step(k)
        return [self._weights.parameter(name) for name in self.plan.branches[self.steps[k]].group]

    def control(self, k: int) -> list[nn.Parameter]:
        self.check_step(k)
        return [self._weights.parameter(name) for name in self.plan.branches[self.steps[k]].parameters]

    def affine_readout(self) -> tuple[Tensor, Tensor]:
        if self.plan.affine_head and not self._left_over:
            weight, bias = ([self._weights[name]] if name else [] for name in self.plan.affine_head)
            return weight[0], bias[0] if bias else weight[0].new_zeros(len(weight[0]))
        raise ShapeError("readout of an adopted model", got="whatever its head is",
                         expected="a readout that is affine in the state",
                         do="Ask for the logit distance or the excess instead.")  # fmt: skip

    def spec(self) -> dict[str, Any]:
        names = [branch.module for branch in self.plan.branches]
        # Without a source no file can make it again, but a checkpoint can still tell it from another.
        made: dict[str, Any] = {"model": "", "inputs": [], "arguments": {}, "branches": names, "output": None}
        return {"kind": "adopted", **(self.source or made), "steps": list(self.steps)}

    @property
    def noisy(self) -> bool:
        return any(piece.random for piece in self.plan.pieces(self.steps, training=True))

    @property
    def coupled(self) -> bool:
        return any(piece.coupled for piece in self.plan.pieces(self.steps, training=True))

    def insert(self, places: Sequence[int], generator: torch.Generator) -> System:
        raise ConfigError("new steps", got="an adopted model", expected="a system that knows how to make a branch",
                          do="Adopt a deeper model, and cut it.")  # fmt: skip

    def halved(self, steps: Collection[int]) -> System:
        raise ConfigError("halved steps", got="an adopted model", expected="another system",
                          do="A second copy of a layer would need another name: adopt a deeper model.")  # fmt: skip

    # what it computes

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the model returns; of a cut one, the same with the branches that are left."""
        if self.whole:
            return self.model(*args, **kwargs)
        kwargs = in_order(kwargs, self.plan.in_spec)
        _, spec = pytree.tree_flatten((args, kwargs))
        if spec != self.plan.in_spec:
            raise ShapeError("arguments", got=spec, expected=self.plan.in_spec,
                             do="A cut model takes what the example input had.")  # fmt: skip
        system = self.given(kwargs if self.plan.keywords else args)
        state = system.lift(kwargs if self.plan.keywords else args)
        for k in range(self.depth):
            skipped, added = system.split(k, 0.0, state)
            state = skipped + added
        readout = system.head(state)
        if self.plan.outputs > 1:
            return readout
        return pytree.tree_unflatten([readout], self.plan.out_spec)

    def given(self, x: Any) -> AdoptedSystem:
        if not self.plan.reads_input:
            return self
        bound = copy.copy(self)
        bound._pieces = replace(self._pieces, inputs=self._pieces.leaves(x))
        return bound

    def lift(self, x: Any) -> Tensor:
        if not torch.compiler.is_compiling():
            self._traced.check()
        return self._pieces.first(self._mode.lift, x)

    def branch(self, k: int, x: Tensor) -> Tensor:
        return self._pieces.value(self._step(k).branch, self._before(k, x))

    def skip(self, k: int, x: Tensor) -> Tensor:
        return self._pieces.value(self._step(k).skip, self._before(k, x))

    def split(self, k: int, c: float, x: Tensor) -> tuple[Tensor, Tensor]:
        skipped, added = self._pieces.values(self._step(k).split, self._before(k, x))
        return skipped, added

    def head(self, x: Tensor) -> Tensor:
        for j in self._left_over:
            x = self._pieces.value(self._mode.steps[j].skip, x)
        return self._pieces.value(self._mode.head, x)

    def skips(self, k: int, states: Tensor) -> Tensor:
        pieces = [*(self._mode.steps[j].tail for j in self._passed(k)), self._step(k).tail]
        return self._pieces.stacked(pieces, states, self.memory)

    def heads(self, states: Tensor, *, count: bool = True) -> Tensor:
        pieces = [*(self._mode.steps[j].tail for j in self._left_over), self._mode.heads]
        update = count and self.model.training and torch.is_grad_enabled()
        for name in self._mode.heads.counters if update else ():
            self._weights[name].add_(1)
        return self._pieces.stacked(pieces, states, self.memory, update)

    # cutting

    def subsystem(self, steps: Sequence[int]) -> AdoptedSystem:
        for k in steps:
            self.check_step(k)
        self._traced.check()
        kept = [self.steps[k] for k in steps]
        if kept != sorted(set(kept)):
            raise ConfigError("steps", got=list(steps), expected="each once, ascending", do="Sort them.")
        names = {t for training in (False, True) for piece in self.plan.pieces(kept, training) for t in piece.tensors}
        return AdoptedSystem(self.plan, self._weights.only(names), kept, example=self.example, source=self.source)

    @property
    def own_statistics(self) -> bool:
        return any(piece.tail for piece in [self._mode.heads, *(step.tail for step in self._mode.steps)])

    # the admissible set

    @torch.no_grad()
    def hold_(self) -> None:
        """Keep the norms of the rows of matrices, and of gains, at what they are: scale is not for sale.

        Those of lift and skips too, unless the head has them: where branches and head begin with a norm, a trunk that
        shrinks as a whole changes nothing but the price.
        """
        if not self._norms:
            inner = [name for b in self.branches for name in b.parameters if name not in b.group]
            scales = {name: self._weights.parameter(name) for name in (*inner, *sorted(self.plan.trunk))}
            self._norms = {n: row_norms(p) for n, p in scales.items() if p.dim() > 1 or n in self.plan.gains}

    def constrain_(self) -> None:
        for name, norms in self._norms.items():
            scale_rows_(self._weights.parameter(name), norms)

    def release_(self) -> None:
        self._norms = {}

    # how

    @property
    def _mode(self) -> Any:
        return self.plan.modes[self.model.training]  # the model's own flag: its owner may set it

    def _step(self, k: int) -> Any:
        self.check_step(k)
        return self._mode.steps[self.steps[k]]

    def _passed(self, k: int) -> list[int]:
        """Branches that were cut out between the one before and this one, where their skip does something."""
        return self.plan.standing(self.steps[k - 1] + 1 if k else 0, self.steps[k])

    @property
    def _left_over(self) -> list[int]:
        return self.plan.standing(self.steps[-1] + 1 if self.steps else 0, len(self.plan.branches))

    def _before(self, k: int, x: Tensor) -> Tensor:
        for j in self._passed(k):
            x = self._pieces.value(self._mode.steps[j].skip, x)
        return x

    def _apply(self, fn: Any, recurse: bool = True) -> AdoptedSystem:
        self._traced.check_conversion(fn)
        super()._apply(fn, recurse)
        self._weights.move(fn)
        self._norms = {name: fn(norm) for name, norm in self._norms.items()}
        return self
