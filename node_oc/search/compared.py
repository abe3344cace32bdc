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
        budget: accuracy given up as a fraction, or relative loss.
        samples: in the selecting half.
        behind: None, or the plain network that is better than the reference by more than the budget: the best one.
            The verdict then judges by that one.
        certified: whether our own answer is held to its certificate.
    """

    rows: list[Rival]
    plain: list[Rival]
    cuts: list[Rival]
    reference: Rival
    task: Task
    budget: float
    samples: int
    behind: Rival | None = None
    certified: bool = False

    def suffices(self, row: Rival) -> bool:
        """Within the budget of the reference, or of the best plain network where the reference is behind it."""
        return row.inside if self.behind is None else not self._worse(row, self.behind)

    @property
    def verdict(self) -> str:
        """Who needs the fewest layers, who costs least, by how much, and what would have been the better idea."""
        rows = {row.name: row for row in self.rows}
        told, judge = [], "the reference"
        if self.behind is not None:
            judge = f"the plain network of {layers(self.behind.depth)}"
            told.append(f"The reference is worse than a plain network of {layers(self.behind.depth)}: "
                        f"{self._gap(self.reference, self.behind)}. To stay within its budget says little; what "
                        "follows is judged by that plain network.")  # fmt: skip
        # A fresh network of our depth is no way of its own: somebody has to find the depth.
        running = [row for row in self.rows if self.suffices(row) and row.name != FRESH]
        outside = [self._over(row) for row in self.rows if not self.suffices(row) and row.name != FRESH]
        if running:
            told += [self._fewest(running), self._cheapest([row for row in running if not math.isnan(row.work)])]
        if outside:
            told.append(f"Not within the budget of {judge}: {'; '.join(outside)}.")
        ours, fresh = rows[OURS], rows.get(FRESH)
        sweeps = [rows[name] for name in (UPWARDS, EVERY) if name in rows and self.suffices(rows[name])]
        if any(row.depth <= ours.depth and row.work < ours.work for row in sweeps):
            told.append("A sweep of small networks would have been the better idea here, unless more than one depth is "
                        "wanted or the deep network exists already.")  # fmt: skip
        if twin := next((row for row in self.plain if row.depth == ours.depth and self._worse(ours, row)), None):
            told.append(f"A plain network of our depth, {layers(twin.depth)}, is better: {self._gap(ours, twin)}.")
        if fresh is not None and self.suffices(fresh) and 0 < ours.depth < self.reference.depth:
            told.append(f"A fresh network of {layers(fresh.depth)}, trained for the healing epochs only, is within the "
                        "budget too: the deep training gave the depth, not the weights.")  # fmt: skip
        if self.certified:
            told.append("Ours is held to its certificate, the others to the budget alone.")
        if self.task == "classification" and 1 / self.samples > self.budget > 0:
            told.append(f"{self.samples} points cannot resolve a budget of {self.budget:g}: average over splits.")
        return " ".join(told)

    def _worse(self, row: Rival, other: Rival) -> bool:
        """Whether a row is worse than another by more than the budget."""
        most = other.loss + self.budget if self.task == "classification" else other.loss * (1 + self.budget)
        return row.loss > most + 1e-12

    def _gap(self, row: Rival, other: Rival) -> str:
        where = f"on the {self.samples} points that select"
        if self.task == "classification":
            return f"{100 * (row.loss - other.loss):.2f} points {where}"
        return f"{100 * (row.loss / other.loss - 1):.1f} % of the loss {where}" if other.loss else "its loss is not 0"

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
        whole = least.name in (LAST, INFLUENCE) and least.depth == self.reference.depth
        text = f"Least work: {least.name}, {least.work:.1f} trainings of one layer for {layers(least.depth)}"
        text += ", none dropped" if whole else ""
        ours = next((row for row in self.rows if row.name == OURS), None)
        if ours is None or math.isnan(ours.work) or not least.work:
            return f"{text}."
        if ours is least:
            second = min((row for row in running if row is not least), key=lambda row: row.work, default=None)
            return f"{text}; next {second.name}, {second.work / least.work:.1f} times that." if second else f"{text}."
        clock = f", {ours.seconds / least.seconds:.1f} times by the clock" if least.seconds else ""
        return f"{text}; ours took {ours.work / least.work:.1f} times that{clock}."


def layers(depth: int) -> str:
    """ "1 layer", "2 layers"."""
    return f"{depth} layer{'s' * (depth != 1)}"
