"""The same defaults on sets that nothing was tuned on: six of scikit-learn's, as they come.

    python -m experiments.growth.untouched

wine, breast cancer, make_classification at three difficulties (3,000 samples of 54 features, 7 classes, class_sep 2,
1 and 0.5: the shape of covtype), make_moons with noise 0.2 (2,000 samples). 5 seeds: split 60/20/20, weights, batch
order. Every key of the configuration is at its default. Each seed: a growth, an upward sweep, and plain networks of 0
to 8 layers. Writes untouched.json beside this file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets

from experiments.growth.account import beside, spread, threads
from experiments.headline.sets import gather, smallest, written
from node_oc.config import Config
from node_oc.data.prepare import Rows, prepare_rows
from node_oc.data.split import Split

DEPTHS = (0, 1, 2, 3, 4, 8)
MADE = {"made, easy": 2.0, "made, middling": 1.0, "made, hard": 0.5}
SETS = ("wine", "breast cancer", *MADE, "moons")


def load(name: str, seed: int) -> Split:
    """The samples of a set, split by a seed."""
    if name in MADE:
        x, y = datasets.make_classification(3000, 54, n_informative=20, n_redundant=10, n_classes=7,
                                            class_sep=MADE[name], random_state=seed)  # fmt: skip
    elif name == "moons":
        x, y = datasets.make_moons(2000, noise=0.2, random_state=seed)
    else:
        x, y = (datasets.load_wine if name == "wine" else datasets.load_breast_cancer)(return_X_y=True)
    features = tuple(f"x{i}" for i in range(x.shape[1]))
    return prepare_rows(Rows(x, y), task="classification", features=features, standardise="feature", seed=seed)


def one(name: str, seed: int, data: str | None, folder: Path) -> dict[str, Any]:
    """One seed of one set."""
    threads()
    config = Config.load(None, {"training.seed": seed, "training.threads": 1})
    row = beside(config, load(name, seed), folder / name.replace(", ", "-").replace(" ", "-") / str(seed), DEPTHS)
    print(name, seed, row["grow"]["path"], f"{row['grow']['test']:.2f} %, work {row['grow']['work']:.2f}", flush=True)
    return {"set": name, "seed": seed, **row}


def tell(rows: list[dict[str, Any]]) -> str:
    """A table in Markdown: one line a set."""
    heads = ("set", "M*", "grown to", "grow", "plain, that depth", "difference", "plain, M*", "work",
             "over one training", "over the sweep")  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name in (name for name in SETS if any(row["set"] == name for row in rows)):
        mine = [row for row in rows if row["set"] == name]
        truth = smallest({m: [row["plain"][str(m)]["validation"] for row in mine] for m in DEPTHS})
        grow = [row["grow"] for row in mine]
        twins = [row["plain"][str(g["depth"])]["test"] for row, g in zip(mine, grow, strict=True)]
        sweep = sum(row["upwards"]["work"] for row in mine)
        less = [g["test"] - t for g, t in zip(grow, twins, strict=True)]
        work = [g["work"] for g in grow]
        once = np.mean([g["work"] / max(1, g["depth"]) for g in grow])
        best = written([row["plain"][str(truth)]["test"] for row in mine])
        cells = (name, str(truth), spread(g["depth"] for g in grow), written([g["test"] for g in grow]), written(twins),
                 written(less), best, f"{np.mean(work):.2f}", f"{once:.2f}", f"{sum(work) / sweep:.2f}")  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--folder", type=Path, default=Path("runs/growth"))
    parser.add_argument("--redraw", action="store_true", help="the table again from the JSON file")
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time, one thread each")
    parser.set_defaults(data=None)
    rows = gather(parser.parse_args(), Path(__file__).with_name("untouched.json"), one, dict.fromkeys(SETS, 5))
    print(tell(rows))


if __name__ == "__main__":
    main()
