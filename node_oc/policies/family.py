"""Families of policies with one parameter, from conservative to aggressive."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from node_oc.errors import ConfigError
from node_oc.policies.continuation import continuations
from node_oc.policies.fixed import FixedDepth
from node_oc.policies.lookahead import look_aheads
from node_oc.policies.policy import Policy, Task
from node_oc.policies.readings import Readings
from node_oc.policies.threshold import COLUMNS, Threshold

FAMILIES: dict[Task, tuple[str, ...]] = {
    "classification": ("fixed", "entropy", "confidence", "margin", "look-ahead", "continuation"),
    "regression": ("fixed", "change", "look-ahead", "continuation"),
}
COSTS = tuple(np.geomspace(3e-5, 1.0, 32).tolist())
LEVELS, GUARDS = 60, 24


def family(name: str, readings: Readings) -> tuple[Policy, ...]:
    """The policies of one family, the most conservative first, which is the full network.

    The parameter is the depth, the threshold, or the cost of a layer, and before that the guard; see
    :class:`FixedDepth`, :class:`Threshold`, :func:`look_ahead`, :func:`continuation`.

    Args:
        name: one of ``FAMILIES``.
        readings: what regressions are fitted on and thresholds are taken from.

    Raises:
        ConfigError: a family that there is none of for this task.
        DataError: too few samples for a regression.
    """
    exits, task = readings.exits, readings.task
    if name not in FAMILIES[task]:
        raise ConfigError("policy", got=repr(name), expected=" or ".join(FAMILIES[task]) + f", in {task}",
                          do="Correct the name." if task == "classification" else
                          "A regression has no entropy: its changes are looked at.")  # fmt: skip
    full = FixedDepth(exits[-1], exits, task)
    if len(exits) == 1:
        return (full,)
    if name == "fixed":
        return tuple(FixedDepth(k, exits, task) for k in reversed(exits))
    if name in COLUMNS:
        return (full, *(Threshold(name, value, exits) for value in _levels(name, readings)))
    # In units of what the full network gains over the first exit, so that one grid suits any loss.
    scale = max(float((readings.soft[0] - readings.soft[-1]).mean()), 1e-12) if task == "regression" else 1.0
    find = continuations if name == "continuation" else look_aheads
    guards = _levels("margin" if task == "classification" else "change", readings, GUARDS)
    return (full, *find(readings, [c * scale for c in COSTS], guards))


def _levels(name: str, readings: Readings, number: int = LEVELS) -> list[float]:
    """Quantiles of the quantity over all exits but the last, from one that stops few samples to one that stops all."""
    column, small = COLUMNS[name]  # type: ignore[index]
    seen = readings.features[1 if name == "change" else 0 : -1, :, column].flatten().double()
    if not len(seen):
        return []
    shares = torch.linspace(0, 1, number, dtype=torch.float64)
    values: Tensor = torch.tensor(np.quantile(seen.numpy(), shares.numpy() if small else 1 - shares.numpy()))
    return list(dict.fromkeys(values.tolist()))
