"""The price of a layer and the depth that a budget allows: train, raise, crop, heal, select, certify."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lightning_fabric import Fabric

from node_oc.config import SearchSection, TrainingSection
from node_oc.cropping import awake_steps, first_steps
from node_oc.data.split import Split
from node_oc.discretization.network import Network
from node_oc.errors import ConfigError
from node_oc.problem.ocp import Problem
from node_oc.search.afford import CostBudget
from node_oc.search.conclude import conclude
from node_oc.search.found import Candidate, Found, Priced
from node_oc.search.protocol import Protocol, smallest
from node_oc.training.active import sparsify
from node_oc.training.batches import training_updates
from node_oc.training.loop import Plan, Progress, fit

PRICES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # lambda, raised until the budget is left
LOWER = (0.01, 0.003, 0.001)  # tried in turn where the first of those is too dear: a loss on another scale
PRICED = 0.2  # share of the updates of one training that a warm-started price takes


@dataclass
class DepthSearch:
    """Finds the depth that a budget allows (theory: section of that name, our derivation).

    Attributes:
        problem: what the reference minimises; its ``group_price`` is the fixed price where ``auto`` is off.
        split: training, validation and test samples; the test part is never looked at.
        training: how every network is trained.
        search: budget, confidence, what to do.
        auto: whether the price is raised until the budget is left.
        fresh: makes an untrained network of a given depth, for the plain neighbour; None leaves that out.
        folder: where trainings keep their checkpoints; a search that is run again continues there.
        progress: see :func:`node_oc.fit`.
        fabric: see :func:`node_oc.fit`.
        protocol: heals and judges the candidates; :class:`node_oc.Rivals` take it over.

    Raises:
        ConfigError: a problem with a price of its own, and ``auto``.
    """

    problem: Problem
    split: Split
    training: TrainingSection = field(default_factory=TrainingSection)
    search: SearchSection = field(default_factory=SearchSection)
    auto: bool = True
    fresh: Callable[[int], Network] | None = None
    folder: Path | None = None
    progress: Progress | None = None
    fabric: Fabric | None = None
    protocol: Protocol = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.auto and self.problem.group_price:
            raise ConfigError("problem.group_price", got=self.problem.group_price, expected="0 with auto=True",
                              do="Pass auto=False to keep this price.")  # fmt: skip
        self.protocol = Protocol(self.problem, self.split, self.training, self.search, self.folder, self.progress,
                                 self.fabric)  # fmt: skip
        self.fabric = self.protocol.fabric

    def run(self, network: Network) -> Found:
        """Train the network as the reference, in place, then search.

        Raises:
            ConfigError: steps that share their controls, or a budget of cost that no depth keeps.
        """
        self.protocol.check_own_controls(network)
        cost = CostBudget.of(self.search, self.split.val.x[:64])
        if cost is not None:
            cost.check(network)  # before hours of training
        self.train_reference(network)
        self.protocol.judge_by(network)
        priced = self._raise_price()
        inside = [entry for entry in priced if entry.inside]
        # Where a cost is to be kept, the deepest of those that keep it by themselves.
        paid = [entry for entry in inside if cost is not None and cost.pays(entry.network, network)]
        # The shortest network inside the budget, the dearest of those: a warm start may wake steps again.
        source = min(reversed(inside), key=lambda entry: len(entry.sparse.awake)).network if inside else network
        source = max(paid, key=lambda entry: len(entry.sparse.awake)).network if paid else source
        tried: dict[int, Candidate] = {}
        afforded = None if cost is None else cost.deepest(source, network)
        selected = self._bisect(source, tried) if afforded is None else self._take(source, afforded.steps, tried)
        return conclude(self.protocol, network, source, tried, selected, self.fresh, priced=priced, afforded=afforded)

    def train_reference(self, network: Network) -> None:
        """Train with stage costs and price 0."""
        fit(network, self.problem.priced(0.0), self.split.train, self.training, plan=Plan("reference"),
            folder=self.folder and self.folder / "reference", progress=self.progress, fabric=self.fabric)  # fmt: skip

    def _raise_price(self) -> list[Priced]:
        """Raise the price from a warm start until the unhealed network leaves the budget; by rising price."""
        if not self.auto:
            price = self.problem.group_price
            return [self._at_price(price, self.protocol.reference)] if price else []
        tried: list[Priced] = []
        current = self.protocol.reference
        for price in PRICES:
            tried.append(self._at_price(price, current))
            current = tried[-1].network
            if not tried[-1].inside or not tried[-1].sparse.awake:
                break
        if not tried[0].inside:
            for price in LOWER:
                tried.insert(0, self._at_price(price, self.protocol.reference))
                if tried[0].inside:
                    break
        return tried

    def _at_price(self, price: float, start: Network) -> Priced:
        """Train a copy of ``start`` at one price and measure it on the selecting half."""
        network = copy.deepcopy(start)
        updates = training_updates(self.training, len(self.split.train))
        sparse = sparsify(
            network, self.problem.priced(price), self.split.train, self.training,
            updates=max(2, round(PRICED * updates)), name=f"price-{price:g}",
            folder=self.folder, progress=self.progress, fabric=self.fabric,
        )  # fmt: skip
        loss = float(self.protocol.losses(network).mean())
        excess = float(self.protocol.paired(network).mean())
        return Priced(sparse, network, loss, excess, excess <= self.protocol.budget.limit)

    def _take(self, source: Network, steps: Sequence[int], tried: dict[int, Candidate]) -> int:
        """The one candidate that a budget of cost leaves, healed."""
        teacher = self.protocol.teacher(self.protocol.reference)
        tried[len(steps)] = self.protocol.attempt(source, steps, f"heal-{len(steps)}", teacher)
        return len(steps)

    def _bisect(self, source: Network, tried: dict[int, Candidate]) -> int | None:
        """The smallest M whose healed crop is within the budget, None if none is; fills ``tried``.

        Depth 0 is a candidate too: lift and head alone, where that is enough.
        """
        most = len(awake_steps(source))
        teacher = self.protocol.teacher(self.protocol.reference)

        def attempt(depth: int) -> bool:
            if depth not in tried:
                tried[depth] = self.protocol.attempt(source, first_steps(source, depth), f"heal-{depth}", teacher)
            return tried[depth].inside

        if self.protocol.certifying is not None:
            attempt(most)  # the fixed sequence of certificates starts there
        found = smallest(attempt, -1, most)
        return found if attempt(found) else None
