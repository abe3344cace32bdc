"""MNIST, ResNet-v2 with 3 stages of 6 blocks, 8, 16 and 32 channels: half of the blocks cut without retraining.

    python -m experiments.skips.mnist --data DIRECTORY

Three trainings of 3 epochs: stage costs and price, stage costs, neither. Of each the loss and the accuracy at every
depth, and what half of its blocks carry, by every rule, as they are and healed for one epoch. Beside them plain
networks of 1 to 4 blocks a stage with the same epochs. Writes mnist.json beside this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.skips.cuts import INFLUENCE, LAST, NORM, TAILS, Bench, arguments, gather
from experiments.skips.network import adopted
from node_oc import store
from node_oc.config import TrainingSection
from node_oc.cropping import crop
from node_oc.data import idx
from node_oc.diagnosis import profile
from node_oc.problem.ocp import Problem, group_norms
from node_oc.training.active import SHRINKING
from node_oc.training.batches import training_updates
from node_oc.training.heal import HEALING

IMAGE, CHANNELS, BLOCKS = (1, 28, 28), (8, 16, 32), 6
EPOCHS, HALF = 3, 9
GAMMA, PRICE, RAISED = 1.0, 0.1, 1.0
PLAIN = (1, 2, 3, 4)
STAGED, REFITTED = "gamma1-price0.1-refit", "gamma1-price0.1-terminal"  # what the last 30 % of the updates minimise


def bench(seed: int, data: Path, folder: Path) -> tuple[Bench, Problem, int]:
    """Samples and options of a seed, the problem with stage costs, and the updates of a whole training."""
    settings = TrainingSection(epochs=EPOCHS, min_updates=0, batch=64, learning_rate=2e-3, seed=seed, threads=1,
                               checkpoint_seconds=60.0)  # fmt: skip
    split = idx(data)
    made = Bench(split, settings, folder / "mnist" / str(seed))
    return made, Problem.classification(10, stage_weight=GAMMA), training_updates(settings, len(split.train))


def run(here: Bench, problem: Problem, updates: int, only: list[str] | None) -> Iterator[dict[str, Any]]:
    """The rows of one seed; accuracies in %."""
    seed, shrinking = here.options.seed, round(SHRINKING * updates)
    tasks = {STAGED: problem, REFITTED: problem.terminal_only(), "plain": problem.terminal_only(), "gamma1": problem}
    for way, task in tasks.items():
        if only and way not in only:
            continue
        network, told, priced = adopted(IMAGE, BLOCKS, CHANNELS, seed), {"told": None, "seconds": 0.0}, "price" in way
        if priced:
            network, told = here.shrink("gamma1-price0.1", network, problem.priced(PRICE), shrinking, HALF, RAISED)
        network, last = here.train(way, network, task, updates - shrinking if priced else updates)
        seen = profile(network, problem, here.split.test, "classification")
        row: dict[str, Any] = {
            "seed": seed, "way": way, "test": here.test(network), "awake": list(network.awake),
            "norms": group_norms(network).tolist(),
            "seconds": told["seconds"] + last["seconds"], "norms at the price": told["told"],
            "loss": list(seen.terminal), "accuracy": [100 * a for a in seen.metric], "cuts": [],
        }  # fmt: skip
        for rule in (NORM, TAILS) if way != "plain" else (LAST, TAILS, INFLUENCE, NORM):
            steps = here.order(rule, network, HALF)
            raw = here.test(crop(network, steps=steps))
            print(way, rule, steps, f"{raw:.2f}", flush=True)
            row["cuts"].append({"rule": rule, "steps": steps, "raw": raw})
        yield row
        for cut in row["cuts"][: 3 if way == "plain" else 1]:
            label = f"{way}-{cut['rule']}-healed".replace(" ", "")
            small = here.healed(label, network, cut["steps"], problem, round(HEALING * updates))
            cut["healed"] = here.test(small)
        yield row
    for blocks in PLAIN:
        if not only or f"plain-{blocks}" in only:
            small, told = here.train(f"plain-{blocks}", adopted(IMAGE, blocks, CHANNELS, seed),
                                     problem.terminal_only(), updates)  # fmt: skip
            yield {"seed": seed, "way": f"plain-{blocks}", "test": here.test(small),
                   "seconds": told["seconds"]}  # fmt: skip


def tell(rows: list[dict[str, Any]]) -> str:
    """The tables of README.md."""
    lines = ["| network | 18 blocks | zero blocks | rule | 9 blocks left | as they are | healed |", "|---" * 7 + "|"]
    for r in (r for r in rows if "cuts" in r):
        zero = " ".join(str(k) for k in range(len(r["norms"])) if k not in r["awake"]) or "none"
        for i, cut in enumerate(r["cuts"]):
            first = [r["way"], f"{r['test']:.2f}", zero] if i == 0 else ["", "", ""]
            healed = f"{cut['healed']:.2f}" if "healed" in cut else ""
            told = [cut["rule"], " ".join(map(str, cut["steps"])), f"{cut['raw']:.2f}", healed]
            lines.append("| " + " | ".join(first + told) + " |")
    lines += ["", "| plain, blocks a stage | blocks | test accuracy | minutes |", "|---" * 4 + "|"]
    for r in (r for r in rows if "cuts" not in r):
        blocks = int(r["way"].removeprefix("plain-"))
        lines.append(f"| {blocks} | {3 * blocks} | {r['test']:.2f} | {r['seconds'] / 60:.1f} |")
    lines += ["", "| depth k | " + " | ".join(map(str, range(3 * BLOCKS + 1))) + " |", "|---" * (3 * BLOCKS + 2) + "|"]
    for r in (r for r in rows if "cuts" in r):
        for name, digits in (("accuracy", 1), ("loss", 2)):
            lines.append(f"| {r['way']}, {name} | " + " | ".join(f"{v:.{digits}f}" for v in r[name]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run, write JSON, print the tables."""
    args, path = arguments(__doc__), Path(__file__).with_name("mnist.json")
    for seed in () if args.redraw else args.seeds:
        gather(path, run(*bench(seed, args.data, args.folder), args.ways), ("seed", "way"))
    for seed in args.seeds:
        print(tell([row for row in store.read_json(path) if row["seed"] == seed]))


if __name__ == "__main__":
    main()
