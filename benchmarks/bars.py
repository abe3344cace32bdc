"""The bars that the project has set itself for one training step, and whether this run meets them.

A bar is on the median ratio of two times in the same round. Where a peer, or a floor, can be made faster than the form
that the bar was written for, both forms stand here, with the same number beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.peers import OURS, labelled
from benchmarks.task import CONV, DENSE
from benchmarks.turns import paired

Record = dict[str, Any]
SMALL, MIDDLE, LARGE = (task.name for task in DENSE)


@dataclass(frozen=True)
class Bar:
    """A limit on ours / theirs.

    Attributes:
        show: number of the claim.
        ours: key of a variant.
        theirs: keys; the fastest of them counts.
        limits: task -> the most that the ratio may be.
        harder: the peer is faster here than in the form that the bar was written for.
    """

    show: int
    ours: str
    theirs: Sequence[str]
    limits: dict[str, float]
    harder: bool = False


TORCHDIFFEQ = {SMALL: 0.35, MIDDLE: 0.45, LARGE: 0.60}
DIFFRAX = {SMALL: 1.0, MIDDLE: 0.55, LARGE: 0.55}
BARS = (
    Bar(1, OURS, ("torchdiffeq/best",), TORCHDIFFEQ),
    Bar(1, OURS, ("torchdiffeq/seen",), TORCHDIFFEQ, harder=True),
    Bar(1, OURS, ("jax/diffrax plain",), DIFFRAX),
    Bar(1, OURS, ("jax/diffrax best",), DIFFRAX, harder=True),
    Bar(1, OURS, ("floor/products",), {LARGE: 2.6}),
    Bar(1, OURS, ("floor/oneDNN",), {LARGE: 2.6}, harder=True),
    Bar(2, "node_oc/compiled", ("node_oc/general",), dict.fromkeys((SMALL, MIDDLE, LARGE), 0.8)),
    Bar(3, "node_oc/asleep", (OURS,), dict.fromkeys((SMALL, MIDDLE, LARGE), 0.40)),
    Bar(4, OURS, ("torchdiffeq/plain",), {CONV.name: 0.65}),
    Bar(4, OURS, ("torchdiffeq/best", "torchdiffeq/best NCHW"), {CONV.name: 0.85}),
    Bar(4, OURS, ("torchdiffeq/seen", "torchdiffeq/seen NCHW"), {CONV.name: 0.85}, harder=True),
)


def judged(tasks: Sequence[Record]) -> list[Record]:
    """Every bar on the variants of this run: ratio, limit, and whether it is met.

    A variant of ours that fails or does not compute J and its gradient meets nothing, and a compiled one with a graph
    break neither. Where no such variant of a peer ran, there is nothing to judge.
    """
    found = []
    for bar in BARS:
        for task in tasks:
            rows = {row["key"]: row for row in task["rows"]}
            theirs = [key for key in bar.theirs if "step" in rows.get(key, {})]
            if task["name"] not in bar.limits or bar.ours not in rows or not theirs:
                continue
            key = min(theirs, key=lambda key: rows[key]["step"]["median"])
            one = {"show": bar.show, "task": task["name"], "what": f"{labelled(bar.ours)} / {labelled(key)}",
                   "limit": bar.limits[task["name"]], "harder": bar.harder, "ratio": None, "met": False}  # fmt: skip
            if "step" in rows[bar.ours]:
                ratio = paired(rows[bar.ours]["ms"], rows[key]["ms"])
                sound = rows[bar.ours]["exact"] and not rows[bar.ours]["facts"].get("graph_breaks", 0)
                one |= {"ratio": ratio.record(), "met": bool(sound and ratio.median <= one["limit"])}
            found.append(one)
    return found
