"""The turnpike: from which layer on do the states stay near the minimisers, and do they leave again?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from node_oc.errors import DataError


@dataclass(frozen=True)
class Turnpike:
    """A verdict on one curve over depth.

    Attributes:
        entry: the layer k from which on the distance stays within ``level``, to the end or to ``exit``; None
            where there is no turnpike.
        exit: the last layer k within ``level`` where there is a leaving arc; None where the curve stays to the end.
        level: the distance that counts as near: ``share`` of the one at k = 0.
        sentence: the verdict in words.
    """

    entry: int | None
    exit: int | None
    level: float
    sentence: str

    @property
    def found(self) -> bool:
        """Whether the trajectories reach the minimisers before the last layer and stay, to the end or long enough."""
        return self.entry is not None


def turnpike(distance: Sequence[float], share: float = 0.2, t: Sequence[float] | None = None) -> Turnpike:
    """Entry and exit by distance, from the mean distance at layers k = 0..N.

    The trajectories are said to be near the minimisers where the mean distance is at most ``share`` of the
    one at k = 0. Near to the end, from before the last layer on: a turnpike without exit, called late where that is
    for no more than half of the time T. An entry at the last
    layer alone is the end of training, not a turnpike. Where the curve does not stay to the end, but is near for
    more than half of the time T in one stretch, that stretch is the turnpike, and what follows it the leaving
    arc: "for most of the depth" is the turnpike property (arXiv 2405.19013). These are our definitions. With
    stage costs the decay is one-sided and there need be no leaving arc (Geshkovski and Zuazua, Acta Numerica 2022).

    Args:
        distance: mean distance, k = 0..N.
        share: of the distance at k = 0, what counts as near.
        t: the time of each layer, k = 0..N; k itself if None.

    Raises:
        DataError: no layers, a value that is not finite, or not one time a layer.
    """
    check_curve("distance over depth", distance, t)
    t = range(len(distance)) if t is None else t
    level, last = share * distance[0], len(distance) - 1
    entry = stays(distance, level)
    whole = t[last] - t[0]
    if entry is not None and entry < last:
        near = f"from layer {entry} of {last} on the distance to the minimisers stays below {level:.3g}"
        spent = t[last] - t[entry]
        late = "" if spent > whole / 2 else f", late: for {spent:g} of {whole:g} units of time"
        return Turnpike(entry, None, level, f"Turnpike: {near}{late}.")
    first, end = _longest_stay(distance, level, t)
    if t[end] - t[first] > whole / 2:
        near = f"from layer {first} to layer {end} of {last} the distance to the minimisers stays below {level:.3g}"
        leaves = f"then it leaves and ends at {distance[-1]:.3g}"
        return Turnpike(first, end, level, f"Turnpike with a leaving arc: {near}; {leaves}.")
    when = "never stays" if entry is None else "comes at the last layer only"
    told = f"No turnpike: the distance {when} below {level:.3g} (it ends at {distance[-1]:.3g})."
    return Turnpike(None, None, level, told)


def check_curve(what: str, values: Sequence[float], t: Sequence[float] | None = None) -> None:
    """Raise DataError unless there are finite values, k = 0..N, and as many times where there are times."""
    bad = next((k for k, value in enumerate(values) if not math.isfinite(value)), None)
    if not len(values) or bad is not None:
        got = "no layers" if bad is None else f"{values[bad]} at layer {bad}"
        raise DataError(what, got=got, expected="finite values for k = 0..N",
                        do="A NaN here means that training diverged.")  # fmt: skip
    if t is not None and (len(t) != len(values) or not all(map(math.isfinite, t))):
        raise DataError(f"times of {what}", got=list(t), expected=f"{len(values)} finite times, k = 0..N",
                        do="Give DepthGrid.t of the network.")  # fmt: skip


def stays(values: Sequence[float], level: float) -> int | None:
    """The first index from which on every value is at most ``level``, or None."""
    entry = None
    for k in range(len(values) - 1, -1, -1):
        if not values[k] <= level:
            break
        entry = k
    return entry


def _longest_stay(values: Sequence[float], level: float, t: Sequence[float]) -> tuple[int, int]:
    """First and last index of the stretch within ``level`` that takes the most time; (last, last) if there is none."""
    best = (len(values) - 1, len(values) - 1)
    first = None
    for k, value in enumerate(values):
        first = None if value > level else k if first is None else first
        if first is not None and t[k] - t[first] > t[best[1]] - t[best[0]]:
            best = (first, k)
    return best


def entry_by_accuracy(accuracy: Sequence[float], budget: float = 0.005) -> int:
    """The first layer k from which on the accuracy stays within ``budget`` of the last layer's."""
    entry = stays([accuracy[-1] - a for a in accuracy], budget + 1e-12)  # 0.9 - 0.895 > 0.005
    return len(accuracy) - 1 if entry is None else entry
