"""A budget of FLOPs or of latency: the deepest cut of a network that it pays for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from node_oc.config import SearchSection
from node_oc.cropping import awake_steps, crop, first_steps
from node_oc.data.split import onto
from node_oc.discretization.network import Network
from node_oc.errors import ConfigError
from node_oc.measuring import count_flops, measure

CALLS = 30  # timed calls of each network
SECONDS = 20.0  # that they may take


@dataclass(frozen=True)
class Afforded:
    """What a budget of cost left of a network.

    Attributes:
        kind: "flops" or "latency".
        allowed: share of the full network's cost that may be left.
        share: what is left, counted or measured; of latency the median, in turns with the full network's.
        batch: samples in a call whose latency it is; 1 where FLOPs are counted.
        steps: of the network that was cut, the ones kept.
    """

    kind: Literal["flops", "latency"]
    allowed: float
    share: float
    batch: int
    steps: tuple[int, ...]


@dataclass(frozen=True)
class CostBudget:
    """A share of what the full network costs.

    The candidates are those of the depth search, the first awake steps of a source in stages: of them the deepest one
    that the budget pays for is taken, because depth is not worth saving beyond it (our rule).

    Attributes:
        kind: "flops", of one sample by torch's own counter; or "latency", the median time of a call on this machine.
        allowed: share of the full network's cost that may be left, in (0, 1).
        batch: samples in a call whose latency is measured.
        x: some samples (n, D).
    """

    kind: Literal["flops", "latency"]
    allowed: float
    batch: int
    x: Tensor

    @classmethod
    def of(cls, search: SearchSection, x: Tensor) -> CostBudget | None:
        """The budget that a section sets, None if it sets none."""
        if search.flops is not None:
            return cls("flops", search.flops, 1, x)
        return None if search.latency is None else cls("latency", search.latency, search.latency_batch, x)

    def share(self, network: Network, full: Network) -> float:
        """What a network costs, as a share of what the full one does; two latencies are measured in turns."""
        x = onto(self.x, next(full.parameters(), self.x))
        if self.kind == "flops":
            return count_flops(network, x) / max(1, count_flops(full, x))
        found = measure({"full": full, "cut": network}, x, (self.batch,), CALLS, SECONDS)
        return found["cut"].latency[self.batch].p50 / found["full"].latency[self.batch].p50

    def check(self, full: Network) -> None:
        """Raise ConfigError where even no step at all costs more: lift, skips and head stay."""
        least = self.share(crop(full, steps=()), full)
        if least > self.allowed:
            raise ConfigError(f"search.{self.kind}", got=self.allowed,
                              expected=f"at least {least:.3g}: lift, skips and head alone cost that share",
                              do="Allow more; no set of layers costs less.")  # fmt: skip

    def pays(self, source: Network, full: Network) -> bool:
        """Whether it pays for a network with all of its steps that are awake."""
        return self.share(crop(source), full) <= self.allowed

    def deepest(self, source: Network, full: Network) -> Afforded:
        """The deepest of the first awake steps of a source that the budget pays for.

        Args:
            source: what is cut.
            full: what a share is taken of.

        Raises:
            ConfigError: as :meth:`check`.
        """

        def share(depth: int) -> float:
            return self.share(crop(source, steps=first_steps(source, depth)), full)

        depth = _largest(lambda m: share(m) <= self.allowed, len(awake_steps(source)))
        if depth < 0:
            self.check(full)
        left = share(max(depth, 0))
        while left > self.allowed and depth > 0:  # measured anew: a latency may have been lucky
            depth -= 1
            left = share(depth)
        return Afforded(self.kind, self.allowed, left, self.batch, tuple(first_steps(source, max(depth, 0))))


def _largest(inside: Callable[[int], bool], most: int) -> int:
    """The largest M in 0..most that is inside, by bisection; -1 if none is."""
    low, high = -1, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if inside(middle) else (low, middle)
    return low
