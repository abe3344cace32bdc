"""Where it pays to look at the batch and to drop what has stopped: chosen from measured times."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from node_oc.discretization.network import Network, evaluating
from node_oc.inference.early_exit import EarlyExit, Exited
from node_oc.inference.inputs import rows_of
from node_oc.inference.turns import Clock, in_turns, timed
from node_oc.inference.watching import Watch

TIMES, ROUNDS, FACTOR = 5, 7, 4


@torch.inference_mode()
def measured_drops(
    early: EarlyExit, x: Any, batches: Sequence[int] = (256, 4096), *, clock: Clock = time.perf_counter
) -> dict[int, tuple[int, ...]]:
    """The exits at which dropping is fastest, for each batch size: a value of ``drop_at`` for :class:`EarlyExit`.

    The time of every step, and of a look at every exit, is measured at batch sizes that are four times the one before;
    with the share of samples that reach each exit, the cheapest set of looks is a shortest path over the exits (our
    derivation). What it promises is then timed in turns beside a look at every exit and one look at the end, and the
    fastest of the three is kept. The outputs are the same whatever comes out.

    Args:
        early: what will run.
        x: inputs such as those to come, on its device; repeated to the batch sizes.
        batches: batch sizes, 2 or more: one sample is asked at every exit.
        clock: see :func:`what_pays`.
    """
    depths = early(x).depths.cpu().numpy()
    with evaluating(early.model):
        return {
            batch: _chosen(early, repeated(early, x, batch), batch, depths, clock) for batch in sorted(set(batches))
        }


def _chosen(early: EarlyExit, x: Any, batch: int, depths: np.ndarray, clock: Clock) -> tuple[int, ...]:
    sizes = sorted({max(1, batch // FACTOR**i) for i in range(6)})
    step, look, more = (np.stack(part, -1) for part in zip(*(_times(early, x, n, clock) for n in sizes)))
    path = _shortest(early.exits, batch, depths, *(_at(sizes, part) for part in (step, look, more)))
    choices = {"path": path, "every": early.exits, "none": early.exits[-1:]}
    runs = {name: EarlyExit(early.model, early.policy, drop_at) for name, drop_at in choices.items()}
    times = in_turns({name: partial(_run, run, x) for name, run in runs.items()}, ROUNDS, clock)
    return choices[min(times, key=lambda name: min(times[name]))]


def repeated(early: EarlyExit, x: Any, batch: int) -> Any:
    """Inputs of so many samples, the given ones again and again."""
    count = len(early(x).depths)
    return rows_of(early.network.system, x, torch.arange(batch) % count)


def _times(early: EarlyExit, x: Any, n: int, clock: Clock) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds with n samples: of each step (N,), of a look at each exit, of one exit more in a look, (E,)."""
    z = early.inputs(rows_of(early.network.system, x, torch.arange(n)))
    network = early.network.given(z)
    steps, state, k = early.steps_of(network), network.system.lift(z), 0
    taken: list[float] = []
    looks: list[float] = []
    more: list[float] = []
    before: tuple[Tensor, ...] = ()
    for place, e in enumerate(early.exits):
        for step in steps[k:e]:
            taken.append(0.0 if step is None else _least(partial(step, state), clock))
            state = state if step is None else step(state)
        k = e
        looks.append(_least(partial(_look, early, network, (e,), (state,)), clock))
        two = partial(_look, early, network, early.exits[place - 1 : place + 1], (*before, state))
        more.append(max(0.0, _least(two, clock) - looks[-1]) if before else 0.0)
        before = (state,)
    return taken, looks, more


def _look(early: EarlyExit, network: Network, exits: tuple[int, ...], states: tuple[Tensor, ...]) -> Tensor:
    stopped, *_ = early.look(network, exits, states, Watch(early.policy.task))
    return states[-1][stopped.logical_not().nonzero()[:, 0]]


def _run(early: EarlyExit, x: Any, _: int) -> Exited:
    return early(x)


def _least(call: Callable[[], object], clock: Clock) -> float:
    """Milliseconds: what else runs on the machine can only add to them."""
    return min(timed(call, clock) for _ in range(TIMES))


def _at(sizes: Sequence[int], times: np.ndarray) -> Callable[[float], np.ndarray]:
    """Times at any number of samples between those that were measured."""
    return lambda n: np.array([np.interp(n, sizes, row) for row in times])


def _shortest(
    exits: Sequence[int], batch: int, depths: np.ndarray, step: Callable[[float], np.ndarray],
    look: Callable[[float], np.ndarray], more: Callable[[float], np.ndarray],
) -> tuple[int, ...]:  # fmt: skip
    """The exits of the cheapest looks: from one to the next, steps with those who were alive after the first."""
    ends = [0, *exits]  # place 0 is the start, place i exit i - 1
    best, before = [0.0] + [np.inf] * len(exits), [0] * len(ends)
    for i in range(len(exits)):
        share = float((depths > exits[i - 1]).mean()) if i else 1.0
        some = 1 - (1 - share) ** batch  # the chance that anybody is alive
        n = max(1.0, batch * share / some) if some else 1.0
        steps, looks, extra = step(n), look(n), more(n)
        for j in range(i + 1, len(ends)):
            cost = best[i] + some * (steps[ends[i] : ends[j]].sum() + looks[j - 1] + extra[i : j - 1].sum())
            if cost < best[j]:
                best[j], before[j] = float(cost), i
    path, place = [], len(ends) - 1
    while place:
        path.append(exits[place - 1])
        place = before[place]
    return tuple(reversed(path))
