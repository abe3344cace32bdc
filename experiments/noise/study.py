"""Does noise help? Few labels, six ways to train, everything else alike.

    python -m experiments.noise.study --data DIRECTORY                          # digits and MNIST, 10 seeds
    python -m experiments.noise.study --data DIRECTORY --depth                  # and the depth after a crop
    python -m experiments.noise.study --sets cifar-2000 --seeds 2 --data DIRECTORY
    python -m experiments.noise.study --sets cifar-all --seeds 3 --data DIRECTORY --accelerator gpu
    python -m experiments.noise.study --redraw                                  # tables of README.md from study.json

Of one seed, all ways have the same labels, initial weights and batches. Every row goes into study.json beside this file
as it comes; rows that are there are not made again. DIRECTORY holds the four IDX files of MNIST, or CIFAR-10 as
experiments.growth.cifar reads it. Trainings are kept in ``--folder``, for experiments.noise.landscapes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch

from experiments.noise.samples import load
from experiments.noise.study_table import PAGE, fill, summary, tell
from node_oc import store
from node_oc.config import Config
from node_oc.cropping import first_steps
from node_oc.data.split import Part, Split
from node_oc.diagnosis import calibration, entry_by_accuracy, outputs, profile
from node_oc.discretization import Network
from node_oc.pipeline import make_network, make_problem
from node_oc.problem.cost import CrossEntropy
from node_oc.problem.ocp import Problem
from node_oc.search.protocol import Protocol, smallest
from node_oc.training.loop import Plan, fit

JSON = Path(__file__).with_name("study.json")
Cost = Literal["stage", "plain"]
MODES: dict[str, dict[str, Any]] = {
    "none": {},
    "stochastic depth": {"training.driver": "stochastic_depth"},
    "branch dropout": {"training.driver": "branch_dropout"},
    "two-point": {"training.driver": "two_point"},
    "Gaussian": {"training.driver": "gaussian"},
    "explicit regulariser": {"training.driver": "branch_dropout", "training.driver_explicit": True},
}
DENSE = {"system.depth": 8, "system.activation": "tanh", "training.batch": 50, "training.learning_rate": 3e-3}
CONV = {"system.image": [3, 32, 32], "system.activation": "gelu", "data.path": "unused"}
SETS: dict[str, tuple[str, dict[str, Any]]] = {  # preset and changes; tanh and GELU have a Hessian
    "digits-200": ("digits", {**DENSE, "training.min_updates": 400}),
    "digits-1000": ("digits", {**DENSE, "training.min_updates": 400}),
    "mnist-200": ("mnist", {**DENSE, "system.width": 64, "system.hidden": 64, "data.path": "unused",
                            "training.min_updates": 400}),
    "mnist-1000": ("mnist", {**DENSE, "system.width": 64, "system.hidden": 64, "data.path": "unused",
                             "training.min_updates": 400}),
    "cifar-2000": ("mnist-conv", {**CONV, "system.depth": 9, "training.batch": 32, "training.min_updates": 250}),
    "cifar-all": ("mnist-conv", {**CONV, "system.depth": 27, "system.channels": [16, 32, 64], "training.batch": 128,
                                 "training.epochs": 60}),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One training: which samples, which cost, how much noise, which way, which seed."""

    set: str
    cost: Cost
    keep: float
    mode: str
    seed: int

    @property
    def key(self) -> dict[str, Any]:
        return dict(vars(self))

    def config(self, accelerator: str = "cpu") -> Config:
        """The configuration; the few labels are passed over until there are ``min_updates`` updates."""
        base, changes = SETS[self.set]
        noise = dict(MODES[self.mode])
        if noise:
            noise["training.driver_keep"] = self.keep
        few = {} if self.set == "cifar-all" else {"training.epochs": 1}
        return Config.preset(base, {"training.seed": self.seed, "training.threads": 1, "training.accelerator":
                                    accelerator, **few, **changes, **noise})  # fmt: skip

    def problem(self, config: Config, split: Split) -> Problem:
        """Soft cross-entropy at every layer, gamma = 1; or plain cross-entropy at the end."""
        if self.cost == "stage":
            return replace(make_problem(config, split), group_price=0.0)
        return Problem(CrossEntropy(), CrossEntropy(), stage_weight=0.0)

    def folder(self, root: Path) -> Path:
        return root / self.set / self.cost / f"{self.keep:g}" / self.mode.replace(" ", "-") / str(self.seed)

    def split(self, data: Path | None) -> Split:
        return _split(self.set, self.seed, data)


@lru_cache(maxsize=1)
def _split(set: str, seed: int, data: Path | None) -> Split:
    name, labels = set.split("-")
    return load(name, 0 if labels == "all" else int(labels), seed, data)


