"""CIFAR-10, a pre-activation ResNet: how deep an image has to go, after plain training, with stage costs, with L_depth.

    python -m experiments.stopping.cifar --data DIRECTORY
    python -m experiments.stopping.cifar --data DIRECTORY --reduced

54 blocks of 16, 32 and 64 channels, 45,000 images, 60 epochs of 128, on an accelerator: hours. --reduced is for two
cores: 18 blocks of 8, 16 and 32 channels, 5,000 images, 600 updates. No augmentation. Policies are fitted on the first
half of 5,000 validation images, chosen on the other half, and followed on the 10,000 test images. Every training is an
ordinary training folder under --folder, and one that is there is not repeated. Writes cifar.json beside this file, or
cifar-reduced.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from experiments.growth.cifar import batch
from experiments.stopping.exits import measured
from experiments.stopping.mnist import AIMS, WAYS, tell
from node_oc import store
from node_oc.config import Config
from node_oc.data.prepare import Rows, prepare
from node_oc.data.split import Split
from node_oc.pipeline import make_network, make_problem
from node_oc.training import Plan, fit
from node_oc.training.loop import make_fabric

REDUCED = {"system.channels": [8, 16, 32], "system.depth": 18, "training.min_updates": 600, "training.epochs": 1,
           "training.threads": 1}  # fmt: skip
WHOLE = {"system.channels": [16, 32, 64], "system.depth": 54, "training.epochs": 60, "training.accelerator": "auto"}


def load(folder: Path, train: int) -> Split:
    """So many images to train, the last 5,000 of the training set to validate, 10,000 to test."""
    known = np.load(folder / "labels.npz") if (folder / "labels.npz").exists() else {}
    parts = [batch(folder, f"data_batch_{i + 1}", known["train"][10000 * i : 10000 * (i + 1)] if known else None)
             for i in range(5)]  # fmt: skip
    x, y = (np.concatenate(values) for values in zip(*parts, strict=True))
    test = Rows(*batch(folder, "test_batch", known["test"] if known else None))
    pixels = tuple(f"pixel_{i}" for i in range(3072))
    return prepare(Rows(x[:train], y[:train]), Rows(x[45000:], y[45000:]), test, task="classification",
                   features=pixels, standardise="global")  # fmt: skip


def main() -> None:
    """Run, print the tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with CIFAR-10, see experiments.growth.cifar")
    parser.add_argument("--reduced", action="store_true", help="a smaller network, fewer images and updates")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/stopping"))
    args = parser.parse_args()
    split, rows = load(args.data, 5000 if args.reduced else 45000), []
    for way, changes in WAYS.items():
        sizes: dict[str, Any] = REDUCED if args.reduced else WHOLE
        config = Config.preset("mnist-conv", {"data.path": "unused", "system.image": [3, 32, 32], "search.way": "cut",
                                              "training.seed": args.seed, **sizes, **changes})  # fmt: skip
        network = make_network(config, split)
        folder = args.folder / f"cifar{'-reduced' * args.reduced}-{way.replace(' ', '-')}-{args.seed}"
        fit(network, make_problem(config, split), split.train, config.training, plan=Plan("reference"), folder=folder,
            fabric=make_fabric(config.training))  # fmt: skip
        rows.append({"seed": args.seed, "way": way, **measured(network, split, AIMS)})
        print(way, rows[-1]["fixed"], rows[-1]["point"], flush=True)
    store.write_json(Path(__file__).with_name(f"cifar{'-reduced' * args.reduced}.json"), rows)
    print(tell(rows))


if __name__ == "__main__":
    main()
