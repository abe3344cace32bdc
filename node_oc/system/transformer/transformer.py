"""The Transformer system: a pre-norm encoder whose attention and MLP branches are steps."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from node_oc.errors import ConfigError, ShapeError
from node_oc.system.base import System
from node_oc.system.dense import linear
from node_oc.system.field import ACTIVATIONS, Activation
from node_oc.system.transformer.parts import MLP, Attention, Kind, Lift, real, scale_
from node_oc.system.transformer.tokens import Tokens, tokens_from


class TransformerSystem(System):
    """Pre-norm encoder: a learnt lift of tokens, attention and MLP branches in turn as steps, identity skips.

    A block of an ordinary Transformer is two steps, so twelve blocks are N = 24. The head normalises every token, takes
    the mean over those that are no padding, and is affine from there. Norms have no weights of their own: gains and
    offsets would be absorbed by the map that follows, and a large gain would evade the price.

    The group of a step is its last map (W_out, b_out). What comes before has its scale fixed (theory: "Group"): the
    rows of W_v, and of the first map of an MLP, are of norm ``row_norm``. So are the rows of the lift: branches and
    head begin with a norm, so a trunk that shrinks as a whole would change nothing but the price (our derivation).

    A sample's output does not depend on the rest of its batch, nor on how far it is padded. A sample of nothing but
    padding raises; in a compiled or exported graph its readout is the head's bias.

    Args:
        tokens: what they are, :class:`Patches`, :class:`TokenIds` or :class:`TokenVectors`; or its description.
        outputs: size K of a readout.
        steps: number N of steps, attention and MLP in turn; or the kind of each, "attention" or "mlp".
        width: state size D, numbers per token.
        heads: of attention; a divisor of the width.
        hidden: hidden units of an MLP branch.
        activation: of an MLP branch, "tanh", "relu" or "gelu".
        row_norm: see above; 0 for free rows.
        generator: where the initial weights come from; a generator seeded with 0 if None.

    Raises:
        ConfigError: an unknown activation or kind of step, or a size below 1.
        ShapeError: heads that do not divide the width.
    """

    def __init__(
        self,
        tokens: Tokens | Mapping[str, Any],
        outputs: int,
        *,
        steps: int | Sequence[Kind] = 24,
        width: int = 32,
        heads: int = 4,
        hidden: int = 64,
        activation: Activation = "gelu",
        row_norm: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ConfigError("activation", got=repr(activation), expected=f"one of {tuple(ACTIVATIONS)}",
                              do="Correct the name.")  # fmt: skip
        for name, size, least in (
            ("outputs", outputs, 1), ("width", width, 1), ("heads", heads, 1), ("hidden", hidden, 1),
            ("row_norm", row_norm, 0), ("steps", steps if isinstance(steps, int) else 0, 0),
        ):  # fmt: skip
            if not size >= least:
                raise ConfigError(name, got=size, expected=f"at least {least}", do="Correct the number.")
        if width % heads:
            raise ShapeError("heads", got=f"{heads} with width {width}", expected="a divisor of the width",
                             do="Widen the state, or take fewer heads.")  # fmt: skip
        if isinstance(steps, int):
            steps = list(itertools.islice(itertools.cycle(get_args(Kind)), steps))
        if unknown := [kind for kind in steps if kind not in get_args(Kind)]:
            raise ConfigError("steps", got=unknown[0], expected=f"a number, or kinds out of {get_args(Kind)}",
                              do="Correct the name.")  # fmt: skip
        generator = generator or torch.Generator().manual_seed(0)
        tokens = tokens if isinstance(tokens, Tokens) else tokens_from(tokens)
        self.width, self.row_norm = width, row_norm
        self._sizes: dict[str, Any] = {"outputs": outputs, "width": width, "heads": heads, "hidden": hidden,
                                       "activation": activation}  # fmt: skip
        self.lifting = Lift(tokens, width, generator)
        self.steps = nn.ModuleList(self._born(kind, generator) for kind in steps)
        self.reading = linear(width, outputs, generator)
        self.constrain_()

    @property
    def depth(self) -> int:
        return len(self.steps)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What each step is: "attention" or "mlp"."""
        return tuple(self._step(k).kind for k in range(self.depth))

    def lift(self, x: Tensor) -> Tensor:
        return self.lifting(x)

    def branch(self, k: int, x: Tensor) -> Tensor:
        return self._step(k)(x)

    def skip(self, k: int, x: Tensor) -> Tensor:
        return x

    def is_identity(self, k: int) -> bool:
        return True

    def head(self, x: Tensor) -> Tensor:
        each = F.layer_norm(x, (self.width,))
        if not self.lifting.tokens.padded:
            return self.reading(each.mean(-2))
        shares = real(x).to(x.dtype)  # the norm of zeros is zero, so padding adds nothing
        shares = shares / shares.sum(-1, keepdim=True).clamp_min(1.0)
        return self.reading((each * shares[..., None]).sum(-2))

    def group(self, k: int) -> list[nn.Parameter]:
        self.check_step(k)
        outer = self._step(k).outer
        return [outer.weight, outer.bias]

    def control(self, k: int) -> list[nn.Parameter]:
        self.check_step(k)
        return list(self.steps[k].parameters())

    def affine_readout(self) -> tuple[Tensor, Tensor]:
        raise ShapeError("readout of a Transformer", got="norms, and a mean over tokens",
                         expected="a readout that is affine in the state",
                         do="Ask for the logit distance or the excess instead.")  # fmt: skip

    @torch.no_grad()
    def constrain_(self) -> None:
        if self.row_norm:
            self.lifting.constrain_(self.row_norm)
            for k in range(self.depth):
                scale_(self._step(k).rows, self.row_norm)

    def release_(self) -> None:
        self.row_norm = 0.0

    def subsystem(self, steps: Sequence[int]) -> TransformerSystem:
        for k in steps:
            self.check_step(k)
        return self._with(copy.deepcopy(self._step(k)) for k in steps)

    def insert(self, places: Sequence[int], generator: torch.Generator) -> TransformerSystem:
        """As of :class:`System`; a new step is of the other kind than the one before it, the first one attention."""
        like = self.reading.weight
        made: list[Attention | MLP] = []
        for p in range(self.depth + 1):
            for _ in range(list(places).count(p)):
                kind: Kind = "mlp" if made and made[-1].kind == "attention" else "attention"
                made.append(self._born(kind, generator).to(like))
                if self.row_norm:
                    with torch.no_grad():
                        scale_(made[-1].rows, self.row_norm)
            if p < self.depth:
                made.append(copy.deepcopy(self._step(p)))
        return self._with(made)

    def spec(self) -> dict[str, Any]:
        return {"kind": "transformer", "tokens": self.lifting.tokens.spec(), "steps": list(self.kinds), **self._sizes,
                "row_norm": self.row_norm}  # fmt: skip

    def _with(self, steps: Any) -> TransformerSystem:
        """The same lift and head, copied, around other steps."""
        other = type(self)(self.lifting.tokens, steps=0, row_norm=self.row_norm, **self._sizes)
        other.lifting, other.reading = copy.deepcopy(self.lifting), copy.deepcopy(self.reading)
        other.steps = nn.ModuleList(steps)
        return other

    def _born(self, kind: Kind, generator: torch.Generator) -> Attention | MLP:
        sizes, padded = self._sizes, self.lifting.tokens.padded
        if kind == "attention":
            return Attention(self.width, sizes["heads"], padded, generator)
        return MLP(self.width, sizes["hidden"], sizes["activation"], padded, generator)

    def _step(self, k: int) -> Attention | MLP:
        return cast(Attention | MLP, self.steps[k])
