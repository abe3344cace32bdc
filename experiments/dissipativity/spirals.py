"""Spirals, N = 20: layers needed before and after healing, with and without stage costs.

    python -m experiments.dissipativity.spirals [--seeds 5]

Writes spirals.json beside this file and prints the table of README.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from node_oc import store
from node_oc.config import Config
from node_oc.cropping import awake_steps, crop
from node_oc.diagnosis import sample_losses
from node_oc.pipeline import load_split, make_network, make_problem
from node_oc.search import DepthSearch

ENOUGH = 0.99


def one(seed: int, stage_weight: float) -> dict[str, float]:
    """One search; accuracies in % on fresh points."""
    config = Config.preset("spirals", {"training.seed": seed, "data.seed": seed, "problem.stage_weight": stage_weight})
    split = load_split(config)
    search = DepthSearch(
        make_problem(config, split), split, config.training, config.search,
        fresh=lambda depth: make_network(config, split, depth, "plain"),
    )  # fmt: skip
    found = search.run(make_network(config, split))

    def accuracy(network: object, part: object = split.test) -> float:
        return 1 - float(sample_losses(network, part, split.task).mean())  # type: ignore[arg-type]

    # Before healing: the first M awake layers of the network that the price left, M chosen on validation data.
    steps = awake_steps(found.source)
    raw = {m: crop(found.source, steps=steps[:m]) for m in range(1, len(steps) + 1)}
    unhealed = next((m for m, network in raw.items() if accuracy(network, split.val) >= ENOUGH), len(steps))
    return {
        "seed": seed, "stage_weight": stage_weight, "awake": len(steps), "unhealed_layers": unhealed,
        "unhealed": 100 * accuracy(raw[unhealed]), "reference": 100 * accuracy(found.reference),
        "depth": found.depth, "certified": found.certified_depth or 20, "healed": 100 * accuracy(found.network),
        "plain": 100 * accuracy(found.plain),
    }  # fmt: skip


def main() -> None:
    """Run both kinds on every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    print(
        "| stage costs | seed | N = 20 | layers unhealed | accuracy | depth | certified | healed | plain, same depth |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    rows = []
    for weight in (1.0, 0.0):
        for seed in seeds:
            r = one(seed, weight)
            rows.append(r)
            first = f"| {'yes' if weight else 'no'} | {seed} | {r['reference']:.2f} | {r['unhealed_layers']} "
            second = f"| {r['unhealed']:.2f} | {r['depth']} | {r['certified']} | {r['healed']:.2f} | {r['plain']:.2f} |"
            print(first + second, flush=True)
    store.write_json(Path(__file__).with_suffix(".json"), rows)


if __name__ == "__main__":
    main()
