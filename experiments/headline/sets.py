"""The sets of the headline experiments, their seeds, and what all of them measure."""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import math
import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from node_oc import store
from node_oc.config import Config
from node_oc.data.split import Split
from node_oc.diagnosis import sample_losses
from node_oc.discretization import Network
from node_oc.pipeline import load_split, make_network, make_problem
from node_oc.search import DepthSearch

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
DEPTHS = (1, 2, 3, 4, 6, 8, 12)  # of the plain networks; N comes last
SEEDS = {"spirals": 5, "digits": 20, "mnist": 3, "spirals-3-turns": 10, "mnist-conv": 3}


def configure(name: str, seed: int, data: str | None = None, **overrides: Any) -> Config:
    """The built-in configuration of a set, one thread a process: seeds run side by side.

    The seed draws the weights, the batches and, where the set is drawn or split at random, the samples.
    """
    base = "spirals" if name == "spirals-3-turns" else name
    changes: dict[str, Any] = {"training.seed": seed, "training.threads": 1, **overrides}
    if base.startswith("mnist"):
        changes["data.path"] = data
    else:
        changes["data.seed"] = seed
    if name == "spirals-3-turns":
        changes["data.turns"] = 3.0
    return Config.preset(base, changes)


def searching(config: Config, folder: Path | None, progress: Any = None) -> tuple[DepthSearch, Split, Network]:
    """The search of a configuration, its samples and its untrained network; trainings are kept in the folder."""
    split = load_split(config)
    search = DepthSearch(
        make_problem(config, split), split, config.training, config.search, auto=config.problem.price == "auto",
        fresh=lambda depth: make_network(config, split, depth, "plain"), folder=folder, progress=progress,
    )  # fmt: skip
    return search, split, make_network(config, split)


def accuracy(network: Network, split: Split, part: str = "test") -> float:
    """Accuracy in %."""
    return 100 * (1 - float(sample_losses(network, getattr(split, part), split.task).mean()))


def mean_interval(values: Iterable[float], confidence: float = 0.95) -> tuple[float, float]:
    """Mean and half width of its t-interval; the half width is nan for a single value."""
    x = np.asarray(list(values), dtype=float)
    if len(x) < 2:
        return float(x.mean()), math.nan
    return float(x.mean()), float(stats.t.ppf((1 + confidence) / 2, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x)))


def written(values: Sequence[float], digits: int = 2) -> str:
    """Mean and 95 % interval as text: "98.27 ± 0.05"."""
    mean, half = mean_interval(values)
    return f"{mean:.{digits}f}" if math.isnan(half) else f"{mean:.{digits}f} ± {half:.{digits}f}"


def smallest(validation: dict[int, Sequence[float]], budget: float = 0.5) -> int:
    """M*: the smallest depth whose mean validation accuracy (in %) is within the budget (points) of the best mean."""
    means = {depth: float(np.mean(values)) for depth, values in validation.items()}
    best = max(means.values())
    return min(depth for depth, mean in means.items() if mean >= best - budget - 1e-9)


def options(description: str | None, sets: Sequence[str], folder: str = "runs/headline") -> argparse.Namespace:
    """The command line that these experiments share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(sets), choices=sets)
    parser.add_argument("--seeds", type=int, help="fewer or more seeds than the table has")
    parser.add_argument("--data", help="folder with the four IDX files of MNIST")
    parser.add_argument("--folder", type=Path, default=Path(folder), help="checkpoints, shared and resumable")
    parser.add_argument("--redraw", action="store_true", help="tables and pictures again from the JSON file")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="seeds at a time, one thread each")
    parsed = parser.parse_args()
    if parsed.data is None and not parsed.redraw and any(name.startswith("mnist") for name in parsed.sets):
        parser.error("MNIST needs --data DIRECTORY; or leave it out with --sets")
    return parsed


def gather(
    args: argparse.Namespace, path: Path, one: Callable[[str, int, str | None, Path], Any], seeds: dict[str, int]
) -> list[dict[str, Any]]:
    """Run every seed of the chosen sets, put their rows into the JSON file in the place of what it had; all its rows.

    Each seed is a process of its own. With ``--redraw`` nothing is run.
    """
    had = store.read_json(path) if path.exists() else []
    if args.redraw:
        return had
    calls = [(name, seed, args.data, args.folder) for name in args.sets for seed in range(args.seeds or seeds[name])]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(args.jobs, mp_context=context, max_tasks_per_child=1) as pool:
        found = list(pool.map(one, *zip(*calls, strict=True)))
    rows = [row for each in found for row in (each if isinstance(each, list) else [each])]
    rows = [*(row for row in had if row["set"] not in args.sets), *json.loads(json.dumps(rows))]
    store.write_json(path, rows)
    return rows
