"""What the conformance suites run over. A new system, table or cost joins its list and inherits every test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from adopted_models import adopted
from systems import Field, Padded, Projecting, randn, stir_
from torch import Tensor, nn

from node_oc.discretization import TABLEAUS, DepthGrid, Network, Tableau
from node_oc.problem import Cost, CrossEntropy, SoftCrossEntropy, SquaredError, SquaredHinge, TorchLoss
from node_oc.system import SYSTEMS as REGISTERED
from node_oc.system import (
    ConvSystem,
    DenseSystem,
    DiscreteResidualSystem,
    DiscreteSystem,
    PairedSystem,
    Patches,
    System,
    TransformerSystem,
)
from node_oc.system.ode import (
    Basis,
    Chebyshev,
    Coordinates,
    DenseVectorField,
    Fourier,
    NeuralODE,
    Pad,
    Piecewise,
)

FEATURES, OUTPUTS, DEPTH = 2, 3, 4
H = (0.5, 1.0, 0.3, 0.8)

_dense = partial(DenseSystem, FEATURES, OUTPUTS, depth=DEPTH, width=4, hidden=5)
_conv = partial(ConvSystem, (1, 1, FEATURES), OUTPUTS)


def _ode(g: torch.Generator, basis: Basis | None = None, *, learn_horizon: bool = False, **field: Any) -> NeuralODE:
    """A neural ODE on the unequal grid of these cases."""
    return NeuralODE(
        DenseVectorField(4, 5, generator=g, **field), lift=Pad(FEATURES, 4), head=Coordinates(OUTPUTS, 4),
        times=(0.0, *itertools.accumulate(H)), basis=basis, learn_horizon=learn_horizon, generator=g,
    )  # fmt: skip


def counted_(system: System) -> System:
    """Put a system in evaluation mode, with running statistics as if it had been trained."""
    for name, buffer in system.named_buffers():
        if "running" in name:
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=torch.Generator().manual_seed(len(name))))
    return system.eval()


SYSTEMS: dict[str, Callable[[torch.Generator], System]] = {
    "dense-tanh": lambda g: _dense(generator=g),
    "dense-relu": lambda g: _dense(activation="relu", generator=g),
    "dense-gelu-free": lambda g: _dense(activation="gelu", row_norm=0.0, generator=g),
    "dense-tanh-pad-coordinates": lambda g: _dense(lift="pad", head="coordinates", generator=g),
    "dense-relu-pad-free": lambda g: _dense(activation="relu", lift="pad", row_norm=0.0, generator=g),
    "dense-gelu-coordinates": lambda g: _dense(activation="gelu", head="coordinates", row_norm=2.0, generator=g),
    "conv-two-stages": lambda g: _conv(channels=(5, 6), blocks=(2, 2), generator=g),
    "conv-empty-stages-free": lambda g: _conv(
        channels=(2, 3, 4), blocks=(0, 4, 0), activation="gelu", row_norm=0.0, generator=g
    ),
    "conv-one-stage-tanh": lambda g: _conv(channels=(3,), blocks=(4,), activation="tanh", generator=g),
    "paired-dense": lambda g: PairedSystem(_dense(generator=g), _dense(activation="gelu", generator=g)),
    "paired-conv": lambda g: PairedSystem(*(_conv(channels=(3,), blocks=(4,), generator=g) for _ in range(2))),
    "ode-constant": lambda g: _ode(g),
    "ode-piecewise-timed": lambda g: _ode(g, Piecewise(2, (1.5 / 2.6,)), time=True),
    "ode-fourier-horizon": lambda g: _ode(g, Fourier(3), learn_horizon=True),
    "unrolled-relu": lambda g: _ode(g, Piecewise(4, (0.5 / 2.6, 1.5 / 2.6, 1.8 / 2.6)), activation="relu").unroll(),
    "unrolled-chebyshev": lambda g: _ode(g, Chebyshev(3)).unroll(nodes=(0.0, 0.5, 1.0)),
    "adopted-mlp": lambda g: adopted("ResidualMLP", g),
    "adopted-post-activation": lambda g: adopted("PostActivation", g),
    "adopted-pre-activation": lambda g: adopted("PreActivation", g),
    "adopted-shared-loop": lambda g: adopted("SharedLoop", g),
    "discrete-residual": lambda g: counted_(
        DiscreteResidualSystem(FEATURES, OUTPUTS, depth=DEPTH, width=4, hidden=5, generator=g)
    ),
    "transformer-patches": lambda g: TransformerSystem(
        Patches((1, 1, FEATURES)), OUTPUTS, steps=DEPTH, width=4, heads=2, hidden=5, generator=g
    ),
    "transformer-padded": lambda g: Padded(OUTPUTS, DEPTH, g),
    "field": lambda g: Field(torch.sin, DEPTH, OUTPUTS),
    "projecting": lambda g: Projecting((4, 4, 5, 5, 3), OUTPUTS, g),
}
# A chain has S_k = 0: no readouts, no stage costs, no step that can be off. What suites ask of those it refuses (see
# tests/system/test_discrete.py); those on files, seeds, controls and export run on it.
CHAINS: dict[str, Callable[[torch.Generator], System]] = {
    "chain-binary": lambda g: counted_(
        DiscreteSystem(FEATURES, OUTPUTS, layers=("5", "D0.2", "4", "5"), values="binary", generator=g)
    ),
    "chain-conv": lambda g: counted_(
        DiscreteSystem(FEATURES, OUTPUTS, layers=("3C3", "4C3", "5"), image=(1, 1, FEATURES), generator=g)
    ),
}
TABLES = TABLEAUS
COSTS: dict[str, Callable[[], Cost]] = {
    "soft-cross-entropy": lambda: SoftCrossEntropy(OUTPUTS, 0.1),
    "cross-entropy": CrossEntropy,
    "squared-error": SquaredError,
    "squared-hinge": SquaredHinge,
    "huber": lambda: TorchLoss(nn.HuberLoss(delta=0.5)),
    "torch-cross-entropy": lambda: TorchLoss(nn.CrossEntropyLoss(label_smoothing=0.1)),
}


def build(name: str, seed: int = 0) -> System:
    return (SYSTEMS | CHAINS)[name](torch.Generator().manual_seed(seed))


def pairs(more: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Every system, and more by name, with every table that can step it: several stages need identity skips."""
    made = {name: build(name) for name in (*SYSTEMS, *more)}
    plain = {name: all(map(system.is_identity, range(system.depth))) for name, system in made.items()}
    return [
        (name, t) for name, system in made.items() for t, table in TABLES.items()
        if (plain[name] or table.stages == 1) and set(system.nodes or table.c) == set(table.c)
        and (name != "transformer-padded" or t in ("euler", "midpoint"))  # a table knows nothing of padding: spare time
    ]  # fmt: skip


