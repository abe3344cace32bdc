"""MNIST by discrete MSA with the network and the settings of its authors (arXiv 1803.01299).

    python -m experiments.maximum_principle.mnist --data DIRECTORY --values binary ternary --seeds 0 1 2
    python -m experiments.maximum_principle.mnist --data DIRECTORY --overnight

784-2048-2048-2048-10, batch norm behind every layer, batches of 100, 10 epochs: the built-in mnist-binary (squared
hinge, rho 0.5) and mnist-ternary (cross-entropy, rho 0.25), 1 - alpha = 0.001 times 0.95 after each epoch, lambda =
1e-7, Adam at 0.001 for the batch norms. 55,000 images train, 5,000 validate, 10,000 test, pixels in [0, 1].
``--overnight`` is their 100 epochs. DIRECTORY holds the four IDX files of MNIST. Trainings are resumable: give the
same command again. Writes each epoch into mnist.json beside this file, and the table and the picture of all rows that
are there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from experiments.maximum_principle import tables
from experiments.maximum_principle.results import PICTURES, accuracy, gather, read
from experiments.maximum_principle.samples import mnist
from node_oc.config import Config
from node_oc.data import Split
from node_oc.discretization import Network
from node_oc.pipeline import make_network, make_problem
from node_oc.training import Plan, fit
from node_oc.training.info import Info

VALUES = ("binary", "ternary")
SAME = ("way", "seed", "epochs", "precision", "settings")


class Log:
    """What is seen of a training after each of its epochs, put into a row.

    Attributes:
        row: accuracies in %, share of non-zero weights, share of weights that this epoch changed, mean J of its
            updates, and seconds; one value an epoch. The last three are None of an epoch that was interrupted.
    """

    def __init__(
        self, network: Network, split: Split, row: dict[str, Any], per_epoch: int, save: Callable[[dict[str, Any]], Any]
    ) -> None:
        self.network, self.split, self.row, self.per_epoch, self.save = network, split, row, per_epoch, save
        self.before = self.weights()
        self.objective, self.updates, self.start = 0.0, 0, time.perf_counter()

    def __call__(self, name: str, done: int, updates: int, info: Info) -> None:
        """After each update, as fit's ``progress``."""
        self.objective, self.updates = self.objective + info.objective / self.per_epoch, self.updates + 1
        if done % self.per_epoch:
            return
        seconds, weights = time.perf_counter() - self.start, self.weights()
        changed = sum(int((a != b).sum()) for a, b in zip(self.before, weights, strict=True))
        count = sum(w.numel() for w in weights)
        seen: dict[str, float | None] = {
            "validation": accuracy(self.network, self.split.val), "test": accuracy(self.network, self.split.test),
            "nonzero": sum(int(w.count_nonzero()) for w in weights) / count, "changed": changed / count,
            "objective": self.objective, "seconds": seconds,
        }  # fmt: skip
        if self.updates < self.per_epoch:
            seen |= {"changed": None, "objective": None, "seconds": None}
        for key, value in seen.items():
            self.row.setdefault(key, [])[done // self.per_epoch - 1 :] = [value]
        told = " ".join(f"{key} {value:.4f}" for key, value in seen.items() if value is not None)
        print(self.row["way"], self.row["seed"], done // self.per_epoch, told, flush=True)
        self.save(self.row)
        self.before, self.objective, self.updates, self.start = weights, 0.0, 0, time.perf_counter()

    def weights(self) -> list[torch.Tensor]:
        """A copy of all discrete weights."""
        layers = [layer for k in range(self.network.depth) for layer in self.network.system.discrete(k)]
        return [layer.used(torch.empty(0)).detach().to(torch.int8, copy=True) for layer in layers]


def train(values: str, split: Split, seed: int, args: argparse.Namespace) -> None:
    """One training; its row grows with each epoch."""
    config = Config.preset(f"mnist-{values}", {
        "data.path": str(args.data), "training.seed": seed, "training.epochs": args.epochs, "training.threads": 1,
        "training.precision": args.precision, "training.checkpoint_seconds": 600.0,
    }).replace(args.set)  # fmt: skip
    settings = " ".join(args.set)
    row = {"way": values, "seed": seed, "epochs": args.epochs, "precision": args.precision, "settings": settings}
    row = next((old for old in read("mnist.json") if all(old[key] == row[key] for key in SAME)), row)
    network, per_epoch = make_network(config, split), len(split.train) // config.training.batch
    log = Log(network, split, row, per_epoch, lambda grown: gather("mnist.json", [grown], SAME))
    name = "-".join(map(str, (values, seed, args.epochs, args.precision, *settings.split())))
    fit(network, make_problem(config, split), split.train, config.training, progress=log,
        plan=Plan(updates=args.epochs * per_epoch, cosine=False), folder=args.folder / name)  # fmt: skip
    history = (args.folder / name / "history.jsonl").read_text().splitlines()
    row["error_terms"] = [line["error_terms"] for line in map(json.loads, history) if "error_terms" in line]
    gather("mnist.json", [row], SAME)


def main() -> None:
    """Train, write JSON, print the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the four IDX files of MNIST")
    parser.add_argument("--values", nargs="+", choices=VALUES, default=VALUES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--overnight", action="store_true", help="100 epochs")
    parser.add_argument("--precision", default="bf16-mixed", choices=["32-true", "bf16-mixed"])
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="as of node-oc run")
    parser.add_argument("--folder", type=Path, default=Path("runs/maximum_principle"), help="checkpoints")
    parser.add_argument("--redraw", action="store_true", help="table and picture again from the JSON files")
    args = parser.parse_args()
    if args.data is None and not args.redraw:
        parser.error("MNIST needs --data DIRECTORY")
    args.epochs = 100 if args.overnight else args.epochs
    if not args.redraw:
        split = mnist(args.data)
        for seed in args.seeds:
            for values in args.values:
                train(values, split, seed, args)
    rows = [row for row in read("mnist.json") if row["epochs"] == args.epochs and not row["settings"]]
    print(tables.table(rows, [row for row in read("baselines.json") if row["epochs"] == 10]))
    if args.epochs == 10:
        tables.curves(rows, read("baselines.json")).savefig(PICTURES / "msa-mnist.png", dpi=150)
        tables.error_terms(rows).savefig(PICTURES / "msa-error-terms.png", dpi=150)


if __name__ == "__main__":
    main()
