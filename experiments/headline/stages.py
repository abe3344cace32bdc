"""MNIST, convolutional: the first m blocks of every stage instead of the first M blocks of all, healed.

    python -m experiments.headline.stages --data DIRECTORY

The network trained with stage costs, cut and healed as in every_depth. Writes stages.json beside this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.headline.sets import accuracy, configure, gather, options, searching
from node_oc.cropping import crop
from node_oc.training.heal import heal

SETS = ("mnist-conv",)
CUTS = (1, 2)


def one(name: str, seed: int, data: str | None, folder: Path) -> list[dict[str, Any]]:
    """One seed; accuracies in %."""
    where = folder / name / str(seed)
    search, split, network = searching(configure(name, seed, data), where)
    search.train_reference(network)
    stage = network.system.stage
    rows = []
    for m in CUTS:
        steps = [k for k in range(network.depth) if k - stage.index(stage[k]) < m]  # type: ignore[union-attr,operator]
        small = crop(network, steps=steps)
        raw = accuracy(small, split)
        small.system.release_()
        heal(small, search.problem, split.train, search.training, name=f"spread-{m}", folder=where / "compare")
        rows.append({"set": name, "seed": seed, "steps": steps, "raw": raw, "validation": accuracy(small, split, "val"),
                     "test": accuracy(small, split)})  # fmt: skip
    return rows


def main() -> None:
    """Run, print the table of README.md."""
    rows = gather(options(__doc__, SETS), Path(__file__).with_suffix(".json"), one, {"mnist-conv": 1})
    print("| blocks kept | unhealed | healed, validation | healed, test |\n|---|---|---|---|")
    for r in rows:
        print(f"| {', '.join(map(str, r['steps']))} | {r['raw']:.2f} | {r['validation']:.2f} | {r['test']:.2f} |")


if __name__ == "__main__":
    main()
