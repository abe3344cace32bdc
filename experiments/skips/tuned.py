"""A network that was trained plainly first, fine-tuned for a quarter of its epochs, and cut to a half and to a third.

    python -m experiments.skips.tuned --data DIRECTORY

The plain network of experiments.skips.mnist (its training is read from the same folder where it is there). Every way
has the same updates, a quarter of those that trained the network. The baselines cut first and use all of them for the
terminal cost. Ours use all before the cut, with stage costs and price; or half of them before the cut and half behind
it for the terminal cost. Writes tuned.json beside this file.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.skips.cuts import INFLUENCE, LAST, NORM, TAILS, Bench, arguments, gather
from experiments.skips.mnist import BLOCKS, CHANNELS, IMAGE, RAISED, bench
from experiments.skips.network import adopted
from node_oc import store
from node_oc.cropping import crop
from node_oc.problem.ocp import Problem

SHARE = 0.25
LEFT = (9, 6)


def run(here: Bench, problem: Problem, whole: int) -> Iterator[dict[str, Any]]:
    """The rows of one seed; accuracies in %."""
    seed = here.options.seed
    plain, _ = here.train("plain", adopted(IMAGE, BLOCKS, CHANNELS, seed), problem.terminal_only(), whole)
    updates = round(SHARE * whole)
    half = updates // 2

    def row(way: str, blocks: int, steps: list[int], raw: float, test: float) -> dict[str, Any]:
        print(way, blocks, steps, f"{raw:.2f} {test:.2f}", flush=True)
        return {"seed": seed, "way": way, "updates": updates, "blocks": blocks, "steps": steps, "raw": raw,
                "test": test}  # fmt: skip

    both, staged = problem.priced(RAISED), problem
    ours = (("stage costs and price, half before, half behind", both, half, NORM),
            ("stage costs and price, all before", both, updates, NORM),
            ("stage costs, half before, half behind", staged, half, TAILS))  # fmt: skip
    for blocks in LEFT:
        for rule in (TAILS, INFLUENCE, LAST):
            steps = here.order(rule, plain, blocks)
            label = f"tuned-{rule}-{blocks}".replace(" ", "")
            healed = here.healed(label, plain, steps, problem, updates)
            yield row(rule, blocks, steps, here.test(crop(plain, steps=steps)), here.test(healed))
        for way, task, before, rule in ours:
            label = "tuned-price" if task.group_price else "tuned-stage"
            tuned, _ = here.train(f"{label}-{before}", copy.deepcopy(plain), task, before)
            steps = here.order(rule, tuned, blocks)
            small = crop(tuned, steps=steps)
            raw = here.test(small)
            if before < updates:
                small = here.healed(f"{label}-{blocks}-healed", tuned, steps, problem, updates - before)
            yield row(f"{way}; {rule}", blocks, steps, raw, here.test(small))


def tell(rows: list[dict[str, Any]]) -> str:
    """The table of README.md."""
    lines = ["| way | blocks | left | cut, as it is | with all its updates |", "|---" * 5 + "|"]
    for r in sorted(rows, key=lambda r: (-r["blocks"], -r["test"])):
        left = " ".join(map(str, r["steps"]))
        lines.append(f"| {r['way']} | {r['blocks']} | {left} | {r['raw']:.2f} | {r['test']:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Run, write JSON, print the table."""
    args, path = arguments(__doc__), Path(__file__).with_name("tuned.json")
    for seed in () if args.redraw else args.seeds:
        gather(path, run(*bench(seed, args.data, args.folder)), ("seed", "way", "blocks"))
    for seed in args.seeds:
        print(tell([row for row in store.read_json(path) if row["seed"] == seed]))


if __name__ == "__main__":
    main()
