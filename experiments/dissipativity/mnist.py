"""MNIST, dense, N = 20: whole runs through the command line's own pipeline, and what the issue asks of them.

    python -m experiments.dissipativity.mnist --data DIR [--seeds 3]

DIR holds the four IDX files, gzipped or not. Writes mnist.json beside this file and prints the table of
README.md; the runs themselves go to runs/mnist-SEED.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from node_oc import store
from node_oc.config import Config
from node_oc.cropping import awake_steps, crop
from node_oc.pipeline import load_split, read_network, run


def bits_equal(folder: Path, config: Config) -> bool:
    """Whether dropping the exactly zero layers changes no bit of the logits at batches of 1, 7 and 256."""
    network = read_network(folder, "priced")
    small = crop(network)
    network.set_awake(range(network.depth))  # the zero branches are computed, not passed over
    x = load_split(config).test.x
    with torch.no_grad():
        return all(torch.equal(network(x[:n]), small(x[:n])) for n in (1, 7, 256))


def main() -> None:
    """Run every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    print("| seed | N = 20 | zero layers | largest ratio of a zero layer | same bits | depth | certified "
          "| cropped and healed | plain | ONNX | minutes |\n|---|---|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    rows = []
    for seed in range(arguments.seeds):
        config = Config.preset("mnist", {"data.path": str(Path(arguments.data).absolute()), "training.seed": seed})
        folder = Path("runs") / f"mnist-{seed}"
        start = time.perf_counter()
        record = run(config, folder, name=f"mnist-{seed}", overwrite=True)
        minutes = (time.perf_counter() - start) / 60
        price = [p for p in record["prices"] if p["inside"]][-1]
        network = read_network(folder, "priced")
        asleep = [k for k in range(network.depth) if k not in awake_steps(network)]
        accuracy = {m["name"]: 100 * m["metric"]["value"] for m in record["models"]}
        row = {
            "seed": seed, "full": accuracy["full"], "zero": len(network.zero_steps()), "price": price["price"],
            "ratio": max(price["ratios"][k] for k in asleep), "bits": bits_equal(folder, config),
            "depth": record["depth"]["depth"], "certified": record["depth"]["certified"],
            "cropped": accuracy["cropped"], "plain": accuracy["plain"], "minutes": minutes,
            "onnx": max(record["parity"]["onnx"].values()), "verdict": record["verdict"],
        }  # fmt: skip
        rows.append(row)
        print(f"| {seed} | {row['full']:.2f} | {row['zero']} | {row['ratio']:.2f} | {'yes' if row['bits'] else 'no'} "
              f"| {row['depth']} | {row['certified']} | {row['cropped']:.2f} | {row['plain']:.2f} "
              f"| {row['onnx']:.1e} | {minutes:.1f} |", flush=True)  # fmt: skip
    store.write_json(Path(__file__).with_suffix(".json"), rows)


if __name__ == "__main__":
    main()
