"""The price of a layer and the depth that a budget allows: train, raise, crop, heal, select, certify."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from node_oc.config import SearchSection, TrainingSection
from node_oc.cropping import awake_steps, crop
from node_oc.data.split import Part, Split
from node_oc.diagnosis.certificate import certify
from node_oc.diagnosis.loss import Budget, sample_losses
from node_oc.discretization.network import Network
from node_oc.errors import ConfigError
from node_oc.problem.ocp import Problem
from node_oc.search.found import Candidate, Found, Priced
from node_oc.training.active import sparsify
from node_oc.training.batches import derived_generator, training_updates
from node_oc.training.heal import heal
from node_oc.training.loop import Plan, Progress, fit, make_fabric

PRICES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # lambda, raised until the budget is left
LOWER = (0.01, 0.003, 0.001)  # tried in turn where the first of those is too dear: a loss on another scale
PRICED = 0.2  # share of the updates of one training that a warm-started price takes
LEAST_HALF = 1000  # points; a smaller half cannot certify anything useful


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

    def __post_init__(self) -> None:
        if self.auto and self.problem.group_price:
            raise ConfigError("problem.group_price", got=self.problem.group_price, expected="0 with auto=True",
                              do="Pass auto=False to keep this price.")  # fmt: skip
        self.fabric = self.fabric or make_fabric(self.training)
        self.selecting, self.certifying = self._halves()

    def run(self, network: Network) -> Found:
        """Train the network as the reference, in place, then search."""
        self.train_reference(network)
        self.reference = network
        self.reference_loss = sample_losses(network, self.selecting, self.split.task)
        self.budget = Budget.against(self.search.budget, self.split.task, self.reference_loss)
        priced = self._raise_price()
        inside = [entry for entry in priced if entry.inside]
        # The shortest network inside the budget, the dearest of those: a warm start may wake steps again.
        source = min(reversed(inside), key=lambda entry: len(entry.sparse.awake)).network if inside else network
        tried: dict[int, Candidate] = {}
        selected = self._bisect(source, tried)
        within = None if selected is None else tried[selected]
        candidates = self._certify([tried[m] for m in sorted(tried)], within)
        certified = min((c.depth for c in candidates if c.certificate and c.certificate.holds), default=None)
        chosen = within
        if self.search.certify:
            chosen = None if certified is None else tried[certified]
        depth = network.depth if chosen is None else chosen.depth
        plain = self._train_plain(depth)
        return Found(
            network, self.budget, priced, source, candidates, depth, network if chosen is None else chosen.network,
            network.depth if within is None else within.depth, certified, plain,
            len(self.selecting), len(self.certifying) if self.certifying else 0,
        )  # fmt: skip

    def train_reference(self, network: Network) -> None:
        """Train with stage costs and price 0."""
        fit(network, self.problem.priced(0.0), self.split.train, self.training, plan=Plan("reference"),
            folder=self.folder and self.folder / "reference", progress=self.progress, fabric=self.fabric)  # fmt: skip

    def _halves(self) -> tuple[Part, Part | None]:
        val, half = self.split.val, len(self.split.val) // 2
        if half < LEAST_HALF:
            return val, None
        order = torch.randperm(len(val), generator=derived_generator(0, "halves"))
        first, second = order[:half], order[half:]
        return Part(val.x[first], val.y[first]), Part(val.x[second], val.y[second])

    def _paired(self, network: Network) -> NDArray[np.float64]:
        loss = sample_losses(network, self.selecting, self.split.task)
        return self.budget.paired(loss, self.reference_loss)

    def _raise_price(self) -> list[Priced]:
        """Raise the price from a warm start until the unhealed network leaves the budget; by rising price."""
        if not self.auto:
            price = self.problem.group_price
            return [self._at_price(price, self.reference)] if price else []
        tried: list[Priced] = []
        current = self.reference
        for price in PRICES:
            tried.append(self._at_price(price, current))
            current = tried[-1].network
            if not tried[-1].inside or not tried[-1].sparse.awake:
                break
        if not tried[0].inside:
            for price in LOWER:
                tried.insert(0, self._at_price(price, self.reference))
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
        loss = sample_losses(network, self.selecting, self.split.task)
        excess = float(self.budget.paired(loss, self.reference_loss).mean())
        return Priced(sparse, network, float(loss.mean()), excess, excess <= self.budget.limit)

    def _bisect(self, source: Network, tried: dict[int, Candidate]) -> int | None:
        """The smallest M whose healed crop is within the budget, None if none is; fills ``tried``.

        Depth 0 is a candidate too: lift and head alone, where that is enough.
        """
        low, high = -1, len(awake_steps(source))
        if self.certifying is not None:
            self._try(source, high, tried)  # the fixed sequence of certificates starts there
        while high - low > 1:
            middle = max(1, (low + high) // 2) if high > 1 else 0
            if self._try(source, middle, tried).inside:
                high = middle
            else:
                low = middle
        return high if (tried.get(high) or self._try(source, high, tried)).inside else None

    def _try(self, source: Network, depth: int, tried: dict[int, Candidate]) -> Candidate:
        """Crop to the first awake steps, heal, and measure on the selecting half."""
        steps = tuple(awake_steps(source)[:depth])
        network = crop(source, steps=steps)
        excess = raw = float(self._paired(network).mean())
        if self.search.heal:
            network.system.release_()
            heal(network, self.problem, self.split.train, self.training, name=f"heal-{depth}",
                 folder=self.folder, progress=self.progress, fabric=self.fabric)  # fmt: skip
            excess = float(self._paired(network).mean())
        tried[depth] = Candidate(depth, steps, network, raw, excess, excess <= self.budget.limit)
        return tried[depth]

    def _certify(self, candidates: list[Candidate], selected: Candidate | None) -> list[Candidate]:
        """Fixed sequence from deep to shallow, down to the selected depth, stopping at the first failure."""
        if self.certifying is None or selected is None:
            return candidates
        reference = sample_losses(self.reference, self.certifying, self.split.task)
        out: list[Candidate] = []
        going = True
        for candidate in reversed(candidates):
            if going and candidate.depth >= selected.depth:
                loss = sample_losses(candidate.network, self.certifying, self.split.task)
                d = self.budget.paired(loss, reference)
                certificate = certify(d, self.budget.limit, self.search.confidence, *self.budget.range)
                candidate = replace(candidate, certificate=certificate)
                going = certificate.holds
            out.append(candidate)
        return out[::-1]

    def _train_plain(self, depth: int) -> Network | None:
        if not self.search.plain or self.fresh is None:
            return None
        network = self.fresh(depth)
        network.system.release_()
        heal(network, self.problem, self.split.train, self.training, name=f"plain-{depth}", share=1.0,
             folder=self.folder, progress=self.progress, fabric=self.fabric)  # fmt: skip
        return network
