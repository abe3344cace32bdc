"""The depth that a budget allows: on a validation part, or cross-validated where the rows are too few for one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

from node_oc.config import SearchSection, TrainingSection
from node_oc.cropping import crop, first_steps
from node_oc.data.split import Split
from node_oc.discretization.network import Network
from node_oc.errors import ConfigError
from node_oc.estimator.inputs import Rows
from node_oc.estimator.parts import Scales
from node_oc.problem.ocp import Problem
from node_oc.search.depth import DepthSearch
from node_oc.search.protocol import Protocol, smallest
from node_oc.training.loop import Plan, Progress, fit

LEAST_VALIDATION = 200  # rows: with fewer a budget of one point is a matter of a row or two


@dataclass(frozen=True)
class Tried:
    """What one depth lost.

    Attributes:
        depth: steps.
        excess: mean paired loss against the deep network on rows that trained neither; in regression the budget is
            taken off already: loss - (1 + budget) times the loss of the deep network.
        allowed: the limit of that: the budget (in regression 0); cross-validated its own standard error where that is
            larger.
    """

    depth: int
    excess: float
    allowed: float


@dataclass(frozen=True)
class Searching:
    """What both ways of searching share.

    Attributes:
        problem: weighted costs, no price.
        options: how every network is trained.
        budget: accuracy given up as a fraction, or relative loss in regression.
        outputs: size of a readout.
        fresh: makes the untrained deep network, the same each time.
        seed: of the split or the folds.
        progress: see :func:`node_oc.fit`.
        fabric: see :func:`node_oc.fit`.
    """

    problem: Problem
    options: TrainingSection
    budget: float
    outputs: int
    fresh: Callable[[], Network]
    seed: int
    progress: Progress
    fabric: Fabric

    @property
    def section(self) -> SearchSection:
        """The search as the core knows it."""
        return SearchSection(way="cut", budget=self.budget, plain=False)

    def split(self, train: Rows, held: Rows, scales: Scales) -> Split:
        """Weighted training samples and plain ones to judge by."""
        val = scales.plain(held)
        names = tuple(f"x{i}" for i in range(train.x.shape[1]))
        classes = tuple(str(i) for i in range(self.outputs)) if scales.task == "classification" else ()
        return Split(scales.weighted(train), val, val, scales.task, classes, names, scales.x, scales.y)


def two_parts(rows: Rows, stratify: bool, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Rows to train on and rows held out. Raises ConfigError where some class cannot be on both sides."""
    labels = rows.y if stratify else None
    classes = len(np.unique(rows.y)) if stratify else 1
    least = min(np.unique(rows.y, return_counts=True)[1]) if stratify else len(rows)
    if least < 2 or min(fraction, 1 - fraction) * len(rows) < classes:
        raise ConfigError("validation_fraction", got=f"{fraction} of {len(rows)} rows, {least} of the rarest class",
                          expected=f"{classes} rows or more on both sides, 2 of each class at least",
                          do="Change it, merge rare classes, or leave early_stopping and budget out.")  # fmt: skip
    train, held = train_test_split(np.arange(len(rows)), test_size=fraction, random_state=seed, stratify=labels)
    return rows.take(np.sort(train)), rows.take(np.sort(held))


def by_validation(searching: Searching, train: Rows, held: Rows, scales: Scales) -> tuple[Network, list[Tried]]:
    """:class:`node_oc.DepthSearch` on held-out rows; they count alike whatever their weight."""
    search = DepthSearch(searching.problem, searching.split(train, held, scales), searching.options, searching.section,
                         progress=searching.progress, fabric=searching.fabric)  # fmt: skip
    found = search.run(searching.fresh())
    return found.network, [Tried(c.depth, c.excess, found.budget.limit) for c in found.candidates]


def by_folds(searching: Searching, rows: Rows, scales: Scales, folds: int) -> tuple[Network, list[Tried]]:
    """The same question to rows too few for a split: every fold trains and cuts a network of its own.

    A depth is enough where its paired loss, averaged over all rows, each held out once, is at most the budget or its
    own standard error: the rule of growth, because so few rows seldom tell less. The network of the smallest depth that
    is enough is then cut from one trained on all rows, and healed.

    Raises:
        ConfigError: more folds than rows, or than rows of the rarest class.
    """
    stratify = scales.task == "classification"
    most = min(len(rows), *np.bincount(rows.y.astype(int)).tolist()) if stratify else len(rows)
    if folds > most:
        raise ConfigError("folds", got=folds, expected=f"at most {most}, the different rows of the rarest class",
                          do="Ask for fewer folds, gather more rows, or leave budget out.")  # fmt: skip
    splitter = (StratifiedKFold if stratify else KFold)(folds, shuffle=True, random_state=searching.seed)
    protocols = []
    for train, held in splitter.split(rows.x, rows.y if stratify else None):
        part = rows.take(train)
        split = searching.split(part, rows.take(held), Scales.of(part, scales.task))
        protocols.append(_trained(searching, split))
    weight = np.concatenate([rows.weight[held] for _, held in splitter.split(rows.x, rows.y if stratify else None)])
    tried: dict[int, Tried] = {}

    def inside(depth: int) -> bool:
        d = np.concatenate([_paired(protocol, depth) for protocol in protocols])
        mean, error = _mean(d, weight)
        tried[depth] = Tried(depth, mean, max(protocols[0].budget.limit, error))
        return mean <= tried[depth].allowed + 1e-12  # with one row lost mean and error are equal but for rounding

    last = _trained(searching, searching.split(rows, rows, scales))
    depth = smallest(inside, -1, last.reference.depth)
    network = last.attempt(last.reference, first_steps(last.reference, depth), f"heal-{depth}").network
    return network, [tried[m] for m in sorted(tried)]


def _trained(searching: Searching, split: Split) -> Protocol:
    """A deep network trained on one part, and what judges crops against it."""
    network = searching.fresh()
    fit(network, searching.problem, split.train, searching.options, plan=Plan("reference"),
        progress=searching.progress, fabric=searching.fabric)  # fmt: skip
    protocol = Protocol(searching.problem, split, searching.options, searching.section, progress=searching.progress,
                        fabric=searching.fabric)  # fmt: skip
    protocol.judge_by(crop(network))
    return protocol


def _paired(protocol: Protocol, depth: int) -> NDArray[np.float64]:
    steps = first_steps(protocol.reference, depth)
    return protocol.paired(protocol.attempt(protocol.reference, steps, f"heal-{depth}").network)


def _mean(d: NDArray[np.float64], weight: NDArray[np.float64]) -> tuple[float, float]:
    """Weighted mean and its standard error, at Kish's effective number of rows (sum w)^2 / sum w^2."""
    share = weight / weight.sum()
    mean = float(share @ d)
    rows = 1 / float(share @ share)
    return mean, math.sqrt(float(share @ (d - mean) ** 2) / max(rows - 1, 1))
