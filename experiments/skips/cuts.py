"""What the experiments of this folder share: trainings that are kept, and ways to choose which blocks stay."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from node_oc import store
from node_oc.config import TrainingSection
from node_oc.cropping import crop, first_steps
from node_oc.data.split import Part, Split
from node_oc.diagnosis import outputs
from node_oc.discretization.network import Network
from node_oc.problem.ocp import Problem, group_norms
from node_oc.problem.optimality import optimality_ratios
from node_oc.search.influence import block_influence
from node_oc.training.active import AVERAGED, SMALL, chunks
from node_oc.training.loop import Plan, fit

SEEN = 10_000  # training images of which the influence of a block, or the optimality test, is read
LAST, TAILS, INFLUENCE, NORM = "last of the network", "last of each stage", "block influence", "smallest groups"


def arguments(description: str | None) -> argparse.Namespace:
    """The command line of the experiments on MNIST."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the four IDX files of MNIST")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--ways", nargs="+", help="some of the rows alone; all by default")
    parser.add_argument("--folder", type=Path, default=Path("runs/skips"), help="checkpoints, shared and resumable")
    parser.add_argument("--choose", action="store_true", help="the settings to choose from, on validation data alone")
    parser.add_argument("--redraw", action="store_true", help="tables again from the JSON file")
    parsed = parser.parse_args()
    if parsed.data is None and not parsed.redraw:
        parser.error("MNIST needs --data DIRECTORY")
    return parsed


def gather(path: Path, rows: Iterable[dict[str, Any]], same: Sequence[str]) -> list[dict[str, Any]]:
    """Put each row, as it comes, into the JSON file, in the place of the one that agrees with it there; all rows."""
    had = store.read_json(path) if path.exists() else []
    for row in rows:
        new = json.loads(json.dumps(row))
        had = [*(old for old in had if any(old[key] != new[key] for key in same)), new]
        store.write_json(path, had)
    return list(had)


def accuracy(network: Network, part: Part) -> float:
    """Accuracy in %."""
    return 100 * float((outputs(network, part.x, 128).argmax(1).cpu() == part.y).double().mean())


@torch.no_grad()
def sleep(
    network: Network, average: dict[str, Tensor], left: int, problem: Problem, part: Part | None
) -> dict[str, Any]:
    """Put all blocks but the largest ones to sleep, in place; what was seen of them.

    Args:
        network: at the last iterate of a training at a price.
        average: the mean of its last iterates: the size of a group is read there.
        left: how many stay awake at most; those that are zero by themselves never do.
        problem: with the price.
        part: samples for the optimality ratio of each block, at the average with the others' groups at zero; at most 1
            says that a sleeping block had better stay so. Not computed if None.
    """
    norms, groups = group_norms(network).tolist(), [network.system.group(k) for k in range(network.depth)]
    raw = {name: p.clone() for name, p in network.named_parameters()}
    for name, p in network.named_parameters():
        p.copy_(average[name])
    mean = group_norms(network).tolist()
    largest = sorted(range(network.depth), key=lambda k: -mean[k])[:left]
    awake = sorted(k for k in largest if norms[k] >= SMALL)
    small = [p for k in range(network.depth) if k not in awake for p in groups[k]]
    for p in small:
        p.zero_()
    network.eval()
    told = {"norms": norms, "average": mean, "zero": [k for k, norm in enumerate(norms) if norm < SMALL]}
    if part is not None:
        told["ratios"] = optimality_ratios(network, problem, chunks(part, network)).tolist()
    for name, p in network.named_parameters():
        p.copy_(raw[name])
    for p in small:
        p.zero_()
    network.set_awake(awake)
    return told


@dataclass
class Bench:
    """One seed: its samples, options and folder."""

    split: Split
    options: TrainingSection
    folder: Path

    def keep(self, name: str, network: Network, train: Callable[[Network], Any]) -> tuple[Network, dict[str, Any]]:
        """Train in place, or read what was trained before; what ``train`` returns and the seconds, too."""
        file = self.folder / f"{name}.safetensors"
        if file.exists():
            tensors, meta = store.load(file)
            network.load_state_dict(tensors)
            network.set_awake(meta["awake"])
            network.eval()
            return network, meta
        start = time.perf_counter()
        told = train(network)
        meta = {"awake": list(network.awake), "seconds": time.perf_counter() - start, "told": told}
        file.parent.mkdir(parents=True, exist_ok=True)
        store.save(file, network.state_dict(), meta)
        seen = f"{meta['seconds']:.0f} s, validation {self.validate(network):.2f} %"
        print(f"{time.strftime('%H:%M:%S')} {name}: {seen}", flush=True)
        return network, meta

    def train(self, name: str, network: Network, problem: Problem, updates: int) -> tuple[Network, dict[str, Any]]:
        """By gradients, in place; at a price where the problem has one."""

        def run(network: Network) -> None:
            fit(network, problem, self.split.train, self.options, plan=Plan(name, updates), folder=self.folder / name)

        return self.keep(name, network, run)

    def shrink(
        self, name: str, network: Network, problem: Problem, updates: int, left: int, ratios: bool = True
    ) -> tuple[Network, dict[str, Any]]:
        """At a price and a constant learning rate, in place; then all groups but the largest are set to zero.

        As in :func:`node_oc.sparsify`, but how many blocks stay awake at most is given, whatever the optimality test
        says, and the refit is the caller's.

        Args:
            name: of the training.
            network: what is trained.
            problem: with a price.
            updates: in all.
            left: blocks that stay awake at most.
            ratios: whether to take the optimality ratios, too.
        """

        def run(network: Network) -> Any:
            plan = Plan(f"{name}-shrink", updates, cosine=False, average=AVERAGED)
            average = fit(network, problem, self.split.train, self.options, plan=plan, folder=self.folder / plan.name)
            return sleep(network, average, left, problem, self.seen if ratios else None)

        kept = self.keep(f"{name}-asleep", network, run)
        network.system.release_()  # no price from here on, so nothing that could be bought off
        return kept

    @property
    def seen(self) -> Part:
        """Training samples for what is read off a network."""
        return Part(self.split.train.x[:SEEN], self.split.train.y[:SEEN])

    def test(self, network: Network) -> float:
        """Test accuracy in %."""
        return accuracy(network, self.split.test)

    def validate(self, network: Network) -> float:
        """Validation accuracy in %: what settings are chosen by."""
        return accuracy(network, self.split.val)

    def order(self, rule: str, network: Network, blocks: int) -> list[int]:
        """The blocks that a rule keeps, ascending."""
        if rule == LAST:
            return list(range(blocks))
        if rule == TAILS:
            return first_steps(network, blocks)
        values = block_influence(network, self.seen) if rule == INFLUENCE else group_norms(network).tolist()
        return sorted(sorted(range(network.depth), key=lambda k: -values[k])[:blocks])

    def healed(self, name: str, network: Network, steps: Sequence[int], problem: Problem, updates: int) -> Network:
        """These blocks alone, trained on for the terminal cost at the full learning rate, as :func:`node_oc.heal`."""
        small = crop(network, steps=list(steps))
        small.set_awake(range(small.depth))
        return self.train(name, small, problem.terminal_only(), updates)[0]
