"""What the experiments of this folder share: trainings that are kept, and ways to choose which blocks stay."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.headline.sets import accuracy
from node_oc import store
from node_oc.config import TrainingSection
from node_oc.cropping import crop, first_steps
from node_oc.data.split import Part, Split
from node_oc.discretization.network import Network
from node_oc.problem.ocp import Problem, group_norms
from node_oc.search.influence import block_influence
from node_oc.training.active import AVERAGED, SHRINKING, put_to_sleep
from node_oc.training.loop import Plan, fit

TESTED = 10_000  # training images of the optimality test: all of them would take as long as a third of an epoch
RAISE = 0.813  # share of the updates at a price after which a higher one takes its place, where there is one
LAST, TAILS, INFLUENCE, NORM = "last of the network", "last of each stage", "block influence", "smallest groups"


def arguments(description: str | None) -> argparse.Namespace:
    """The command line of the experiments on MNIST."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the four IDX files of MNIST")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--ways", nargs="+", help="some of the rows alone; all by default")
    parser.add_argument("--folder", type=Path, default=Path("runs/skips"), help="checkpoints, shared and resumable")
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
        print(f"{time.strftime('%H:%M:%S')} {name}: {meta['seconds']:.0f} s, {self.test(network):.2f} %", flush=True)
        return network, meta

    def train(
        self, name: str, network: Network, problem: Problem, updates: int, raised: float = 0.0
    ) -> tuple[Network, dict[str, Any]]:
        """By gradients, or with a price as in :func:`node_oc.sparsify`, its test on fewer images.

        Args:
            name: of the training.
            network: what is trained, in place.
            problem: with a price or without.
            updates: in all.
            raised: the price that takes the place of the problem's after 81.3 % of the updates at a price.
        """

        def run(network: Network) -> Any:
            if not problem.group_price:
                fit(network, problem, self.split.train, self.options, plan=Plan(name, updates),
                    folder=self.folder / name)  # fmt: skip
                return {}
            shrinking = round(SHRINKING * updates)
            first = round(RAISE * shrinking) if raised else shrinking
            plan = Plan(f"{name}-shrink", shrinking, cosine=False, average=AVERAGED)
            part, last = self.split.train, problem
            average = fit(network, problem, part, self.options, plan=plan, folder=self.folder / plan.name,
                          stop=lambda _, done: done >= first)  # fmt: skip
            if raised:
                last = problem.priced(raised)
                plan = Plan(f"{name}-raised", shrinking - first, cosine=False, average=0.5)
                average = fit(network, last, part, self.options, plan=plan, folder=self.folder / plan.name)
            norms = group_norms(network).tolist()
            woken = put_to_sleep(network, last, Part(part.x[:TESTED], part.y[:TESTED]), average)
            print(name, "asleep", sorted({*range(network.depth)} - {*network.awake}), "woken", woken, flush=True)
            plan = Plan(f"{name}-refit", updates - shrinking)
            fit(network, problem.priced(0.0), part, self.options, plan=plan, folder=self.folder / plan.name)
            return {"norms": norms, "woken": list(woken)}

        return self.keep(name, network, run)

    def test(self, network: Network) -> float:
        """Test accuracy in %."""
        return accuracy(network, self.split)

    def order(self, rule: str, network: Network, blocks: int) -> list[int]:
        """The blocks that a rule keeps, ascending."""
        if rule == LAST:
            return list(range(blocks))
        if rule == TAILS:
            return first_steps(network, blocks)
        part = Part(self.split.train.x[:TESTED], self.split.train.y[:TESTED])
        values = block_influence(network, part) if rule == INFLUENCE else group_norms(network).tolist()
        return sorted(sorted(range(network.depth), key=lambda k: -values[k])[:blocks])

    def healed(self, name: str, network: Network, steps: Sequence[int], problem: Problem, updates: int) -> Network:
        """These blocks alone, trained on for the terminal cost at the full learning rate, as :func:`node_oc.heal`."""
        small = crop(network, steps=list(steps))
        small.set_awake(range(small.depth))
        return self.train(name, small, problem.terminal_only(), updates)[0]
