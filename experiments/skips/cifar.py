"""CIFAR-10, ResNet-v2: a network trained with stage costs and cut to 12 of its 54 blocks (arXiv 2506.21453).

    python -m experiments.skips.cifar --data DIRECTORY --accelerator gpu --epochs 160
    python -m experiments.skips.cifar --data DIRECTORY --reduced

54 blocks, 18 a stage, of 16, 32 and 64 channels, cut to 12: trained with stage costs and price, all but the 12
largest groups put to sleep after 70 % of the updates, the rest for the terminal cost; healed for a third of the
epochs. Beside it the same network trained plainly, cut by block influence and by the tails of its stages with the
same healing, and a plain network of 4 blocks a stage. Training images are moved by up to 4 pixels and mirrored,
inside the model. The last 5,000 training images validate. Trainings are resumable: give the same command again.
DIRECTORY holds CIFAR-10 as experiments.growth.cifar reads it. ``--reduced`` is what fits on one CPU thread: 18 blocks
of 8, 16 and 32 channels cut to 6, 5,000 images. Adds its rows to cifar.json beside this file.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from experiments.growth.cifar import batch
from experiments.skips.cuts import INFLUENCE, NORM, TAILS, Bench, gather
from experiments.skips.mnist import GAMMA, PRICE
from experiments.skips.network import adopted
from node_oc.config import TrainingSection
from node_oc.cropping import crop
from node_oc.data.prepare import Rows, prepare
from node_oc.data.split import Split
from node_oc.diagnosis import profile
from node_oc.problem.ocp import Problem
from node_oc.training.active import SHRINKING
from node_oc.training.batches import training_updates
from node_oc.training.heal import HEALING

IMAGE = (3, 32, 32)
SETTINGS = ("blocks", "left", "channels", "train", "epochs", "batch", "seed")
FULL = {"blocks": 18, "left": 4, "channels": [16, 32, 64], "train": 45_000, "epochs": 160, "batch": 128}
REDUCED = {"blocks": 6, "left": 2, "channels": [8, 16, 32], "train": 5_000, "epochs": 4, "batch": 32}


def load(folder: Path, train: int) -> Split:
    """The first images of the official order train, the last 5,000 validate."""
    known = np.load(folder / "labels.npz") if (folder / "labels.npz").exists() else {}
    parts = [batch(folder, f"data_batch_{i + 1}", known["train"][10000 * i : 10000 * (i + 1)] if known else None)
             for i in range(5)]  # fmt: skip
    x, y = (np.concatenate(values) for values in zip(*parts, strict=True))
    test = Rows(*batch(folder, "test_batch", known["test"] if known else None))
    pixels = tuple(f"pixel_{i}" for i in range(3072))
    return prepare(Rows(x[:train], y[:train]), Rows(x[-5000:], y[-5000:]), test, task="classification",
                   features=pixels, standardise="global")  # fmt: skip


def run(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All rows of one seed; accuracies in %."""
    options = TrainingSection(epochs=args.epochs, min_updates=0, batch=args.batch, learning_rate=2e-3, seed=args.seed,
                              threads=args.threads, accelerator=args.accelerator, precision=args.precision,
                              checkpoint_seconds=60.0)  # fmt: skip
    split = load(args.data, args.train)
    name = "-".join(map(str, (3 * args.blocks, *args.channels, args.train, args.epochs, args.batch)))
    here = Bench(split, options, args.folder / "cifar" / name / str(args.seed))
    problem = Problem.classification(10, stage_weight=args.gamma)
    updates, left = training_updates(options, args.train), 3 * args.left
    healing = round(HEALING * updates)
    settings = {key: getattr(args, key) for key in SETTINGS}

    def row(way: str, **values: Any) -> dict[str, Any]:
        print(way, {key: value for key, value in values.items() if isinstance(value, float | int)}, flush=True)
        return {**settings, "way": way, **values}

    def fresh(blocks: int) -> Any:
        return adopted(IMAGE, blocks, args.channels, args.seed, augment=True)

    ours = f"gamma {args.gamma:g}, price {args.price:g}"
    ways = {ours: (problem.priced(args.price), (NORM,)),
            "plain": (problem.terminal_only(), (TAILS, INFLUENCE))}  # fmt: skip
    for way, (task, rules) in ways.items():
        label = way.replace(" ", "").replace(",", "-")
        network, last, told = fresh(args.blocks), updates, {"told": None, "seconds": 0.0}
        if task.group_price:
            last = updates - round(SHRINKING * updates)
            network, told = here.shrink(label, network, task, updates - last, left, ratios=False)
        network, meta = here.train(f"{label}-refit", network, problem.terminal_only(), last)
        seen = profile(network, problem, split.val, "classification")
        yield row(way, validation=here.validate(network), test=here.test(network), awake=list(network.awake),
                  shrunk=told["told"], seconds=told["seconds"] + meta["seconds"],
                  accuracy=[100 * a for a in seen.metric], loss=list(seen.terminal))  # fmt: skip
        for rule in rules:
            steps = here.order(rule, network, min(left, len(network.awake)))
            raw = here.test(crop(network, steps=steps))
            small = here.healed(f"{label}-{rule}-healed".replace(" ", ""), network, steps, problem, healing)
            yield row(f"{way}; {rule}", validation=here.validate(small), raw=raw, test=here.test(small), steps=steps)
    network, told = here.train(f"plain-{args.left}", fresh(args.left), problem.terminal_only(), updates)
    yield row(f"plain, {left} blocks", validation=here.validate(network), test=here.test(network),
              seconds=told["seconds"])  # fmt: skip


