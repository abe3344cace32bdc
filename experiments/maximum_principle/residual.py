"""A residual network of ternary weights, trained with stage costs and a price, cropped and healed; on digits.

    python -m experiments.maximum_principle.residual --seeds 0 1 2

8 steps of width 64, gains and offsets of the batch norms, lift and head real; MSA in every training of the search
(node_oc.DepthSearch): the price raised from a warm start, the crop, the healing, and a plain network of the depth
found. 1 - alpha = 0.01, as a training has 1,000 updates alone; the budget is 1.5 points, as 359 images validate. Adds
its rows to residual.json beside this file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from experiments.headline.sets import accuracy, configure, searching
from experiments.maximum_principle.results import gather, read
from experiments.maximum_principle.tables import spread
from node_oc.cropping import crop
from node_oc.discretization import Network

SETTINGS = {
    "system.kind": "discrete_residual", "system.values": "ternary", "system.depth": 8, "system.width": 64,
    "system.hidden": 64, "training.msa_rho": 0.25, "training.msa_forget": 0.01, "search.way": "cut",
    "search.budget": 0.015,
}  # fmt: skip


def one(seed: int, folder: Path) -> dict[str, Any]:
    """The search of one seed; test accuracies in %."""
    search, split, network = searching(configure("digits", seed, **SETTINGS), folder / "residual" / str(seed))
    found = search.run(network)

    def told(net: Network) -> dict[str, float]:
        layers = [layer for k in net.awake for layer in net.system.discrete(k)]
        count = sum(layer.weight.numel() for layer in layers)
        return {"steps": len(net.awake), "test": accuracy(net, split), "validation": accuracy(net, split, "val"),
                "nonzero": sum(layer.nonzero * layer.weight.numel() for layer in layers) / max(1, count)}  # fmt: skip

    raw = crop(found.source, steps=found.source.awake[: found.depth])
    networks = {"full": found.reference, "source": found.source, "raw": raw, "cropped": found.network,
                "plain": found.plain}  # fmt: skip
    prices = [priced.sparse.price for priced in found.priced if priced.inside]
    return {"seed": seed, "depth": found.depth, "price": max(prices, default=0.0)} | {
        name: None if net is None else told(net) for name, net in networks.items()}  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """In Markdown: mean over the seeds, least and largest."""
    lines = ["| network | steps | test accuracy in % | non-zero |", "|---" * 4 + "|"]
    names = {
        "full": "8 steps, price 0",
        "source": "8 steps, at the largest price within the budget",
        "raw": "its first steps, not healed",
        "cropped": "cropped and healed",
        "plain": "plain, of that depth",
    }
    for key, name in names.items():
        these = [row[key] for row in rows if row[key]]
        steps = ", ".join(str(each["steps"]) for each in these)
        lines.append(f"| {name} | {steps} | {spread([each['test'] for each in these])} | "
                     f"{spread([each['nonzero'] for each in these], '.0%')} |")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Search, write JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=Path("runs/maximum_principle"), help="checkpoints")
    args = parser.parse_args()
    gather("residual.json", (one(seed, args.folder) for seed in args.seeds), ("seed",))
    print(table(read("residual.json")))


if __name__ == "__main__":
    main()
