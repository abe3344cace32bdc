"""Plain networks of several depths, and the two sweeps over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from node_oc.cropping import crop
from node_oc.diagnosis.loss import Budget
from node_oc.discretization.network import Network
from node_oc.errors import ConfigError
from node_oc.search.compared import EVERY, FRESH, UPWARDS, Rival
from node_oc.search.ledger import Ledger
from node_oc.search.protocol import Protocol, smallest
from node_oc.training.heal import HEALING


@dataclass
class Sweeps:
    """Plain networks, each trained once, and what a sweep over them answers (theory: "Ground truth").

    A sweep keeps the budget against its own best network, on the selecting half. Its work is that of all the
    depths that it asked for, whoever asked for them first.

    Attributes:
        protocol: of a :class:`node_oc.DepthSearch` that has run, or a new one; where a reference is known by its
            :meth:`Protocol.judge_by`, excesses are measured against that.
        fresh: makes an untrained network of a given depth, in layers.
        depth: N, layers of the deepest plain network; of the reference if None.
        folder: where trainings keep their checkpoints; "compare" in the protocol's folder if None. A training that
            the protocol's own folder has is read from there.

    Raises:
        ConfigError: no depth, and no reference to take it from.
    """

    protocol: Protocol
    fresh: Callable[[int], Network]
    depth: int | None = None
    folder: Path | None = None

    def __post_init__(self) -> None:
        self.layers = self.protocol.reference.depth if self.depth is None else self.depth
        self._ledger = Ledger(self.protocol, self.folder)
        self._plain: dict[int, Rival] = {}
        self._fresh: dict[int, Rival] = {}
        self._losses: dict[int, NDArray[np.float64]] = {}

    def plain(self, depth: int) -> Rival:
        """A plain network of ``depth`` layers: terminal cost only, free rows, all epochs, labels.

        Raises:
            ConfigError: a depth outside 0..N.
        """
        self._check(depth)
        if depth not in self._plain:
            network, name = self._untrained(depth), f"plain-{depth}"
            self._ledger.train(name, network, share=1.0)
            self._losses[depth] = self.protocol.losses(network)
            self._plain[depth] = self._ledger.row("plain", network, None, [name], self._losses[depth])
        return self._plain[depth]

    def fresh_healed(self, depth: int, steps: Sequence[int] | None = None) -> Rival:
        """A fresh network of ``depth`` layers trained for the healing epochs only: what are cut weights worth?

        Args:
            depth: in layers.
            steps: those of the deep network that a cut one kept: a network in stages then has its blocks where that
                one has them. As :attr:`fresh` makes it if None.

        Raises:
            ConfigError: a depth outside 0..N.
        """
        self._check(depth)
        if depth not in self._fresh:
            network, name = self.fresh(depth), f"fresh-{depth}"
            if steps is not None and network.spec() != (shape := crop(self.fresh(self.layers), steps=steps)).spec():
                network = shape
            self._ledger.train(name, network, share=HEALING)
            self._fresh[depth] = self._ledger.row(FRESH, network, None, [name])
        return self._fresh[depth]

    def sweep(self, depths: Iterable[int]) -> Rival:
        """The smallest of these depths whose plain network is within the budget of the best of them.

        M* is that by mean loss over several seeds.

        Raises:
            ConfigError: no depths, or one outside 0..N.
        """
        tried = sorted(set(depths))
        if not tried:
            raise ConfigError("depths of a sweep", got="none", expected="at least one", do="Name some depths.")
        for depth in tried:
            self._check(depth)  # before hours of training
        return self._answer(EVERY, tried)

    def upwards(self, limit: int | None = None) -> Rival:
        """Plain networks of 1, 2, 4, .. layers until a doubling gains less than the budget, then bisection.

        A doubling gains less where the shallower network is within the budget of the deeper one, with a budget of
        zero thus where it is as good. Where one layer is enough, none is tried too. The answer is the smallest depth
        tried that is within the budget of the best one seen.

        Args:
            limit: the deepest, in layers; N if None. The last doubling stops there.

        Raises:
            ConfigError: a limit outside 1..N.
        """
        limit = self.layers if limit is None else limit
        self._check(limit, 1)
        tried = [1]
        while tried[-1] < limit:
            tried.append(min(2 * tried[-1], limit))
            if self._within(tried[-2], tried[-1]):
                break

        def inside(depth: int) -> bool:
            tried.append(depth)
            return self._within(depth, self._best(tried))

        high = self._first(tried)
        smallest(inside, max((m for m in tried if m < high), default=-1), high)
        return self._answer(UPWARDS, tried)

    def _untrained(self, depth: int) -> Network:
        return self.fresh(depth)

    def _check(self, depth: int, least: int = 0) -> None:
        if not least <= depth <= self.layers:
            raise ConfigError("depth of a rival", got=depth, expected=f"{least}..{self.layers} (layers)",
                              do="Choose a depth up to that of the deep network.")  # fmt: skip

    def _inside(self, loss: NDArray[np.float64], best: NDArray[np.float64]) -> bool:
        budget = Budget.against(self.protocol.search.budget, self.protocol.split.task, best)
        return bool(budget.paired(loss, best).mean() <= budget.limit)

    def _within(self, depth: int, best: int) -> bool:
        """Whether one plain network is within the budget of another."""
        self.plain(depth), self.plain(best)
        return self._inside(self._losses[depth], self._losses[best])

    def _best(self, depths: Iterable[int]) -> int:
        """The depth of least mean loss, the smallest of equals."""
        return min(sorted(depths), key=lambda depth: self.plain(depth).loss)

    def _first(self, depths: Sequence[int]) -> int:
        """The smallest depth within the budget of the best."""
        best = self._best(depths)
        return min(depth for depth in depths if self._within(depth, best))

    def _answer(self, way: str, tried: Sequence[int]) -> Rival:
        depth = self._first(tried)
        return self._ledger.row(way, self.plain(depth).network, None, [f"plain-{m}" for m in tried],
                                self._losses[depth])  # fmt: skip
