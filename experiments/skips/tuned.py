"""A network that was trained plainly first, fine-tuned for a quarter of its epochs, and cut to a half and to a third.

    python -m experiments.skips.tuned --data DIRECTORY

The plain network of experiments.skips.mnist (its training is read from the same folder where it is there). Every way
has the same updates, a quarter of those that trained the network. The baselines cut first and use all of them for the
terminal cost. Ours use all, a half or a quarter of them before the cut, with stage costs and price, and the others
behind it for the terminal cost. Writes tuned.json beside this file.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.skips.cuts import INFLUENCE, LAST, NORM, TAILS, Bench, arguments, gather
from experiments.skips.mnist import BLOCKS, CHANNELS, IMAGE, bench
from experiments.skips.network import adopted
from node_oc import store
from node_oc.cropping import crop
from node_oc.discretization.network import Network
from node_oc.problem.ocp import Problem

SHARE = 0.25
LEFT = (9, 6)
# gamma, price, and which part of the updates comes before the cut
OURS = ((0.3, 0.5, 2), (0.3, 0.5, 1), (0.3, 0.0, 2), (0.3, 0.5, 4), (0.1, 0.2, 2))


def run(here: Bench, whole: int, only: list[str] | None) -> Iterator[dict[str, Any]]:
    """The rows of one seed; accuracies in %."""
    seed, problem = here.options.seed, Problem.classification(10)
    plain, _ = here.train("plain", adopted(IMAGE, BLOCKS, CHANNELS, seed), problem.terminal_only(), whole)
    updates = round(SHARE * whole)

    def row(way: str, blocks: int, steps: list[int], cut: Network, last: Network) -> dict[str, Any]:
        raw = here.test(cut)
        made = {"seed": seed, "way": way, "updates": updates, "blocks": blocks, "steps": steps, "raw": raw,
                "validation": here.validate(last), "test": raw if last is cut else here.test(last)}  # fmt: skip
        print(way, blocks, steps, f"{made['raw']:.2f} {made['test']:.2f}", flush=True)
        return made

    for blocks in LEFT:
        for rule in (TAILS, INFLUENCE, LAST):
            if only and rule not in only:
                continue
            steps = here.order(rule, plain, blocks)
            label = f"tuned-{rule}-{blocks}".replace(" ", "")
            yield row(rule, blocks, steps, crop(plain, steps=steps),
                      here.healed(label, plain, steps, problem, updates))  # fmt: skip
        for gamma, price, parts in OURS:
            way, before = f"gamma {gamma:g}, price {price:g}, 1/{parts} before", updates // parts
            if only and way not in only:
                continue
            label, rule = f"tuned-gamma{gamma:g}-price{price:g}-{before}", NORM if price else TAILS
            staged = Problem.classification(10, stage_weight=gamma).priced(price)
            tuned, _ = here.train(label, copy.deepcopy(plain), staged, before)
            tuned.system.release_()
            steps = here.order(rule, tuned, blocks)
            cut = last = crop(tuned, steps=steps)
            if before < updates:
                last = here.healed(f"{label}-{blocks}-healed", tuned, steps, problem, updates - before)
            yield row(f"{way}; {rule}", blocks, steps, cut, last)


def tell(rows: list[dict[str, Any]]) -> str:
    """The table of README.md."""
    lines = ["| way | blocks | left | cut, as it is | with all its updates | validation |", "|---" * 6 + "|"]
    for r in sorted(rows, key=lambda r: (-r["blocks"], -r["test"])):
        left = " ".join(map(str, r["steps"]))
        told = " | ".join(f"{r[name]:.2f}" if name in r else "not taken" for name in ("raw", "test", "validation"))
        lines.append(f"| {r['way']} | {r['blocks']} | {left} | {told} |")
    return "\n".join(lines)


def main() -> None:
    """Run, write JSON, print the table."""
    args, path = arguments(__doc__), Path(__file__).with_name("tuned.json")
    for seed in () if args.redraw else args.seeds:
        here, _, whole = bench(seed, args.data, args.folder)
        gather(path, run(here, whole, args.ways), ("seed", "way", "blocks"))
    for seed in args.seeds:
        print(tell([row for row in store.read_json(path) if row["seed"] == seed]))


if __name__ == "__main__":
    main()
