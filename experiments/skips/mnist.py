"""MNIST, ResNet-v2 with 3 stages of 6 blocks, 8, 16 and 32 channels: half of the blocks cut without retraining.

    python -m experiments.skips.mnist --data DIRECTORY --choose
    python -m experiments.skips.mnist --data DIRECTORY

Three trainings of 3 epochs: stage costs and price, stage costs, neither. Of each the loss and the accuracy at every
depth, and what half of its blocks carry, by every rule, as they are and healed for one epoch. Beside them plain
networks of 1 to 4 blocks a stage with the same epochs. gamma and price are those of ``--choose``: trainings of a third
of the epochs, looked at with validation data alone. Write mnist.json and mnist_choice.json beside this file.
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
CANDIDATES = ((1.0, 1.0), (0.3, 0.5), (0.1, 0.5), (0.3, 0.3))  # gamma and price, in the order in which they were tried
GAMMA, PRICE = 0.3, 0.5  # the best of those that put about half of the blocks to sleep
PLAIN = (1, 2, 3, 4)
PRICED, STAGED = f"gamma{GAMMA:g}-price{PRICE:g}", f"gamma{GAMMA:g}"
RULES = (LAST, TAILS, INFLUENCE, NORM)


def bench(seed: int, data: Path, folder: Path) -> tuple[Bench, Problem, int]:
    """Samples and options of a seed, the problem with stage costs, and the updates of a whole training."""
    settings = TrainingSection(epochs=EPOCHS, min_updates=0, batch=64, learning_rate=2e-3, seed=seed, threads=1,
                               checkpoint_seconds=60.0)  # fmt: skip
    split = idx(data)
    made = Bench(split, settings, folder / "mnist" / str(seed))
    return made, Problem.classification(10, stage_weight=GAMMA), training_updates(settings, len(split.train))


def choose(here: Bench, whole: int) -> Iterator[dict[str, Any]]:
    """What each setting gives in a third of the epochs; accuracies in %, of validation data."""
    seed, updates = here.options.seed, whole // 3
    shrinking = round(SHRINKING * updates)
    for gamma, price in CANDIDATES:
        problem, label = Problem.classification(10, stage_weight=gamma), f"choice-gamma{gamma:g}-price{price:g}"
        network, told = here.shrink(label, adopted(IMAGE, BLOCKS, CHANNELS, seed), problem.priced(price), shrinking,
                                    HALF, ratios=False)  # fmt: skip
        network, last = here.train(f"{label}-refit", network, problem.terminal_only(), updates - shrinking)
        yield {"seed": seed, "gamma": gamma, "price": price, "validation": here.validate(network),
               "awake": list(network.awake), **told["told"], "seconds": told["seconds"] + last["seconds"]}  # fmt: skip


def run(here: Bench, problem: Problem, updates: int, only: list[str] | None) -> Iterator[dict[str, Any]]:
    """The rows of one seed; accuracies in %."""
    seed, shrinking = here.options.seed, round(SHRINKING * updates)
    tasks = {PRICED: problem.priced(PRICE), "plain": problem.terminal_only(), STAGED: problem}
    for way, task in tasks.items():
        if only and way not in only:
            continue
        network, last = adopted(IMAGE, BLOCKS, CHANNELS, seed), updates
        told: dict[str, Any] = {"seconds": 0.0, "told": None}
        if task.group_price:
            network, told = here.shrink(way, network, task, shrinking, HALF)
            task, last = problem.terminal_only(), updates - shrinking
        network, meta = here.train(way, network, task, last)
        seen = profile(network, problem, here.split.test, "classification")
        row: dict[str, Any] = {
            "seed": seed, "way": way, "validation": here.validate(network), "test": here.test(network),
            "awake": list(network.awake), "norms": group_norms(network).tolist(), "shrunk": told["told"],
            "seconds": told["seconds"] + meta["seconds"],
            "loss": list(seen.terminal), "accuracy": [100 * a for a in seen.metric], "cuts": [],
        }  # fmt: skip
        for rule in (NORM,) if way == PRICED else RULES:
            steps = here.order(rule, network, min(HALF, len(network.awake)))
            small = crop(network, steps=steps)
            row["cuts"].append({"rule": rule, "steps": steps, "validation": here.validate(small),
                                "raw": here.test(small)})  # fmt: skip
            print(way, rule, steps, f"{row['cuts'][-1]['raw']:.2f}", flush=True)
        yield row
        best = max(row["cuts"], key=lambda cut: cut["validation"])
        for cut in row["cuts"] if way == "plain" else [best]:
            label = f"{way}-{cut['rule']}-healed".replace(" ", "")
            small = here.healed(label, network, cut["steps"], problem, round(HEALING * updates))
            cut["healed"] = here.test(small)
            yield row
    for blocks in PLAIN:
        if not only or f"plain-{blocks}" in only:
            small, meta = here.train(f"plain-{blocks}", adopted(IMAGE, blocks, CHANNELS, seed),
                                     problem.terminal_only(), updates)  # fmt: skip
            yield {"seed": seed, "way": f"plain-{blocks}", "validation": here.validate(small),
                   "test": here.test(small), "seconds": meta["seconds"]}  # fmt: skip


def told_choice(rows: list[dict[str, Any]]) -> str:
    """The table of what was chosen from."""
    lines = ["| gamma | price | zero by themselves | blocks left | validation accuracy |", "|---" * 5 + "|"]
    for r in rows:
        told = [f"{r['gamma']:g}", f"{r['price']:g}", str(len(r["zero"])), str(len(r["awake"]))]
        lines.append("| " + " | ".join([*told, f"{r['validation']:.2f}"]) + " |")
    return "\n".join(lines)


def tell(rows: list[dict[str, Any]]) -> str:
    """The tables of README.md."""
    lines = ["| network | its accuracy | zero blocks | rule | blocks left | as they are | healed |", "|---" * 7 + "|"]
    for r in (r for r in rows if "cuts" in r):
        zero = " ".join(str(k) for k in range(len(r["norms"])) if k not in r["awake"]) or "none"
        for i, cut in enumerate(r["cuts"]):
            first = [r["way"], f"{r['test']:.2f}", zero] if i == 0 else ["", "", ""]
            healed = f"{cut['healed']:.2f}" if "healed" in cut else "not run"
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
    chosen = path.with_name("mnist_choice.json")
    for seed in () if args.redraw else args.seeds:
        here, problem, updates = bench(seed, args.data, args.folder)
        if args.choose:
            gather(chosen, choose(here, updates), ("seed", "gamma", "price"))
        else:
            gather(path, run(here, problem, updates, args.ways), ("seed", "way"))
    for seed in args.seeds:
        print(told_choice([row for row in store.read_json(chosen) if row["seed"] == seed]), end="\n\n")
        if not args.choose:
            print(tell([row for row in store.read_json(path) if row["seed"] == seed]))


if __name__ == "__main__":
    main()
