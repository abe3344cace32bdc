"""What a policy sees of samples that pass through a network: features of readouts, and what they changed from."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from node_oc.policies.policy import Task
from node_oc.problem.stopping import readout_features, sureness

FEW = 64  # classes up to which plain Python computes the features of one readout faster than a dozen tensor operations


class Watch:
    """Features at the exits, as :func:`node_oc.policies.exit_features` has them, from look to look.

    Each readout is looked at once: what the next changes are changes of is carried.

    Args:
        task: of the policy.
        seen: of the live samples at the exit before, (1, n, ..): their sureness, or the readout of a regression.
    """

    def __init__(self, task: Task, seen: Tensor | None = None) -> None:
        self.task: Task = task
        self.seen = seen

    def features(self, readouts: Tensor) -> Tensor:
        """Of the next exits, (m, n, F), from their readouts (m, n, K)."""
        if self.task == "regression":
            first = readouts[:1] if self.seen is None else self.seen
            found = readout_features(readouts, torch.cat([first, readouts[:-1]]), self.task)
            self.seen = readouts[-1:]
            return found
        now = sureness(readouts.to(torch.promote_types(readouts.dtype, torch.float32)))
        first = now[:1] if self.seen is None else self.seen
        self.seen = now[-1:]
        return torch.cat([now, now - (first if len(now) == 1 else torch.cat([first, now[:-1]]))], -1)

    def keep(self, rows: Tensor) -> None:
        """Go on with these samples, by number among the live ones."""
        if self.seen is not None:
            self.seen = self.seen[:, rows]


class WatchOne:
    """The same of one sample: a dozen small tensor operations are as dear as a layer, so plain numbers where they do.

    Args:
        task: of the policy.
        classes: K.
    """

    def __init__(self, task: Task, classes: int) -> None:
        self._watch = Watch(task) if task == "regression" or not 2 <= classes <= FEW else None
        self._seen: tuple[float, float, float] | None = None

    def features(self, readout: Tensor) -> Tensor:
        """Of the next exit, (1, F), from its readout (1, K)."""
        if self._watch is not None:
            return self._watch.features(readout[None])[0]
        *_, second, top = logits = sorted(readout[0].tolist())
        less = [value - top for value in logits]
        weights = [math.exp(value) for value in less]
        total = sum(weights)
        entropy = math.log(total) - sum(map(float.__mul__, weights, less)) / total
        now = (entropy, top - second, 1 / total)
        then = now if self._seen is None else self._seen
        self._seen = now
        changes = (now[0] - then[0], now[1] - then[1], now[2] - then[2])
        dtype = torch.promote_types(readout.dtype, torch.float32)
        return torch.tensor(((*now, *changes),), dtype=dtype, device=readout.device)