def tell(rows: list[dict[str, Any]]) -> str:
    """The table of README.md."""
    lines = ["| network | blocks | as it is | healed |", "|---" * 4 + "|"]
    for r in rows:
        cut = "raw" in r
        blocks = len(r["steps"]) if cut else r["way"].split()[1] if r["way"].startswith("plain, ") else 3 * r["blocks"]
        told = f"{r['raw']:.2f} | {r['test']:.2f}" if cut else f"{r['test']:.2f} | "
        lines.append(f"| {r['way']} | {blocks} | {told} |")
    return "\n".join(lines)


def main() -> None:
    """Run, write JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with CIFAR-10")
    parser.add_argument("--reduced", action="store_true", help="what fits on one CPU thread")
    parser.add_argument("--blocks", type=int, help="blocks a stage")
    parser.add_argument("--left", type=int, help="blocks a stage of the plain network; as many are left in all")
    parser.add_argument("--channels", type=int, nargs="+", help="of each stage")
    parser.add_argument("--train", type=int, help="training images, at most 45000")
    parser.add_argument("--epochs", type=int, help="of every training but the healing")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--gamma", type=float, default=GAMMA)
    parser.add_argument("--price", type=float, default=PRICE)
    parser.add_argument("--redraw", action="store_true", help="the table again from the JSON file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--accelerator", default="cpu", choices=["auto", "cpu", "gpu", "mps"])
    parser.add_argument("--precision", default="32-true", choices=["32-true", "bf16-mixed"])
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 for torch's own choice")
    parser.add_argument("--folder", type=Path, default=Path("runs/skips"), help="checkpoints")
    args = parser.parse_args()
    if args.data is None and not args.redraw:
        parser.error("CIFAR-10 needs --data DIRECTORY")
    for key, value in (REDUCED if args.reduced else FULL).items():
        if getattr(args, key) is None:
            setattr(args, key, value)
    path = Path(__file__).with_name("cifar.json")
    rows = gather(path, () if args.redraw else run(args), ("way", *SETTINGS))
    print(tell([r for r in rows if all(r[key] == getattr(args, key) for key in SETTINGS)]))


if __name__ == "__main__":
    main()