def steppable(name: str) -> str:
    """The richest table that can step a system."""
    return [table for system, table in pairs([name] if name in CHAINS else []) if system == name][-1]


def own_controls() -> list[str]:
    """The systems whose steps have controls of their own."""
    return [name for name in SYSTEMS if not build(name).tied]


def doubles(name: str) -> bool:
    """Whether a step of the system can be two: an adopted model has one name for each layer."""
    return name != "projecting" and not name.startswith("adopted")


def registered() -> list[str]:
    """The systems that a file can name."""
    return [name for name in (*SYSTEMS, *CHAINS) if build(name).spec()["kind"] in REGISTERED]


def network(system: str, table: str | Tableau = "euler", dtype: torch.dtype = torch.float64) -> Network:
    """A network of that kind with generic weights and unequal steps."""
    table = TABLES[table] if isinstance(table, str) else table
    made = build(system)
    if made.nodes is not None:  # the table that it was made for
        table = next(t for t in (table, *TABLES.values()) if set(t.c) == set(made.nodes))
    net = Network(made, DepthGrid(H), table).to(dtype)
    stir_(net)
    return net


def inputs(batch: int = 6, dtype: torch.dtype = torch.float64, seed: int = 1) -> Tensor:
    return randn(batch, FEATURES, seed=seed).to(dtype)


def target(cost: str, batch: int = 6, dtype: torch.dtype = torch.float64) -> Tensor:
    """Classes, or values where the cost compares values."""
    if "entropy" in cost or "hinge" in cost:
        return torch.arange(batch) % OUTPUTS
    return randn(batch, OUTPUTS, seed=2).to(dtype)
