"""Healing towards the labels or towards the full network's outputs: which is better on validation data?

    python -m experiments.headline.distillation --data DIRECTORY

Every set is trained once a seed; its network at the price that the budget allows is cut at M = 1, 2, 3, 4 of its
awake steps and healed both ways, with the same number of updates. Writes distillation.json beside this file.
"""

from __future__ import annotations

import copy
from pathlib import Path

from experiments.headline.sets import accuracy, configure, gather, mean_interval, options, searching
from node_oc.cropping import awake_steps, crop
from node_oc.diagnosis import outputs
from node_oc.training.heal import heal

SETS = ("spirals", "spirals-3-turns", "digits", "mnist")
SEEDS = {"spirals": 5, "spirals-3-turns": 3, "digits": 6, "mnist": 3}
CUTS = (1, 2, 3, 4)


def one(name: str, seed: int, data: str | None, folder: Path) -> list[dict[str, object]]:
    """Both ways at every cut of one training."""
    config = configure(name, seed, data, **{"search.plain": False})
    search, split, network = searching(config, folder / name / str(seed))
    found = search.run(network)
    steps = awake_steps(found.source)
    teacher = outputs(found.reference, split.train.x)
    rows: list[dict[str, object]] = []
    for cut in (m for m in CUTS if m <= len(steps)):
        for way, targets in (("labels", None), ("outputs", teacher)):
            small = crop(copy.deepcopy(found.source), steps=steps[:cut])
            small.system.release_()
            heal(small, search.problem, split.train, config.training, name=f"{way}-{cut}", teacher=targets,
                 folder=folder / name / str(seed) / "distillation")  # fmt: skip
            rows.append({"set": name, "seed": seed, "layers": cut, "way": way,
                         "validation": accuracy(small, split, "val"), "test": accuracy(small, split)})  # fmt: skip
    return rows


def main() -> None:
    """Run all, print the table of README.md."""
    args = options(__doc__, SETS)
    rows = gather(args, Path(__file__).with_suffix(".json"), one, SEEDS)
    print("| set | layers | seeds | labels | outputs | outputs less labels, validation | the same on test data |")
    print("|---|---|---|---|---|---|---|")
    for name in args.sets:
        for cut in CUTS:
            ours = [r for r in rows if (r["set"], r["layers"]) == (name, cut)]
            by = {way: [r for r in ours if r["way"] == way] for way in ("labels", "outputs")}
            if not by["labels"]:
                continue
            cells = [f"{mean_interval(r['validation'] for r in by[way])[0]:.2f}" for way in by]  # type: ignore[misc]
            for part in ("validation", "test"):
                pairs = zip(by["outputs"], by["labels"], strict=True)
                mean, half = mean_interval(float(a[part]) - float(b[part]) for a, b in pairs)  # type: ignore[arg-type]
                cells.append(f"{mean:+.2f} ± {half:.2f}")
            print(f"| {name} | {cut} | {len(by['labels'])} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
