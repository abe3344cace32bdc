"""A GPT-2 of 12 branches: next-token loss at every depth with and without stage costs, cut, healed, beside plain ones.

    python -m experiments.language.depths

Trains it plainly and with stage costs, cuts it to 6 and to 4 branches, heals each cut for a third of the updates on
the loss of the output alone, and trains plain GPT-2s of 1 to 4 blocks for all of them. Writes depths.json beside this
file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.language.gpt2 import (
    BLOCKS,
    arguments,
    described,
    difference,
    losses,
    network,
    problem,
    seconds_per_step,
    tokens_per_second,
    train,
)
from experiments.language.text import load
from node_oc import store
from node_oc.cropping import crop
from node_oc.diagnosis.profile import profile
from node_oc.discretization.network import Network
from node_oc.training.heal import HEALING

GAMMAS = (0.0, 0.3)
CUTS = (6, 4)
PLAIN = (3, 2, 1, 4)  # blocks

FILE = Path(__file__).with_suffix(".json")


def run(args: Any) -> dict[str, Any]:
    """All trainings and measurements of one seed."""
    text = load()
    row: dict[str, Any] = {**described(text, args), "deep": [], "cut": [], "plain": []}
    timed: dict[str, Network] = {}
    for gamma in GAMMAS:
        net = network(BLOCKS, args.seed)
        what = problem(gamma, text)
        train(net, what, text, f"deep-{gamma:g}", args.updates, args.folder, args.seed)
        seen = profile(net, what, text.test, "language")
        row["deep"].append({"gamma": gamma, "draws": what.draws, "loss": seen.metric, "increment": seen.increment})
        timed.setdefault("12 branches", net)
        for depth in CUTS:
            small = crop(net, depth=depth)
            raw = losses(small, text)
            updates = round(HEALING * args.updates)
            train(small, problem(0.0, text), text, f"healed-{gamma:g}-{depth}", updates, args.folder, args.seed)
            timed[f"cut to {depth}"] = small
            row["cut"].append({"gamma": gamma, "depth": depth, "raw": float(raw.mean()), "losses": losses(small, text)})
    for blocks in PLAIN:
        net = network(blocks, args.seed)
        train(net, problem(0.0, text), text, f"plain-{blocks}", args.updates, args.folder, args.seed)
        timed[f"plain {2 * blocks}"] = net
        row["plain"].append({"depth": 2 * blocks, "losses": losses(net, text)})
    plain = {one["depth"]: one["losses"] for one in row["plain"]}
    for one in row["cut"]:
        one["less plain"] = difference(one["losses"], plain[one["depth"]])
    for one in (*row["cut"], *row["plain"]):
        one["loss"] = float(one.pop("losses").mean())
    row["tokens a second"] = tokens_per_second(timed, text)
    row["seconds a step"] = seconds_per_step(text, max(GAMMAS))
    return row


def show(row: dict[str, Any]) -> None:
    """The tables of README.md."""
    print("| branches on | " + " | ".join(map(str, range(2 * BLOCKS + 1))) + " |\n" + "|---" * (2 * BLOCKS + 2) + "|")
    for one in row["deep"]:
        print(f"| gamma = {one['gamma']:g} | " + " | ".join(f"{loss:.3f}" for loss in one["loss"]) + " |")
    print("\n| branches | way | cut | healed | healed less plain |\n|---|---|---|---|---|")
    for one in sorted(row["cut"], key=lambda one: -one["depth"]):
        d = one["less plain"]
        print(f"| {one['depth']} | gamma = {one['gamma']:g} | {one['raw']:.3f} | {one['loss']:.3f} "
              f"| {d['mean']:+.3f} ± {d['half']:.3f} |")  # fmt: skip
    for one in sorted(row["plain"], key=lambda one: -one["depth"]):
        print(f"| {one['depth']} | plain, whole training | | {one['loss']:.3f} | |")
    print("\n| network | tokens a second |\n|---|---|")
    for name, speed in row["tokens a second"].items():
        print(f"| {name} | {speed:,.0f} |")
    print("\n| training step | seconds | over a plain one |\n|---|---|---|")
    for name, seconds in row["seconds a step"].items():
        print(f"| {name} | {seconds:.2f} | {seconds / row['seconds a step']['plain']:.2f} |")


def main() -> None:
    """Run, write, print."""
    args = arguments(__doc__)
    if not args.redraw:
        store.write_json(FILE, run(args))
    show(store.read_json(FILE))


if __name__ == "__main__":
    main()
