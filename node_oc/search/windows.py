"""Windows of training at one depth each, and which of two networks trained side by side is enough."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from node_oc.diagnosis.loss import Budget
from node_oc.discretization.network import Network
from node_oc.problem.ocp import Problem
from node_oc.problem.waking import BEYOND, Look, look
from node_oc.search.found import Window
from node_oc.search.protocol import Protocol
from node_oc.training.growing import CHUNKS, keeping, looking, waking, window


@dataclass(frozen=True)
class Grown:
    """A network that grows.

    Attributes:
        network: all N steps, some of them awake.
        order: the awake ones in the order in which they woke.
        seen: updates that its weights have seen.
    """

    network: Network
    order: tuple[int, ...]
    seen: int = 0

    @property
    def depth(self) -> int:
        """Layers awake."""
        return len(self.order)

    def first(self, depth: int) -> Grown:
        """A copy with the first ``depth`` layers that woke, the others asleep."""
        return Grown(keeping(self.network, self.order[:depth]), self.order[:depth], self.seen)

    def without(self, steps: Iterable[int]) -> Grown:
        """A copy in which these steps sleep."""
        gone = set(steps)
        order = tuple(k for k in self.order if k not in gone)
        return Grown(keeping(self.network, order), order, self.seen)

    def woken(self, steps: tuple[int, ...], born: Network) -> Grown:
        """A copy in which these steps are awake too, with the weights that they have in an untrained network."""
        return Grown(waking(self.network, steps, born), self.order + steps, self.seen)


class Windows:
    """Trains windows of one length and keeps account of them.

    Args:
        protocol: whose samples, options, folder and budget are used.
        problem: what is minimised.
        updates: in a window.
        price: lambda to which the ratios of sleeping steps are taken.
    """

    def __init__(self, protocol: Protocol, problem: Problem, updates: int, price: float) -> None:
        self.protocol, self.problem, self.updates, self.price = protocol, problem, updates, price
        self.records: list[Window] = []
        self.look_work = self.look_seconds = 0.0
        self._seen: dict[int, Look] = {}

    def train(self, grown: Grown, name: str, role: str, order: str = "") -> Grown:
        """One window, on a copy; see :func:`node_oc.training.growing.window`."""
        known = {k for record in self.records for k in record.steps}
        woke = tuple(k for k in grown.order if k not in known) if self.records else ()
        looks = tuple(self._seen[k] for k in woke if k in self._seen)
        network, protocol = copy.deepcopy(grown.network), self.protocol
        window(network, self.problem, protocol.split.train, protocol.training, updates=self.updates, name=name,
               order=order, folder=protocol.folder, progress=protocol.progress, fabric=protocol.fabric)  # fmt: skip
        loss = float(protocol.losses(network).mean())
        self.records.append(Window(name, role, grown.seen, self.updates, grown.order, woke, looks, loss))
        return Grown(network, grown.order, grown.seen + self.updates)

    def looks(self, grown: Grown, steps: Iterable[int], name: str) -> list[Look]:
        """Look at sleeping steps, on samples that are drawn by this name; at none with fewer samples than chunks."""
        part, options, steps = self.protocol.split.train, self.protocol.training, list(steps)
        if len(part) < CHUNKS:
            return []  # too few samples to tell a promise from noise
        start = time.perf_counter()
        chunks = list(looking(part, grown.network, options.seed, name))
        found = look(grown.network, self.problem.priced(0.0), chunks, steps, self.price, len(part))
        self.look_seconds += time.perf_counter() - start
        samples = sum(len(x) for x, _ in chunks)
        self.look_work += samples / (options.batch or len(part)) * (grown.depth + len(steps))
        self._seen |= {each.step: each for each in found}
        return found

    def enough(self, name: str, one: Grown, other: Grown) -> bool:
        """Whether the one, trained last in the window of this name, is as good as the other on the selecting half.

        That is, whether it loses no more than the budget; or no more than the standard error of what it loses, where
        the samples are too few to tell (a rule of one standard error).
        """
        loss, best = (self.protocol.losses(each.network) for each in (one, other))
        budget = Budget.against(self.protocol.search.budget, self.protocol.split.task, best)
        d = budget.paired(loss, best)
        error = _error(d)
        i = next(i for i, record in enumerate(self.records) if record.name == name)
        self.records[i] = replace(self.records[i], lost=float(d.mean()), allowed=max(budget.limit, error))
        return self.records[i].enough

    def worse(self, one: Network, other: Network) -> bool:
        """Whether the one is worse than the other on the selecting half, beyond two standard errors."""
        d = self.protocol.losses(one) - self.protocol.losses(other)
        return bool(d.mean() > BEYOND * _error(d))

    def nothing_left(self, grown: Grown) -> bool:
        """Whether the loss itself is within the budget, so that no network can be better by more."""
        loss = self.protocol.losses(grown.network)
        return bool(loss.mean() <= Budget.against(self.protocol.search.budget, self.protocol.split.task, loss).limit)


def _error(d: NDArray[np.float64]) -> float:
    """Standard error of a mean."""
    return float(d.std(ddof=1)) / math.sqrt(len(d)) if len(d) > 1 else 0.0
