"""What is read at the exits of a network: features, and what stopping there would lose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from node_oc.data.split import Part, onto
from node_oc.diagnosis.loss import VALUES
from node_oc.discretization.network import Network, evaluating
from node_oc.errors import ConfigError, DataError, ShapeError
from node_oc.policies.policy import Task, all_exits, exit_features
from node_oc.trajectory import rollout

CHUNK = 1024
LEAST = 50


@dataclass(frozen=True)
class Readings:
    """Features and losses of n samples at E exits.

    Attributes:
        exits: depths k, N last.
        features: (E, n, F); changes are those since the exit before.
        losses: L(yhat_k, y), float64 (E, n): 1 where the class is wrong and 0 where right; squared error in regression.
        soft: the same in expectation, as the full network sees it: 1 - p_N(the class decided at k); in regression the
            squared distance to the output, which differs from the expected loss by what is the same at every k. It has
            far less noise than the labels, so that regressions are fitted to it (our derivation: it is exact where the
            full network's output is the conditional law, or mean, of the target).
        task: "classification" or "regression".
    """

    exits: tuple[int, ...]
    features: Tensor
    losses: Tensor
    soft: Tensor
    task: Task

    @classmethod
    def of(cls, readouts: Tensor, target: Tensor, exits: Sequence[int] | None = None,
           task: Task = "classification") -> Readings:  # fmt: skip
        """From readouts of all depths.

        Args:
            readouts: yhat_0..yhat_N, (N+1, n, K).
            target: class indices (n,), or targets (n, K) in regression.
            exits: depths k; all if None.
            task: "classification" or "regression".

        Raises:
            ShapeError: readouts and targets that do not match.
            ConfigError: an exit at a depth that there is none of.
        """
        if readouts.dim() != 3 or len(target) != readouts.shape[1]:
            raise ShapeError("readouts and targets", got=f"{tuple(readouts.shape)} and {tuple(target.shape)}",
                             expected="(N + 1, n, K) and n targets", do="Give both of the same samples.")  # fmt: skip
        exits = all_exits(len(readouts) - 1, exits)
        at = readouts[list(exits)]
        if task == "regression":
            losses = (at - target).double().square().sum(-1)
            soft = (at - at[-1]).double().square().sum(-1)
        else:
            losses = (at.argmax(-1) != target).double()
            soft = 1 - at[-1].double().softmax(-1).expand(at.shape).gather(-1, at.argmax(-1, keepdim=True))[..., 0]
        return cls(exits, exit_features(at, task), losses, soft, task)

    def __len__(self) -> int:
        return self.losses.shape[1]

    @property
    def depth(self) -> int:
        """N."""
        return self.exits[-1]

    def take(self, rows: Tensor) -> Readings:
        """Those of some samples, by index or as a mask."""
        return replace(self, features=self.features[:, rows], losses=self.losses[:, rows], soft=self.soft[:, rows])

    def at(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Depth and loss of every sample, float64 (n,) each, where it stops at the exit of this index, (n,)."""
        depths = torch.tensor(self.exits, dtype=torch.float64)[index]
        return depths, self.losses.gather(0, index[None])[0]


def check_costs(readings: Readings, costs: Sequence[float | Sequence[float]]) -> Tensor:
    """Costs of the way from each exit to the next, float64 (C, E-1), from costs of a layer or of each way.

    Raises:
        ConfigError: negative or infinite costs, or a wrong number of them.
        DataError: fewer than 50 samples, on which nothing can be regressed.
    """
    if len(readings) < LEAST:
        raise DataError("samples to fit a policy on", got=len(readings), expected=f"{LEAST} at least",
                        do="Give more validation samples, or stop by a threshold.")  # fmt: skip
    ways = torch.tensor(readings.exits, dtype=torch.float64).diff()
    rows = [torch.as_tensor(c, dtype=torch.float64) for c in costs]
    rows = [c * ways if c.dim() == 0 else c for c in rows]
    if not rows or any(c.shape != ways.shape or not bool(((c >= 0) & c.isfinite()).all()) for c in rows):
        raise ConfigError("cost of a layer", got=list(costs)[:4],
                          expected=f"a finite number >= 0 in units of loss, or {len(ways)} of them",
                          do="A negative cost would pay for layers that nobody needs.")  # fmt: skip
    return torch.stack(rows)


@torch.no_grad()
def read_exits(network: Network, part: Part, exits: Sequence[int] | None = None, task: str = "classification",
               chunk: int = CHUNK) -> Readings:  # fmt: skip
    """Features and losses of many samples at the exits of a network, in batches, in evaluation mode.

    Args:
        network: a trained network, of any residual system.
        part: samples.
        exits: depths k at which a sample may stop; all of 0..N if None.
        task: "classification" or "regression".
        chunk: samples at a time.

    Raises:
        ConfigError: a task without a loss of each sample, or an exit at a depth that the network does not have.
        DataError: no samples.
    """
    if task not in ("classification", "regression"):
        raise ConfigError("task", got=task, expected="classification or regression",
                          do="A sequence of predictions has no single depth to stop at.")  # fmt: skip
    if not len(part):
        raise DataError("samples", got="none", expected="at least one", do="Give the validation samples.")
    anchor, found = next(network.parameters(), part.x), []
    size = max(1, min(chunk, VALUES // max(1, part.x[:1].numel())))
    with evaluating(network):
        for x, y in zip(part.x.split(size), part.y.split(size), strict=True):
            readouts = rollout(network, onto(x, anchor)).readouts.cpu()
            found.append(Readings.of(readouts, y.cpu(), exits, task))  # type: ignore[arg-type]
    first = found[0]
    features, losses, soft = (torch.cat([getattr(one, name) for one in found], 1)
                              for name in ("features", "losses", "soft"))  # fmt: skip
    return Readings(first.exits, features, losses, soft, first.task)
