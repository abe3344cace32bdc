"""Which samples an update sees: a function of the seed, the name of the training and the update alone."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from node_oc.config import TrainingSection
from node_oc.seeds import derived_generator


def batches_per_epoch(samples: int, batch: int) -> int:
    """Full batches in one pass; the remainder of each (reshuffled) pass is left out."""
    return 1 if batch == 0 else max(1, samples // batch)


def training_updates(options: TrainingSection, samples: int) -> int:
    """Gradient steps of one whole training; a set of a hundred rows is passed over more often than asked for."""
    return max(options.min_updates, options.epochs * batches_per_epoch(samples, options.batch))


@lru_cache(maxsize=1)
def _order(samples: int, seed: int, name: str, epoch: int) -> Tensor:
    return torch.randperm(samples, generator=derived_generator(seed, name, "epoch", epoch))


def batch_indices(update: int, samples: int, batch: int, seed: int, name: str) -> Tensor | None:
    """Sample indices of one update, (batch,); None stands for the whole set.

    Because nothing is carried from update to update, a resumed training sees the same batches.
    """
    if batch == 0 or batch >= samples:
        return None
    epoch, place = divmod(update, batches_per_epoch(samples, batch))
    return _order(samples, seed, name, epoch)[place * batch : (place + 1) * batch]
