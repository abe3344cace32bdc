"""Cut a network at a depth or an ODE at a time, drop zero steps wherever they lie, or make room for more."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast, overload

import torch

from node_oc.discretization.grid import DepthGrid
from node_oc.discretization.network import Network
from node_oc.errors import ConfigError, ShapeError
from node_oc.system.adopt import AdoptedSystem
from node_oc.system.base import as_number
from node_oc.system.ode import NeuralODE
from node_oc.training.growing import in_turns

ROUNDING = 1e-6  # of a horizon: a trained one is a float32


@overload
def crop(network: Network, *, depth: int | None = None, steps: Sequence[int] | None = None) -> Network: ...
@overload
def crop(network: AdoptedSystem, *, depth: int | None = None, steps: Sequence[int] | None = None) -> AdoptedSystem: ...


def crop(
    network: Network | AdoptedSystem, *, depth: int | None = None, steps: Sequence[int] | None = None
) -> Network | AdoptedSystem:
    """A shallower network, an ordinary ``nn.Module`` with copied weights.

    Args:
        network: what is cut, a network or an adopted model; it is left as it is, and the answer is of its kind.
        depth: keep the first ``depth`` steps, 0..N.
        steps: keep these steps, in increasing order.

    With neither, the steps that sleep or are exactly zero are dropped, which changes no output bit (same
    batch, same thread count, eager mode).

    Raises:
        ShapeError: a depth outside 0..N, a step that the network does not have, or both arguments; an adopted model of
            which no branch would be left.
    """
    if isinstance(network, AdoptedSystem):
        small = crop(Network(network), depth=depth, steps=steps)
        if not small.depth:
            which = "no branch, as all are zero" if depth is None and steps is None else "no branch"
            raise ShapeError("crop", got=f"{which}", expected="at least one",
                             do="Keep one: crop(system, depth=1). What is read without any is rollout(..).readouts[0].",
                             )  # fmt: skip
        return cast(AdoptedSystem, small.system)
    if depth is not None and steps is not None:
        raise ShapeError("crop", got="a depth and steps", expected="one of the two", do="Leave one out.")
    if depth is not None:
        if not 0 <= depth <= network.depth:
            raise ShapeError("depth", got=depth, expected=f"0..{network.depth} (layers)",
                             do="Choose a depth that the network has.")  # fmt: skip
        steps = range(depth)
    if steps is None:
        steps = awake_steps(network)
    if list(steps) != sorted(set(steps)):
        raise ShapeError("steps", got=list(steps), expected="increasing step indices without repeats",
                         do="Sort the steps.")  # fmt: skip
    return network.keep(steps)


def shorten(ode: NeuralODE | Network, horizon: float) -> Network:
    """The same ODE on [0, T'], T' <= T: what comes later is cut off, and the head reads the state at T'.

    Args:
        ode: a neural ODE, or a network of it; it is left as it is.
        horizon: T', in units of time.

    Returns:
        A network with the grid of the old one up to T', its last interval shorter, and the same table.

    Raises:
        ConfigError: no neural ODE, or a T' outside (0, T].
    """
    network = ode if isinstance(ode, Network) else Network(ode)
    system = network.system
    if not isinstance(system, NeuralODE):
        raise ConfigError("shorten", got=f"a {type(system).__name__}", expected="a neural ODE",
                          do="The layers of a residual network are cropped by node_oc.crop.")  # fmt: skip
    pace = as_number(system.pace)
    if not 0 < horizon <= (1 + ROUNDING) * pace * system.times[-1]:
        raise ConfigError("horizon", got=horizon, expected=f"more than 0, at most T = {pace * system.times[-1]:g}",
                          do="Choose a time that the ODE has.")  # fmt: skip
    short = copy.deepcopy(system)  # its span, by which u(t) is read, stays what it was
    end = min(horizon / pace, system.times[-1])
    short.times = (*(t for t in system.times if t < end), end)
    return Network(short, table=network.table)


def awake_steps(network: Network) -> list[int]:
    """Steps that do something: neither asleep nor exactly zero."""
    zero = set(network.zero_steps())
    return [k for k in network.awake if k not in zero]


def first_steps(network: Network, depth: int) -> list[int]:
    """The ``depth`` awake steps that a cut keeps: the first ones, in stages the first ones of each stage in turn.

    A stage ends where a skip is no identity and none that settles. Later stages come first, as a plain network of few
    layers has them there: the first steps of the network alone would be the narrow ones far from the head.
    """
    return _in_stages(network, awake_steps(network), depth)


def spread_steps(network: Network, depth: int) -> list[int]:
    """The same of all steps, asleep or zero as they may be: where a plain network of ``depth`` steps has its own."""
    return _in_stages(network, range(network.depth), depth)


def _in_stages(network: Network, steps: Sequence[int], depth: int) -> list[int]:
    stages: dict[int, list[int]] = {}
    for k in steps:
        stages.setdefault(sum(not _within_stage(network, j) for j in range(k + 1)), []).append(k)
    return sorted(in_turns([stages[s] for s in sorted(stages, reverse=True)], depth))


def _within_stage(network: Network, k: int) -> bool:
    return network.system.is_identity(k) or network.system.settling(k) is not None


def deepen(network: Network, depth: int, generator: torch.Generator | None = None) -> Network:
    """A network of ``depth`` steps that computes the same: sleeping steps stand before, between and after the others.

    The new ones are spread evenly, later places first; each takes the step size of the step before it. They have the
    weights of an untrained step, which do not matter while they sleep: :class:`node_oc.GrowthSearch` wakes them where
    that pays.

    Args:
        network: a trained network, none of its steps asleep; it is left as it is.
        depth: N of the new one, at least one more.
        generator: where the weights of the new steps come from; a generator seeded with 0 if None.

    Raises:
        ShapeError: a depth that leaves no room, or a network that has some already.
    """
    network, old = network.untied(), network.depth
    if len(network.awake) < old:
        raise ShapeError("network", got=f"{len(network.awake)} of {old} steps awake", expected="all awake",
                         do="Take another network, or drop the others first with node_oc.crop(network).")  # fmt: skip
    if depth <= old:
        raise ShapeError("depth", got=depth, expected=f"more than {old} (layers)",
                         do="Raise system.depth, or depth, to leave room for new layers.")  # fmt: skip
    places = [old - i % (old + 1) for i in range(depth - old)]  # a place p stands before the old step p
    origin: list[int | None] = []
    for k in range(old + 1):
        origin += [None] * places.count(k) + ([k] if k < old else [])
    before = [next((o for o in reversed(origin[: i + 1]) if o is not None), 0) for i in range(depth)]
    h = DepthGrid(tuple(network.grid.h[k] if old else 1.0 for k in before))
    system = network.system.insert(sorted(places), generator or torch.Generator().manual_seed(0))
    return Network(system, h, network.table, awake=[i for i, o in enumerate(origin) if o is not None])
