"""What these experiments share: trainings as ordinary runs, and what policies chosen on validation data come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from node_oc import store
from node_oc.config import Config
from node_oc.data.split import Part, Split, onto
from node_oc.discretization import Network
from node_oc.discretization.network import evaluating
from node_oc.pipeline import read_network, resume, run
from node_oc.policies import (
    FAMILIES,
    Outcome,
    Readings,
    continuation,
    family,
    follow,
    follow_oracle,
    read_exits,
)
from node_oc.problem import Cost
from node_oc.trajectory import rollout

BASELINES = ("fixed", "entropy", "confidence")
LOSS = 0.001  # of accuracy, given up at the operating point
DRAWS = 2000  # of the bootstrap
SHY = 1e-12
COSTS = tuple(np.geomspace(1e-6, 0.3, 24).tolist())  # of the oracle


def trained(config: Config, folder: Path) -> Network:
    """The network of a configuration, trained into a run directory; that one's where it is finished."""
    if not (folder / "run.json").exists():
        run(config, folder, only_fit=True)
    elif not store.read_json(folder / "run.json")["finished"]:
        resume(folder)
    return read_network(folder, "full")


def measured(network: Network, split: Split, depths: Sequence[float]) -> dict[str, Any]:
    """What policies come to on test data: each fitted on one half of the validation data and chosen on the other.

    Args:
        network: a trained one.
        split: its samples; the test part chooses nothing.
        depths: mean depths that are aimed at.

    Returns:
        "fixed": accuracy in % of each depth 0..N; "oracle": (mean depth, accuracy) pairs; "curves": such a pair for
        every family and aim, "chosen" the best on validation data among all families; "below": by how many points
        chosen is below each baseline at each aim, and "lost" against the full network, with 95 % bootstrap intervals
        over samples; "point": the least depth at which 0.1 points are lost on the validation samples that chose.
    """
    half = len(split.val) // 2
    fitting, choosing = (read_exits(network, Part(split.val.x[rows], split.val.y[rows]))
                         for rows in (slice(half), slice(half, None)))  # fmt: skip
    test = read_exits(network, split.test)
    tried = {
        name: [follow(policy, choosing) for policy in family(name, fitting)] for name in FAMILIES["classification"]
    }
    tried["chosen"] = [one for outcomes in tried.values() for one in outcomes]
    found = {
        name: [follow(_least(outcomes, depth).policy, test) for depth in depths] for name, outcomes in tried.items()
    }
    allowed = [one for one in tried["chosen"] if one.excess <= LOSS + SHY]
    point = follow(min(allowed, key=lambda one: (one.depth, one.excess)).policy, test)
    return {
        "fixed": (100 * (1 - test.losses.mean(1))).tolist(),
        "oracle": [(depth, 100 * (1 - loss)) for depth, loss in follow_oracle(test, COSTS)],
        "curves": {name: [(one.depth, 100 * (1 - one.loss)) for one in outcomes] for name, outcomes in found.items()},
        "below": {name: [below(found["chosen"][i], other) for i, other in enumerate(found[name])]
                  for name in BASELINES},
        "lost": [interval(one.losses - one.reference) for one in found["chosen"]],
        "point": {"depth": point.depth, "policy": point.policy.spec()["kind"],
                  "lost": interval(point.losses - point.reference)},
    }  # fmt: skip


def expected(network: Network, split: Split, cost: Cost, layers: Sequence[float]) -> list[tuple[float, float]]:
    """What L_depth asks for: mean excess loss + c k of the best stopping rule, on test data, and its mean depth.

    Longstaff and Schwartz on these losses, fitted to the labels of all validation data, for each cost c of a layer.
    """
    parts = [_with(cost, network, part) for part in (split.val, split.test)]
    outcomes = [follow(continuation(parts[0], layer, labels=True), parts[1]) for layer in layers]
    return [(one.cost(layer), one.depth) for one, layer in zip(outcomes, layers, strict=True)]


def _with(cost: Cost, network: Network, part: Part) -> Readings:
    """Readings whose losses are a cost, less its least value."""
    anchor = next(network.parameters())
    with torch.no_grad(), evaluating(network):
        chunks = [cost.excess(rollout(network, onto(x, anchor)).readouts, onto(y, anchor))
                  for x, y in zip(part.x.split(1024), part.y.split(1024), strict=True)]  # fmt: skip
    return replace(read_exits(network, part), losses=torch.cat(chunks, 1).double())


def _least(outcomes: Sequence[Outcome], depth: float) -> Outcome:
    """As :func:`fit_policy` chooses for a mean depth, on outcomes that are there already."""
    return min((one for one in outcomes if one.depth <= depth + SHY), key=lambda one: (one.loss, one.depth))


def below(one: Outcome, other: Outcome) -> tuple[float, float, float]:
    """Points of accuracy by which one is below another, and their interval."""
    return interval(one.losses - other.losses)


def interval(differences: Tensor) -> tuple[float, float, float]:
    """Mean of paired differences in points, and its 95 % bootstrap interval over samples."""
    values, counts = differences.unique(return_counts=True)  # -1, 0, 1: a resampled mean is that of a multinomial draw
    draws = np.random.default_rng(0).multinomial(len(differences), (counts / len(differences)).numpy(), DRAWS)
    means = 100 * draws @ values.numpy() / len(differences)
    low, high = np.quantile(means, (0.025, 0.975))
    return 100 * float(differences.mean()), float(low), float(high)


def worst(found: dict[str, Any]) -> dict[str, tuple[float, float, float]]:
    """Where the chosen policy is farthest below each baseline."""
    return {name: max(map(tuple, values)) for name, values in found["below"].items()}
