"""The network of mnist.py by other means: straight-through BinaryConnect, its ternary kin, and real weights.

    python -m experiments.maximum_principle.baselines --data DIRECTORY --seeds 0 1 2

784-2048-2048-2048-10 without biases, batch norm behind every layer, MNIST, 10 epochs of batches of 100. "binary" is
BinaryConnect (Courbariaux et al. 2015) as its authors ran it on MNIST: real shadow weights in [-1, 1], their signs
forward, the gradient in the signs taken for the shadow weights, Adam with a step scaled by the layer's size and
decaying exponentially, clipping, squared hinge loss. "ternary" has 0 where a shadow weight is smaller than 0.7 times
their mean size (Li et al. 2016), and cross-entropy. "float" has real weights, Adam with the same decay, cross-entropy.
DIRECTORY holds the four IDX files of MNIST. Writes its rows into baselines.json beside this file.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch

from experiments.maximum_principle.results import gather
from experiments.maximum_principle.samples import mnist
from experiments.maximum_principle.straight_through import WAYS, network, train
from node_oc.training.memory import keep_freed_memory

LAYERS = ("2048", "2048", "2048")


def main() -> None:
    """Train, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the four IDX files of MNIST")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--precision", default="bf16-mixed", choices=["32-true", "bf16-mixed"])
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    split = mnist(args.data)
    makers = {way: partial(network, LAYERS, way, split.inputs) for way in args.ways}
    rows = (train(make, way, split, seed, args.epochs, args.batch, args.precision)
            for seed in args.seeds for way, make in makers.items())  # fmt: skip
    gather("baselines.json", rows, ("way", "seed", "epochs", "precision"))


if __name__ == "__main__":
    main()