def trained(case: Case, split: Split, root: Path, accelerator: str = "cpu") -> Network:
    """The network of a case; read from the folder where it has been trained."""
    config = case.config(accelerator)
    network = make_network(config, split)
    fit(network, case.problem(config, split), split.train, config.training, plan=Plan("study"),
        folder=case.folder(root) / "study")  # fmt: skip
    return network


def measured(network: Network, part: Part) -> dict[str, float]:
    """Accuracy in %, ECE and confidence less accuracy in points, negative log-likelihood in nats; without noise."""
    found = calibration(outputs(network, part.x).cpu().double().softmax(1).numpy(), part.y.numpy())
    return {"accuracy": 100 * found.accuracy, "ece": 100 * found.ece, "nll": found.nll,
            "sure": 100 * (found.confidence - found.accuracy)}  # fmt: skip


def cropped(case: Case, config: Config, split: Split, network: Network) -> dict[str, Any]:
    """The smallest M whose first M steps, healed with the same noise, are within half a point of the whole network.

    The repository's rule (node_oc.DepthSearch) without price and certificate, by bisection on the validation samples.
    """
    protocol = Protocol(case.problem(config, split), split, config.training, config.search)
    protocol.judge_by(network)
    tried = {network.depth: network}

    def inside(depth: int) -> bool:
        candidate = protocol.attempt(network, first_steps(network, depth), f"heal-{depth}")
        tried[depth] = candidate.network
        return candidate.inside

    depth = smallest(inside, -1, network.depth)
    return {"depth": depth, "healed": measured(tried[depth], split.test)["accuracy"]}


def one(case: Case, data: Path | None, root: Path, accelerator: str) -> dict[str, Any]:
    """The row of one case."""
    split, config, start = case.split(data), case.config(accelerator), time.process_time()
    network = trained(case, split, root, accelerator)
    row: dict[str, Any] = {**case.key, **measured(network, split.test)}
    problem = case.problem(config, split)
    row["entry"] = entry_by_accuracy(profile(network, problem, split.val, split.task).metric)
    last = profile(network, problem, split.train, split.task)
    row["train"] = {"accuracy": 100 * last.metric[-1], "J": last.terminal[-1] + problem.stage_weight *
                    sum(last.running), "terminal": last.terminal[-1]}  # fmt: skip
    return {**row, "seconds": round(time.process_time() - start, 1)}


def shortened(row: dict[str, Any], case: Case, data: Path | None, root: Path, accelerator: str) -> dict[str, Any]:
    """The row with the depth of its network, which is read from the folder, or trained again."""
    split, start = case.split(data), time.process_time()
    found = cropped(case, case.config(accelerator), split, trained(case, split, root, accelerator))
    return {**row, **found, "healing seconds": round(time.process_time() - start, 1)}


def cases(args: argparse.Namespace) -> Iterator[Case]:
    """Seed by seed, so that a run that is stopped leaves whole seeds."""
    for seed in range(args.seeds):
        for name in args.sets:
            for cost in args.costs:
                for mode in args.modes:
                    yield Case(name, cost, args.keep, mode, seed)


def main() -> None:
    """Make the rows that are missing, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(SETS)[:4], choices=SETS)
    parser.add_argument("--costs", nargs="+", default=["stage"], choices=["stage", "plain"])
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--keep", type=float, default=0.8, help="survival probability; all have the variance (1-p)/p")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--depth", action="store_true", help="add the depth after a crop to rows that lack it")
    parser.add_argument("--data", type=Path, help="folder with MNIST or CIFAR-10")
    parser.add_argument("--folder", type=Path, default=Path("runs/noise"), help="trainings")
    parser.add_argument("--accelerator", default="cpu", choices=["auto", "cpu", "gpu", "mps"])
    parser.add_argument("--redraw", action="store_true", help="the tables of README.md from study.json")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = store.read_json(JSON) if JSON.exists() else []
    options = args.data, args.folder, args.accelerator
    torch.set_num_threads(1)
    for case in [] if args.redraw else cases(args):
        at = next((i for i, row in enumerate(rows) if all(row[key] == value for key, value in case.key.items())), None)
        if at is None:
            at = len(rows)
            rows.append(one(case, *options))
        elif not args.depth or "depth" in rows[at]:
            continue
        if args.depth and "depth" not in rows[at]:
            rows[at] = shortened(rows[at], case, *options)
        store.write_json(JSON, rows)
        print(rows[at], flush=True)
    print(tell(rows))
    fill("study", tell(rows))
    fill("study of noise", summary(rows), PAGE)


if __name__ == "__main__":
    main()
