"""Entry into the turnpike: from which layer on do the states stay near the minimisers?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from node_oc.errors import DataError


@dataclass(frozen=True)
class Turnpike:
    """A verdict on one curve over depth.

    Attributes:
        entry: the layer k from which on the distance stays within ``level``; None where it never does.
        level: the distance that counts as near: ``share`` of the one at k = 0.
        sentence: the verdict in words.
    """

    entry: int | None
    level: float
    sentence: str

    @property
    def found(self) -> bool:
        """Whether the trajectories reach the minimisers before the last layer and stay."""
        return self.entry is not None


def turnpike(distance: Sequence[float], share: float = 0.2) -> Turnpike:
    """Entry depth by distance, from the mean distance at layers k = 0..N.

    The trajectories are said to be near the minimisers where the mean distance is at most ``share`` of the
    one at k = 0. An entry at the last layer alone is the end of training, not a turnpike (our definition).

    Raises:
        DataError: no layers, or a value that is not finite.
    """
    if not distance or not all(math.isfinite(d) for d in distance):
        raise DataError("distance over depth", got=list(distance), expected="finite values for k = 0..N",
                        do="A NaN here means that training diverged.")  # fmt: skip
    level, last = share * distance[0], len(distance) - 1
    entry = stays(distance, level)
    if entry is None or entry >= last:
        where = f"it ends at {distance[-1]:.3g}"
        return Turnpike(None, level, f"No turnpike: the distance never stays below {level:.3g} ({where}).")
    near = f"from layer {entry} of {last} on the distance to the minimisers stays below {level:.3g}"
    return Turnpike(entry, level, f"Turnpike: {near}.")


def stays(values: Sequence[float], level: float) -> int | None:
    """The first index from which on every value is at most ``level``, or None."""
    entry = None
    for k in range(len(values) - 1, -1, -1):
        if not values[k] <= level:
            break
        entry = k
    return entry


def entry_by_accuracy(accuracy: Sequence[float], budget: float = 0.005) -> int:
    """The first layer k from which on the accuracy stays within ``budget`` of the last layer's."""
    entry = stays([accuracy[-1] - a for a in accuracy], budget + 1e-12)  # 0.9 - 0.895 > 0.005
    return len(accuracy) - 1 if entry is None else entry
