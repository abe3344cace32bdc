"""Convolutional networks of discrete weights, on MNIST and CIFAR-10, beside real weights (arXiv 1803.01299).

    python -m experiments.maximum_principle.conv --data DIRECTORY --set cifar10
    python -m experiments.maximum_principle.conv --data DIRECTORY --set cifar10 --reduced

The authors' 2x128C3-MP-2x256C3-MP-2x512C3-MP-1024-1024-10 with d = 0.98, 100 epochs of 45,000 images; it wants an
accelerator (``--accelerator gpu``). ``--reduced`` is what fits on one CPU thread: 2x16C3-MP-2x32C3-MP-128-10, 10,000
images, 10 epochs of batches of 50. Squared hinge for binary weights, cross-entropy for the others, the settings of
mnist.py otherwise; "float" is the same network of real weights by Adam. The last 5,000 training images validate. MNIST
as IDX files; CIFAR-10 as experiments.growth.cifar reads it. Adds its rows to conv.json beside this file.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch

from experiments.maximum_principle import straight_through
from experiments.maximum_principle.mnist import Log
from experiments.maximum_principle.results import gather
from experiments.maximum_principle.samples import cifar, mnist
from node_oc.config import Config
from node_oc.data import Split
from node_oc.pipeline import make_network, make_problem
from node_oc.training import Plan, fit
from node_oc.training.memory import keep_freed_memory

WAYS = ("binary", "ternary", "float")
SETS = {"mnist": (mnist, (1, 28, 28)), "cifar10": (cifar, (3, 32, 32))}
FULL: dict[str, Any] = {
    "layers": ["128C3", "128C3", "MP2", "256C3", "256C3", "MP2", "512C3", "512C3", "MP2", "1024", "1024"],
    "train": 45_000, "epochs": 100, "batch": 100,
}  # fmt: skip
REDUCED: dict[str, Any] = {
    "layers": ["16C3", "16C3", "MP2", "32C3", "32C3", "MP2", "128"], "train": 10_000, "epochs": 10, "batch": 50,
}  # fmt: skip
SAME = ("set", "way", "seed", "epochs", "batch", "train", "layers", "precision", "settings")


def discrete(row: dict[str, Any], split: Split, args: argparse.Namespace) -> None:
    """Train by MSA; the row grows with each epoch."""
    config = Config.preset(f"mnist-{row['way']}", {
        "data.path": str(args.data), "system.layers": args.layers, "system.image": list(SETS[args.set_][1]),
        "training.seed": row["seed"], "training.epochs": args.epochs, "training.batch": args.batch,
        "training.msa_decay": 0.98, "training.threads": 1, "training.precision": args.precision,
        "training.accelerator": args.accelerator, "training.checkpoint_seconds": 600.0,
    }).replace(args.set)  # fmt: skip
    network, per_epoch = make_network(config, split), len(split.train) // args.batch
    log = Log(network, split, row, per_epoch, lambda grown: gather("conv.json", [grown], SAME))
    name = "-".join(str(row[key]) for key in SAME if key != "layers") + "-".join(args.layers)
    fit(network, make_problem(config, split), split.train, config.training, progress=log,
        plan=Plan(updates=args.epochs * per_epoch, cosine=False), folder=args.folder / "conv" / name)  # fmt: skip


def main() -> None:
    """Train, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the set")
    parser.add_argument("--set", dest="set_", choices=SETS, required=True)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--reduced", action="store_true", help="what fits on one CPU thread")
    parser.add_argument("--layers", nargs="+", help="as system.layers")
    parser.add_argument("--train", type=int, help="training images")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--precision", default="32-true", choices=["32-true", "bf16-mixed"])
    parser.add_argument("--accelerator", default="cpu", choices=["auto", "cpu", "gpu", "mps"])
    parser.add_argument("--options", dest="set", nargs="*", default=[], metavar="KEY=VALUE",
                        help="of the configuration, as --set of node-oc run")  # fmt: skip
    parser.add_argument("--folder", type=Path, default=Path("runs/maximum_principle"), help="checkpoints")
    args = parser.parse_args()
    for key, value in (REDUCED if args.reduced else FULL).items():
        if getattr(args, key) is None:
            setattr(args, key, value)
    keep_freed_memory()
    torch.set_num_threads(1)
    read, image = SETS[args.set_]
    split = read(args.data, args.train)
    for seed in args.seeds:
        for way in args.ways:
            about = {"set": args.set_, "way": way, "seed": seed, "epochs": args.epochs, "batch": args.batch,
                     "train": args.train, "layers": args.layers, "precision": args.precision,
                     "settings": " ".join(args.set)}  # fmt: skip
            if way == "float":
                make = partial(straight_through.network, args.layers, way, split.inputs, image)
                row = straight_through.train(make, way, split, seed, args.epochs, args.batch, args.precision)
                gather("conv.json", [row | about], SAME)
            else:
                discrete(about, split, args)


if __name__ == "__main__":
    main()
