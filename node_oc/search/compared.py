"""What each way to a shallow network came to, and who needs least."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from node_oc.data.split import Task
from node_oc.discretization.network import Network

OURS, EVERY, UPWARDS, LAST = "ours", "sweep, every given depth", "sweep, upwards", "drop last"
INFLUENCE, FRESH = "block influence", "fresh, healing epochs only"


@dataclass(frozen=True)
class Rival:
    """One way to a shallow network, and the network that it ends with.

    Attributes:
        name: of the way.
        depth: layers of its network.
        steps: which steps of a deeper network it kept; None where it was trained from the start.
        network: an ordinary module.
        loss: mean loss on the selecting half: the share of wrong classes, or squared error.
        excess: mean paired loss against the reference there; nan without a reference.
        inside: whether that is within the budget.
        work: of all trainings that the way needs, in trainings of one layer for all epochs.
        seconds: of the same trainings.
        trainings: their names.
    """

    name: str
    depth: int
    steps: tuple[int, ...] | None
    network: Network
    loss: float
    excess: float
    inside: bool
    work: float
    seconds: float
    trainings: tuple[str, ...]


@dataclass(frozen=True)
class Compared:
    """All ways side by side, measured on the selecting half.

    Attributes:
        rows: one a way: ours, both sweeps, both ways to drop blocks, and a fresh network of our depth trained for
            the healing epochs only.
        plain: every plain network that was trained, by depth.
        cuts: every cut of the plain deep network that was tried, by way and depth; work is that of its healing.
        reference: the reference as a row of its own.
        task: "classification" or "regression".
        behind: None, or the plain network that is better than the reference by more than the budget: the best one.
    """

    rows: list[Rival]
    plain: list[Rival]
    cuts: list[Rival]
    reference: Rival
    task: Task
    behind: Rival | None = None

    @property
    def verdict(self) -> str:
        """Who needs the fewest layers, who costs least, by how much, and what would have been the better idea."""
        rows = {row.name: row for row in self.rows}
        told = []
        if self.behind is not None:
            told.append(f"The reference is worse than a plain network of {layers(self.behind.depth)}: {self._gap()} on "
                        "validation data. To stay within its budget says little; believe the sweeps.")  # fmt: skip
        # A fresh network of our depth is no way of its own: somebody has to find the depth.
        running = [row for row in self.rows if row.inside and row.name != FRESH]
        outside = [self._over(row) for row in self.rows if not row.inside and row.name != FRESH]
        if running:
            told += [self._fewest(running), self._cheapest([row for row in running if not math.isnan(row.work)])]
        if outside:
            told.append(f"Not within the budget of the reference: {'; '.join(outside)}.")
        ours, up, fresh = rows[OURS], rows.get(UPWARDS), rows.get(FRESH)
        if up is not None and up.inside and up.depth <= ours.depth and up.work < ours.work:
            told.append("A sweep of small networks would have been the better idea here, unless more than one depth is "
                        "wanted or the deep network exists already.")  # fmt: skip
        if fresh is not None and fresh.inside and 0 < ours.depth < self.reference.depth:
            told.append(f"A fresh network of {layers(fresh.depth)}, trained for the healing epochs only, is within the "
                        "budget too: the deep training gave the depth, not the weights.")  # fmt: skip
        return " ".join(told)

    def _gap(self) -> str:
        reference, best = self.reference.loss, self.behind.loss if self.behind else 0.0
        if self.task == "classification":
            return f"{100 * (reference - best):.2f} points"
        return f"{100 * (reference / best - 1):.1f} % of the loss" if best else "its loss is not 0"

    def _over(self, row: Rival) -> str:
        lost = f" at {100 * row.excess:+.2f} points" if self.task == "classification" else ""
        return f"{row.name} ({layers(row.depth)}{lost}, work {row.work:.1f})"

    def _fewest(self, running: Sequence[Rival]) -> str:
        by = {m: [row.name for row in running if row.depth == m] for m in sorted({row.depth for row in running})}
        told = [f"{m} ({'; '.join(names)})" for m, names in by.items()]
        return f"Fewest layers within the budget: {', then '.join(told)}."

    def _cheapest(self, running: Sequence[Rival]) -> str:
        least = min(running, key=lambda row: row.work, default=None)
        if least is None:
            return "What it cost is not known."
        text = f"Least work: {least.name}, {least.work:.1f} trainings of one layer for {layers(least.depth)}"
        ours = next((row for row in self.rows if row.name == OURS), None)
        if ours is None or math.isnan(ours.work) or not least.work:
            return f"{text}."
        if ours is least:
            second = min((row for row in running if row is not least), key=lambda row: row.work, default=None)
            return f"{text}; next {second.name}, {second.work / least.work:.1f} times that." if second else f"{text}."
        return f"{text}; ours took {ours.work / least.work:.1f} times that."


def layers(depth: int) -> str:
    """ "1 layer", "2 layers"."""
    return f"{depth} layer{'s' * (depth != 1)}"
