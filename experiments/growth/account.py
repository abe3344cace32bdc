"""One growth and the plain networks beside it, with what all of them cost: shared by the experiments of this folder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.headline.sets import accuracy
from node_oc.config import Config
from node_oc.data.split import Split
from node_oc.discretization import Network
from node_oc.pipeline import make_network, make_problem
from node_oc.problem.ocp import Problem
from node_oc.search import Found, GrowthSearch, Sweeps
from node_oc.training.batches import training_updates
from node_oc.training.checkpoint import training_work
from node_oc.trajectory import rollout


def update_flops(network: Network, problem: Problem, split: Split, batch: int) -> int:
    """FLOPs of one update: rollout, cost, backward; torch's own counter."""
    part = split.train
    size = batch or len(part)
    with FlopCounterMode(display=False) as counter:
        smooth = problem.evaluate(rollout(network, part.x[:size]), part.y[:size]).smooth
        if smooth.requires_grad:  # no layers, and neither lift nor head with weights
            smooth.backward()
    return counter.get_total_flops()


def beside(config: Config, split: Split, folder: Path, depths: Sequence[int] = ()) -> dict[str, Any]:
    """Grow, then train plain networks: those of an upward sweep, of the depth found, and of the given depths.

    Accuracies in %, work in one-layer trainings (the looks at sleeping steps included), FLOPs of all training.
    """
    problem, batch = make_problem(config, split), config.training.batch
    fresh = lambda depth: make_network(config, split, depth, "plain")  # noqa: E731
    search = GrowthSearch(problem, split, config.training, config.search, fresh=fresh, folder=folder)
    found = search.run(make_network(config, split))
    sweeps = Sweeps(search.protocol, fresh, depth=config.system.depth, folder=folder / "plain")
    upwards = sweeps.upwards()
    updates = training_updates(config.training, len(split.train))
    flops: dict[int, int] = {}

    def plain_flops(depth: int) -> int:
        if depth not in flops:
            flops[depth] = updates * update_flops(fresh(depth), problem.terminal_only(), split, batch)
        return flops[depth]

    plain = {}
    for depth in sorted({*depths, found.depth, upwards.depth}):
        row = sweeps.plain(depth)
        plain[depth] = {"test": accuracy(row.network, split), "validation": accuracy(row.network, split, "val"),
                        "seconds": row.seconds, "flops": plain_flops(depth)}  # fmt: skip
    tried = [int(name.rsplit("-", 1)[1]) for name in upwards.trainings]
    return {
        "N": config.system.depth,
        "grow": {**grown(config, split, problem, found, folder), "test": accuracy(found.network, split)},
        "plain": plain,
        "upwards": {"depth": upwards.depth, "test": accuracy(upwards.network, split), "work": upwards.work,
                    "seconds": upwards.seconds, "flops": sum(plain_flops(m) for m in tried)},
    }  # fmt: skip


def grown(config: Config, split: Split, problem: Problem, found: Found, folder: Path) -> dict[str, Any]:
    """What a growth found and cost."""
    growth = found.growth
    if growth is None:
        raise TypeError("a search that did not grow")
    updates = training_updates(config.training, len(split.train))
    batch, flops = config.training.batch, 0
    network = make_network(config, split)
    for window in growth.windows:
        network.set_awake(window.steps)
        asked = problem.terminal_only() if window.role == "refit" else problem
        flops += window.updates * update_flops(network, asked, split, batch)
    seconds = sum(entry["seconds"] for entry in training_work(folder) if not entry["training"].startswith("plain"))
    work = (sum(w.updates * len(w.steps) for w in growth.windows) + growth.look_work) / updates
    return {
        "depth": found.depth, "certified": found.certified_depth, "inside": any(c.inside for c in found.candidates),
        "work": work, "looks": growth.look_work / updates, "flops": flops, "seconds": seconds,
        "reference": found.reference.depth, "stopped": growth.stopped,
        "path": [f"{w.role} {len(w.steps)}" for w in growth.windows],
    }  # fmt: skip


def spread(values: Iterable[int]) -> str:
    """Depths as text: "2, 2, 3"."""
    return ", ".join(str(v) for v in values)


def nan_ratio(a: float, b: float) -> float:
    """a / b, nan where b is 0."""
    return a / b if b else math.nan


def threads() -> None:
    """One thread a process: seeds run side by side."""
    torch.set_num_threads(1)
