"""Layers that are put to sleep: the price drives groups to zero, the optimality test keeps them there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from node_oc.config import TrainingSection
from node_oc.data.split import Part, onto
from node_oc.discretization.network import Network
from node_oc.problem.ocp import Problem, group_norms
from node_oc.problem.optimality import optimality_ratios
from node_oc.training.loop import Plan, Progress, Stop, fit

SHRINKING = 0.7  # share of the updates at the price; the rest refits the support at price 0
AVERAGED = 1 / 7  # share of the shrinking updates whose iterates are averaged: the last tenth of all
SMALL = 1e-2  # groups under this norm are candidates for zero


@dataclass(frozen=True)
class Sparse:
    """What one price did to a network.

    Attributes:
        price: lambda.
        awake: the steps kept.
        ratios: optimality ratio of every step at the end, (N,); at most 1 certifies a sleeping step.
        woken: steps that the proximal map had near zero but whose ratio exceeded 1 at the average iterate.
    """

    price: float
    awake: tuple[int, ...]
    ratios: tuple[float, ...]
    woken: tuple[int, ...]


def chunks(part: Part, network: Network, values: int = 2**18) -> Iterator[tuple[Tensor, Tensor]]:
    """The samples of a part in order, on the network's device, so many input values at a time: images are large."""
    anchor = next(network.parameters(), part.x)
    size = min(8192, max(1, values // part.x[0].numel()))
    for x, y in zip(part.x.split(size), part.y.split(size), strict=True):
        yield onto(x, anchor), onto(y, anchor)


def sparsify(
    network: Network,
    problem: Problem,
    part: Part,
    options: TrainingSection,
    *,
    updates: int,
    name: str,
    folder: Path | None = None,
    progress: Progress | None = None,
    fabric: Fabric | None = None,
    stop: Stop | None = None,
) -> Sparse:
    """Train a network at the problem's price until idle steps are exactly zero, and put them to sleep, in place.

    For 70 % of the updates the price acts at the full learning rate. Then the support is fixed: groups under
    1e-2 sleep if their optimality ratio is at most 1 at the average of the last iterates (at the raw iterate
    the test fails wrongly: minibatch noise), and the rest is refitted without the price (our derivation).

    Args:
        network: the network, with whatever weights to start from.
        problem: with ``group_price`` > 0.
        part: training samples.
        options: batch, learning rate, clipping, seed; its epochs are not used.
        updates: number of updates in all.
        name: names the folders and the batch order.
        folder: where the folders of the two trainings go; nothing is written if None.
        progress: as in :func:`node_oc.fit`.
        fabric: as in :func:`node_oc.fit`.
        stop: as in :func:`node_oc.fit`; asked in both trainings, and each ends by itself.
    """
    shrinking = max(1, round(SHRINKING * updates))
    plan = Plan(f"{name}-shrink", shrinking, cosine=False, average=AVERAGED)
    average = fit(network, problem, part, options, plan=plan, folder=folder and folder / plan.name,
                  progress=progress, fabric=fabric, stop=stop)  # fmt: skip
    woken = put_to_sleep(network, problem, part, average)
    plan = Plan(f"{name}-refit", updates - shrinking)
    fit(network, problem.priced(0.0), part, options, plan=plan, folder=folder and folder / plan.name,
        progress=progress, fabric=fabric, stop=stop)  # fmt: skip
    ratios = optimality_ratios(network, problem, chunks(part, network))
    return Sparse(problem.group_price, network.awake, tuple(ratios.tolist()), woken)


@torch.no_grad()
def put_to_sleep(network: Network, problem: Problem, part: Part, average: dict[str, Tensor]) -> tuple[int, ...]:
    """Zero the small groups that pass the optimality test at the average iterate; returns those that wake.

    A small group that fails the test stays awake. Of the steps that slept before, the one with the largest
    ratio above 1 wakes: one at a time, because each that wakes changes the ratios of the others.
    """
    raw = {name: p.clone() for name, p in network.named_parameters()}
    slept = [k for k in range(network.depth) if k not in network.awake]
    norms = group_norms(network).tolist()
    small = [k for k, norm in enumerate(norms) if norm < SMALL and network.system.group(k)]  # without a group: never
    _assign(network, average)
    _zero(network, small)
    ratios = optimality_ratios(network, problem, chunks(part, network)).tolist()
    _assign(network, raw)
    waking = [k for k in small if k not in slept and ratios[k] > 1]
    if slept and ratios[best := max(slept, key=lambda k: ratios[k])] > 1:
        waking.append(best)
    asleep = [k for k in small if k not in waking]
    _zero(network, asleep)
    network.set_awake(k for k in range(network.depth) if k not in asleep)
    return tuple(sorted(waking))


def _assign(network: Network, values: dict[str, Tensor]) -> None:
    """Parameters alone: an average of iterates has no running statistics."""
    for name, p in network.named_parameters():
        p.copy_(values[name])


def _zero(network: Network, steps: list[int]) -> None:
    for k in steps:
        for p in network.system.group(k):
            p.zero_()
