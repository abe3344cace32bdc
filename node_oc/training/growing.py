"""Steps that wake while a network is trained: where there is room, what they start from, and one window of training."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from node_oc.config import TrainingSection
from node_oc.data.split import Part, onto
from node_oc.discretization.network import Network
from node_oc.errors import ShapeError
from node_oc.problem.ocp import Problem
from node_oc.seeds import derived_generator
from node_oc.training.loop import Plan, Progress, fit

AVERAGED = 0.25  # share of a window, its end, over which the iterates are averaged
CHUNKS = 8  # of samples for a look at sleeping steps
LOOKED = 5_000  # samples in them at most


def room(network: Network) -> list[list[int]]:
    """Sleeping steps in runs: within a run no skip changes the state, so its first step is the next one there.

    A dense network that grows at its end has one run, a convolutional one a run for each stage that has room, and a
    trained network with zero steps inserted one for each gap.
    """
    runs: list[list[int]] = []
    for k in range(network.depth):
        if k in network.awake:
            continue
        if runs and runs[-1][-1] == k - 1 and network.system.is_identity(k):
            runs[-1].append(k)
        else:
            runs.append([k])
    return runs


def in_turns(runs: Sequence[Sequence[int]], count: int) -> list[int]:
    """``count`` steps, one of each run in turn, fewer if there are no more."""
    rounds = itertools.zip_longest(*runs)
    return [k for round_ in rounds for k in round_ if k is not None][:count]


@torch.no_grad()
def keeping(network: Network, steps: Iterable[int]) -> Network:
    """A copy in which these steps alone are awake; the groups of all others are exactly zero."""
    small = copy.deepcopy(network)
    small.set_awake(steps)
    for k in set(range(small.depth)) - set(small.awake):
        for p in small.system.group(k):
            p.zero_()
    return small


@torch.no_grad()
def waking(network: Network, steps: Iterable[int], born: Network) -> Network:
    """A copy in which these steps are awake too, with the weights that they have in ``born``, an untrained network."""
    deeper, steps = copy.deepcopy(network), tuple(steps)
    for k in steps:
        for p, q in zip(deeper.system.control(k), born.system.control(k), strict=True):
            p.copy_(q)
    deeper.set_awake({*network.awake, *steps})
    return deeper


@torch.no_grad()
def check_zero_branch(network: Network, x: Tensor) -> None:
    """Raise ShapeError unless a zero group makes a zero branch on these samples, in every sleeping step."""
    anchor = next(network.parameters(), x)
    state = network.system.lift(onto(x, anchor))
    for k in range(network.depth):
        if k not in network.awake and (size := float(network.system.branch(k, state).abs().max())) != 0:  # or nan
            raise ShapeError(
                f"branch of step {k} with a zero group", got=f"up to {size:.1e}", expected="exactly zero",
                do="Only a step that can be nothing can sleep: search this system with search.way=cut.",
            )  # fmt: skip
        state, _ = network.advance(k, state)


def looking(part: Part, network: Network, seed: int, name: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Disjoint, equally large chunks of the samples, drawn anew by name, on the network's device."""
    size = max(1, min(LOOKED, len(part)) // CHUNKS)
    order = torch.randperm(len(part), generator=derived_generator(seed, name, "look"))
    anchor = next(network.parameters(), part.x)
    for chosen in order[: size * CHUNKS].split(size):
        y = part.y[chosen]
        yield onto(part.x[chosen], anchor), onto(y, anchor)


def window(
    network: Network, problem: Problem, part: Part, options: TrainingSection, *, updates: int, name: str,
    order: str = "", folder: Path | None = None, progress: Progress | None = None, fabric: Fabric | None = None,
) -> None:  # fmt: skip
    """Train the awake steps for a while at the full learning rate, in place, and end at averaged weights.

    The average over the last quarter is about as good as a network whose learning rate has fallen to 0, so networks can
    be compared, and looked at, in the middle of a training; the next window starts from it, with fresh moments.

    Args:
        network: what is trained.
        problem: what is minimised; with a price, by the proximal-gradient method.
        part: training samples.
        options: batch, learning rate, clipping, seed; its epochs are not used.
        updates: number of updates.
        name: names the folder and, where ``order`` is empty, the batch order.
        order: windows of the same order see the same batches.
        folder: where the window's own folder goes; nothing is written if None.
        progress: as in :func:`node_oc.fit`.
        fabric: as in :func:`node_oc.fit`.
    """
    plan = Plan(name, updates, cosine=False, average=AVERAGED, order=order)
    average = fit(network, problem, part, options, plan=plan, folder=folder and folder / name,
                  progress=progress, fabric=fabric)  # fmt: skip
    network.load_state_dict(network.state_dict() | average)
