"""How the constants of growth were chosen: one at a time, the same for all sets, on validation data.

    python -m experiments.growth.choices --data DIRECTORY

Each variant changes one thing of the defaults. Spirals, spirals of three turns, digits (3 seeds) and MNIST (1). Writes
choices.json beside this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from experiments.growth.account import spread, threads
from experiments.headline.sets import accuracy, configure, gather, options
from node_oc.pipeline import load_split, make_network, make_problem
from node_oc.search import GrowthSearch, grow
from node_oc.training import growing
from node_oc.training.batches import training_updates

SETS = ("spirals", "spirals-3-turns", "digits", "mnist")
SEEDS = {"spirals": 3, "spirals-3-turns": 3, "digits": 3, "mnist": 1}
VARIANTS: dict[str, tuple[str, float]] = {
    "as it is": ("WINDOW", 0.1),
    "start with 1 layer": ("START", 1), "start with 4 layers": ("START", 4),
    "windows of 0.05": ("WINDOW", 0.05), "windows of 0.15": ("WINDOW", 0.15),
    "average over 0.05 of a window": ("AVERAGED", 0.05), "average over 0.5 of a window": ("AVERAGED", 0.5),
    "refit of 0.3": ("REFIT", 0.3), "refit of 0.7": ("REFIT", 0.7),
    "price 0.03 while growing": ("price", 0.03), "price 0.1 while growing": ("price", 0.1),
    "terminal cost only": ("stage", 0.0),
}  # fmt: skip


def one(name: str, seed: int, data: str | None, folder: Path) -> list[dict[str, Any]]:
    """Every variant on one seed; nothing is kept in the folder."""
    threads()
    config = configure(name, seed, data)
    split, rows = load_split(config), []
    for variant, (what, value) in VARIANTS.items():
        problem = make_problem(config, split)
        problem = problem.terminal_only() if what == "stage" else problem
        module = growing if what == "AVERAGED" else grow
        before = getattr(module, what, None)
        if before is not None:
            setattr(module, what, value)
        search = GrowthSearch(problem, split, config.training, config.search)
        if what == "price":
            search._windows.problem = problem.priced(value)
        found = search.run(make_network(config, split))
        if before is not None:
            setattr(module, what, before)
        windows = found.growth.windows if found.growth else ()
        work = sum(w.updates * len(w.steps) for w in windows) / training_updates(config.training, len(split.train))
        rows.append({"set": name, "seed": seed, "variant": variant, "depth": found.depth, "work": work,
                     "validation": accuracy(found.network, split, "val")})  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def tell(rows: list[dict[str, Any]]) -> str:
    """A table in Markdown: depths, validation accuracy and work of every variant."""
    have = [name for name in SETS if any(row["set"] == name for row in rows)]
    lines = [f"| | {' | '.join(have)} |", "|---" * (len(have) + 1) + "|"]
    for variant in VARIANTS:
        cells = []
        for name in have:
            mine = [row for row in rows if row["set"] == name and row["variant"] == variant]
            cells.append(f"{spread(row['depth'] for row in mine)}: {np.mean([row['validation'] for row in mine]):.2f}, "
                         f"{np.mean([row['work'] for row in mine]):.1f}")  # fmt: skip
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run, print the table, write JSON."""
    args = options(__doc__, SETS, "runs/growth")
    print(tell(gather(args, Path(__file__).with_name("choices.json"), one, SEEDS)))


if __name__ == "__main__":
    main()
