"""Who takes part: every variant of every peer, what it is called, and where and when it is timed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.task import Task
from node_oc.errors import ConfigError

OURS = "node_oc/fast"
"""What all others are compared with."""


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes:
        key: "peer/variant", as :mod:`benchmarks.workers` names them.
        label: what the table says.
        kinds: kinds of task that it computes.
        devices: devices that it is timed on.
        quick: whether ``--quick`` has it too.
        slow: one step takes seconds: it is timed once, outside of the turns.
        exact: whether it computes J and its gradient; what does not stays in the table, with its error.
        asleep: compared with the gradient of the network whose branches are zero there.
        note: a remark under the table.
    """

    key: str
    label: str
    kinds: tuple[str, ...] = ("dense",)
    devices: tuple[str, ...] = ("cpu",)
    quick: bool = True
    slow: bool = False
    exact: bool = True
    asleep: bool = False
    note: str = ""

    @property
    def peer(self) -> str:
        """The worker that runs it."""
        return self.key.split("/")[0]

    @property
    def name(self) -> str:
        """Its name inside the worker."""
        return self.key.split("/")[1]


DENSE, CONV, BOTH, EVERY = ("dense",), ("conv",), ("dense", "conv"), ("cpu", "cuda")
SOLUTION = (
    "the field keeps the states that it is called with, and the solver is asked for x_N alone: torchdiffeq writes its "
    "solution in place, which costs backward a copy of all states for each of them"
)
BACKWARDS = (
    "the layer is looked up from the time where a step starts, which is one layer off where time runs backwards, and "
    "states are integrated back instead of remembered"
)

VARIANTS = (
    Variant("floor/products", "the bare products", BOTH, EVERY,
            note="no network: the products of one step at the same shapes, one after the other, by torch's BLAS"),
    Variant("floor/oneDNN", "the bare products, oneDNN", DENSE, note="the same by torch's other library"),
    Variant(OURS, "node_oc", BOTH, EVERY, note="as its training does it: the controls of all layers stacked by role"),
    Variant("node_oc/separate", "node_oc, parameters by layer", BOTH, EVERY),
    Variant("node_oc/general", "node_oc, general path", BOTH, EVERY),
    Variant("node_oc/compiled", "node_oc, general path, torch.compile", DENSE, EVERY, quick=False,
            note="as compile = true has it; fullgraph=True, a graph break would be an error"),
    Variant("node_oc/graphs", "node_oc, general path, CUDA graphs", DENSE, ("cuda",),
            note='torch.compile(mode="reduce-overhead")'),
    Variant("node_oc/asleep", "node_oc, 6 of 20 layers awake", DENSE, EVERY, asleep=True,
            note="zero branches, spread over depth; the gradient is compared on what is trained"),
    Variant("node_oc/update", "node_oc, its whole update", DENSE, EVERY,
            note="training.method.Method.step: with gradient clipping, the row constraint and its log line; "
                 "it minimises s J, and the gradient is divided by s"),
    Variant("torchdiffeq/plain", "torchdiffeq, plain", BOTH, EVERY),
    Variant("torchdiffeq/best", "torchdiffeq, best", BOTH, EVERY),
    Variant("torchdiffeq/best NCHW", "torchdiffeq, best, NCHW", CONV),
    Variant("torchdiffeq/seen", "torchdiffeq, around its solution", BOTH, EVERY, note=SOLUTION),
    Variant("torchdiffeq/seen NCHW", "torchdiffeq, around its solution, NCHW", CONV),
    Variant("torchdiffeq/adjoint", "torchdiffeq, adjoint, euler", DENSE, EVERY, quick=False, exact=False,
            note=BACKWARDS),
    Variant("torchdiffeq/dopri5", "torchdiffeq, adjoint, dopri5 1e-5", DENSE, quick=False, slow=True, exact=False,
            note="another model: the flow of a field that is piecewise constant in time"),
    Variant("torchdyn/plain", "torchdyn, trajectory", BOTH, EVERY),
    Variant("torchdyn/best", "torchdyn, best", BOTH, EVERY, note="the field keeps the states that it is called with"),
    Variant("torchdyn/adjoint", "torchdyn, IntegralLoss adjoint", DENSE, EVERY, quick=False, exact=False,
            note="the running cost has no value of its own, d cost / d head is dropped, and " + BACKWARDS),
    Variant("torchode/plain", "torchode, plain", DENSE, EVERY),
    Variant("torchode/best", "torchode, best", DENSE, EVERY, note="the field keeps the states that it is called with"),
    Variant("jax/diffrax plain", "diffrax, jit", DENSE, note="recursive checkpointing, its default"),
    Variant("jax/diffrax best", "diffrax, jit, best", DENSE,
            note="checkpoints=20, so that nothing is computed twice, and SaveAt(steps=True)"),
    Variant("jax/scan", "jax, lax.scan by hand", DENSE),
    Variant("jax/scan unrolled", "jax, lax.scan by hand, unrolled", DENSE),
)  # fmt: skip
KEYS = tuple(variant.key for variant in VARIANTS)


def chosen(task: Task, device: str, *, quick: bool, only: Sequence[str] = ()) -> list[Variant]:
    """The variants of one task, in the order of the table; ``only`` names variants or whole peers.

    Raises:
        ConfigError: a name that is neither.
    """
    peers = {key.split("/")[0] for key in KEYS}
    for name in only:
        if name not in KEYS and name not in peers:
            raise ConfigError("variant", got=repr(name), expected=f"a peer of {sorted(peers)} or one of {list(KEYS)}",
                              do="Correct the name; python -m benchmarks.training_step --list shows them.")  # fmt: skip
    return [
        variant for variant in VARIANTS
        if task.kind in variant.kinds and device in variant.devices and (variant.quick or not quick)
        and (not only or variant.key in only or variant.peer in only)
    ]  # fmt: skip


def labelled(key: str) -> str:
    """What the table calls it."""
    return next(variant.label for variant in VARIANTS if variant.key == key)


def named(variants: Iterable[Variant]) -> list[str]:
    """The peers of some variants, in their order."""
    return list(dict.fromkeys(variant.peer for variant in variants))
