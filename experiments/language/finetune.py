"""A plainly trained GPT-2, shortened with a quarter of its updates: stage costs, drop-last, block influence.

    python -m experiments.language.finetune

The network is the one that experiments.language.depths trained with gamma = 0, in the place of a pretrained one. Every
way has the same 300 updates at the same rate: all before the cut with stage costs; half before it with stage costs and
half after it on the output alone; or all after it on the output alone, the branches chosen before. Writes finetune.json
beside this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from experiments.language.gpt2 import BLOCKS, arguments, described, difference, losses, network, problem, train
from experiments.language.text import load
from node_oc import store
from node_oc.cropping import crop
from node_oc.data.split import Part
from node_oc.discretization.network import Network
from node_oc.search.influence import block_influence

SHARE = 0.25  # of the updates of a whole training
GAMMAS = (1.0,)
CUTS = (6, 4)

FILE = Path(__file__).with_suffix(".json")


def run(args: Any) -> dict[str, Any]:
    """All ways of one seed."""
    text = load()
    updates = round(SHARE * args.updates)
    base = network(BLOCKS, args.seed)
    train(base, problem(0.0, text), text, "deep-0", args.updates, args.folder, args.seed)
    start = {name: value.clone() for name, value in base.state_dict().items()}
    row = {**described(text, args), "updates": updates, "start": float(losses(base, text).mean()), "ways": []}
    found: dict[tuple[str, int], Any] = {}

    def fresh() -> Network:
        net = network(BLOCKS, args.seed)
        net.load_state_dict(start)
        return net

    def tune(net: Network, gamma: float, name: str, share: int) -> Network:
        train(net, problem(gamma, text), text, f"tuned-{name}", share, args.folder, args.seed)
        return net

    def note(way: str, steps: list[int], small: Network, raw: Network | None, whole: Network | None) -> None:
        found[way, len(steps)] = now = losses(small, text)
        row["ways"].append({
            "way": way, "branches": len(steps), "kept": steps, "loss": float(now.mean()),
            "cut": float(losses(raw, text).mean()) if raw else None,
            "whole": float(losses(whole, text).mean()) if whole else None,
        })  # fmt: skip

    few = Part(text.train.x[:512], text.train.y[:512])
    influence = block_influence(base, few)
    row["influence"] = influence
    ranked = sorted(range(2 * BLOCKS), key=lambda k: -influence[k])
    for depth in CUTS:
        for way, steps in (("drop last", list(range(depth))), ("block influence", sorted(ranked[:depth]))):
            raw = crop(base, steps=steps)
            small = tune(crop(base, steps=steps), 0.0, f"{way.replace(' ', '-')}-{depth}", updates)
            note(way, steps, small, raw, base)
    for gamma in GAMMAS:
        net = tune(fresh(), gamma, f"stage-{gamma:g}", updates)
        for depth in CUTS:
            small = crop(net, depth=depth)
            note(f"stage costs, gamma = {gamma:g}", list(range(depth)), small, small, net)
        net = tune(fresh(), gamma, f"half-{gamma:g}", updates // 2)
        for depth in CUTS:
            raw, small = crop(net, depth=depth), crop(net, depth=depth)
            small = tune(small, 0.0, f"half-{gamma:g}-{depth}", updates - updates // 2)
            note(f"half stage costs, gamma = {gamma:g}, half healing", list(range(depth)), small, raw, net)
    for one in row["ways"]:
        one["less drop last"] = difference(found[one["way"], one["branches"]], found["drop last", one["branches"]])
    return row


def show(row: dict[str, Any]) -> None:
    """The table of README.md."""
    print(f"Before: {row['start']:.3f}.\n\n| branches | way | kept | whole | just cut | at the end | less drop last |\n"
          + "|---" * 7 + "|")  # fmt: skip
    for one in sorted(row["ways"], key=lambda one: (-one["branches"], one["loss"])):
        d = one["less drop last"]
        print(f"| {one['branches']} | {one['way']} | {', '.join(map(str, one['kept']))} | {one['whole']:.3f} "
              f"| {one['cut']:.3f} | {one['loss']:.3f} | {d['mean']:+.3f} ± {d['half']:.3f} |")  # fmt: skip


def main() -> None:
    """Run, write, print."""
    args = arguments(__doc__)
    if not args.redraw:
        with torch.random.fork_rng([]):
            store.write_json(FILE, run(args))
    show(store.read_json(FILE))


if __name__ == "__main__":
    main()
