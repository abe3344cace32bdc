"""What a user would do instead of a depth search: the sweeps, and two ways to cut a plainly trained network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from node_oc.cropping import awake_steps, crop, first_steps
from node_oc.discretization.network import Network
from node_oc.search.compared import INFLUENCE, LAST, OURS, Compared, Rival
from node_oc.search.influence import block_influence
from node_oc.search.protocol import smallest
from node_oc.search.sweeps import Sweeps
from node_oc.training.batches import training_updates
from node_oc.training.heal import HEALING


@dataclass
class Rivals(Sweeps):
    """Other ways to a shallow network, each with our healing and our validation protocol (our comparison).

    Sweeps keep the budget against their own best network, cuts against the protocol's reference. A crop is healed
    towards the outputs of what it was cut from where ``search.distil`` is on, and not at all where ``search.heal``
    is off. Nothing is trained twice, and with a folder everything is resumable. A way's work is counted as if it had
    been gone alone.

    Attributes:
        protocol: see :class:`Sweeps`; cuts need a reference.
        fresh: makes an untrained network of a given depth, in layers.
        depth: N, layers of the plain network that is cut; of the reference if None.
        folder: see :class:`Sweeps`.
        deep: makes the plain network of N layers, where that does not start from scratch; with ``fresh`` if None.
    """

    deep: Callable[[], Network] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._cuts: dict[tuple[str, int], Rival] = {}

    def drop_last(self, depth: int | None = None) -> Rival:
        """The first M layers of the plain network of N layers, healed; with M = N it is that network as it is.

        Args:
            depth: M; if None the smallest inside the budget, by the bisection of our own search, N if none is.

        Raises:
            ConfigError: no reference, or a depth outside 0..N.
        """
        return self._cut(LAST, "last", range(self.layers), depth)

    def block_influence(self, depth: int | None = None) -> Rival:
        """The M blocks of largest influence of the plain network of N layers, in their order, healed.

        See :func:`node_oc.search.block_influence` (arXiv 2403.03853). Of equal ones the earlier is kept.

        Args:
            depth: as in :meth:`drop_last`.

        Raises:
            ConfigError: as in :meth:`drop_last`.
        """
        return self._cut(INFLUENCE, "influence", self._by_influence, depth)

    def every_depth(self, source: Network, depths: Iterable[int], name: str = "heal") -> list[Rival]:
        """Our own network cut at each of these depths and healed: a curve from one training.

        Work and seconds are those of the healing alone.

        Args:
            source: whose first awake steps are kept, see :func:`node_oc.cropping.first_steps`: ``Found.source``, or
                the reference.
            depths: in layers; those beyond its awake steps are left out.
            name: of the healings, before the depth. By default that of the search, whose own are then read; they
                start from ``Found.source``, so another source needs another name.
        """
        teacher = self.protocol.teacher(self.protocol.reference)
        wanted = [m for m in sorted(set(depths)) if 0 <= m <= len(awake_steps(source))]
        return [self._healed(OURS, source, first_steps(source, m), f"{name}-{m}", teacher) for m in wanted]

    def ours(
        self, network: Network, source: Network, work: Sequence[dict[str, Any]], kept: Sequence[int] | None = None
    ) -> Rival:  # fmt: skip
        """A finished search as a row beside its rivals.

        Args:
            network: the answer, ``Found.network``.
            source: ``Found.source``.
            work: :func:`node_oc.training.checkpoint.training_work` of the search's folder; the plain neighbour in
                it does not count. Empty where there was no folder: work and seconds are then nan.
            kept: the steps of the source that the answer keeps; its first awake ones if None.
        """
        whole = training_updates(self.protocol.training, len(self.protocol.split.train))
        mine = [entry for entry in work if not entry["training"].startswith("plain")]
        self._ledger.spent |= {e["training"]: (e["layer_steps"] / whole, e["seconds"]) for e in mine}
        uncut = network.depth == self.protocol.reference.depth
        steps = range(network.depth) if uncut else first_steps(source, network.depth) if kept is None else kept
        row = self._ledger.row(OURS, network, steps, [entry["training"] for entry in mine])
        return row if mine else replace(row, work=math.nan, seconds=math.nan)

    def compare(self, ours: Rival, depths: Iterable[int], cut: int | None = None) -> Compared:
        """Go every way.

        Args:
            ours: see :meth:`ours`.
            depths: of the plain networks, in layers.
            cut: layers that both ways to drop blocks keep; if None the fewest inside the budget.

        Raises:
            ConfigError: no depths, or one outside 0..N.
        """
        rows = [ours, self.sweep(depths), self.upwards(), self.drop_last(cut), self.block_influence(cut),
                self.fresh_healed(ours.depth, ours.steps)]  # fmt: skip
        plain = [self._plain[m] for m in sorted(self._plain)]
        reference = self._ledger.row("reference", self.protocol.reference, None, ())
        best = self._best(self._plain)
        ahead = not self._inside(self.protocol.losses(self.protocol.reference), self._losses[best])
        return Compared(
            rows, plain, [self._cuts[key] for key in sorted(self._cuts)], reference, self.protocol.split.task,
            self.protocol.search.budget, len(self.protocol.selecting), self._plain[best] if ahead else None,
            self.protocol.search.certify,
        )  # fmt: skip

    def _untrained(self, depth: int) -> Network:
        return self.deep() if self.deep is not None and depth == self.layers else self.fresh(depth)

    @cached_property
    def _by_influence(self) -> list[int]:
        influence = block_influence(self.plain(self.layers).network, self.protocol.split.train)
        return sorted(range(self.layers), key=lambda k: -influence[k])

    @cached_property
    def _teacher(self) -> Tensor | None:
        return self.protocol.teacher(self.plain(self.layers).network)

    def _cut(self, way: str, name: str, order: Sequence[int], depth: int | None) -> Rival:
        """Keep the first M blocks of this order, in the order of the network; all M that were tried are counted."""
        budget, deep = self.protocol.budget, self.plain(self.layers)  # no budget is an error, and first of all
        tried = []

        def inside(m: int) -> bool:
            self._check(m)
            if m < self.layers:
                tried.append(f"{name}-{m}")
                if (way, m) not in self._cuts:
                    steps = sorted(order[:m])
                    self._cuts[way, m] = self._healed(way, deep.network, steps, tried[-1], self._teacher)
                return self._cuts[way, m].inside
            return deep.excess <= budget.limit

        if depth is None:
            depth = smallest(inside, -1, self.layers)
        inside(depth)
        answer = self._cuts[way, depth] if depth < self.layers else deep
        steps = range(self.layers) if answer is deep else answer.steps
        done = [name for name in tried if name in self._ledger.spent]
        return self._ledger.row(way, answer.network, steps, [*deep.trainings, *done])

    def _healed(self, way: str, source: Network, steps: Sequence[int], name: str, teacher: Tensor | None) -> Rival:
        network = crop(source, steps=steps)
        if self.protocol.search.heal:
            self._ledger.train(name, network, HEALING, teacher)
        return self._ledger.row(way, network, steps, [name] if self.protocol.search.heal else [])
