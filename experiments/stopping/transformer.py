"""Transformers that know when to stop: twelve blocks, 24 steps, on digits and on MNIST in patches.

    python -m experiments.stopping.transformer --runs runs/stopping-transformer [--data DIR] [--seeds 1]

DIR holds the four IDX files of MNIST; without it digits alone. Trained networks are kept under --runs, and a second
call goes on from there. Nothing is chosen on test data: regressions and thresholds come from one half of the validation
samples, the policy from the other. Writes transformer.json beside this file.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from node_oc import data, store
from node_oc.config import TrainingSection
from node_oc.data import Part, Split
from node_oc.discretization import Network
from node_oc.exporting import load_model, save_model
from node_oc.inference import Model
from node_oc.policies import FAMILIES, Outcome, Policy, Readings, family, fit_policy, follow, read_exits
from node_oc.problem import Problem
from node_oc.seeds import derived_generator
from node_oc.system import Patches, TransformerSystem
from node_oc.training import Plan, fit

BUDGET = 0.002  # of accuracy, against the full network
DRAWS = 2_000  # of the bootstrap


@dataclass(frozen=True)
class Setting:
    """One set of images."""

    tokens: Patches
    epochs: int
    batch: int
    images: int | None  # to train on; all if None
    steps: int = 24
    width: int = 32
    hidden: int = 64
    learning_rate: float = 3e-3


SETTINGS = {
    "digits": Setting(Patches((1, 8, 8), 2), epochs=40, batch=64, images=None),
    "mnist": Setting(Patches((1, 28, 28), 7), epochs=2, batch=64, images=20_000),
}


def trained(setting: Setting, split: Split, folder: Path, seed: int, steps: int, stage_weight: float) -> Network:
    """A network of so many steps, trained with stage costs or plainly (weight 0); read where it is there already."""
    stem = folder / f"{steps}-steps-gamma-{stage_weight:g}-seed-{seed}"
    if not stem.with_suffix(".json").exists():
        generator = derived_generator(seed, "weights", steps)
        network = Network(TransformerSystem(setting.tokens, split.outputs, steps=steps, width=setting.width,
                                            hidden=setting.hidden, generator=generator))  # fmt: skip
        options = TrainingSection(epochs=setting.epochs, min_updates=0, batch=setting.batch, seed=seed, threads=1,
                                  learning_rate=setting.learning_rate)  # fmt: skip
        start = time.process_time()
        fit(network, Problem.classification(split.outputs, stage_weight=stage_weight), split.train, options,
            plan=Plan(stem.name))  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        save_model(Model.of(network, split), stem)
        print(f"{stem.name}: {time.process_time() - start:.0f} s", flush=True)
    return load_model(stem).network


def halves(part: Part) -> tuple[Part, Part]:
    """What regressions and thresholds are taken from, and what chooses."""
    return Part(part.x[::2], part.y[::2]), Part(part.x[1::2], part.y[1::2])


def interval(differences: list[Tensor]) -> list[float]:
    """95 % bootstrap interval of the mean over seeds of paired differences, samples drawn within each seed; points."""
    generator = derived_generator(0, "bootstrap")
    means = torch.zeros(DRAWS, dtype=torch.float64)
    for d in differences:  # of values -1, 0, 1: a draw of a sample is a draw of one of them
        shares = torch.stack([(d == value).double().mean() for value in (-1, 0, 1)])
        drawn = torch.multinomial(shares.expand(DRAWS, 3), len(d), replacement=True, generator=generator) - 1
        means += drawn.double().mean(1) / len(differences)
    return [100 * float(q) for q in torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64))]


def stopped(network: Network, split: Split) -> tuple[dict[str, Outcome], Readings]:
    """What the policy of each family, and the best of all by validation data, comes to on test data, for two targets.

    "loss": the fewest steps at a loss within the budget; "half": the least loss at half of the steps.
    """
    first, second = (read_exits(network, part) for part in halves(split.val))
    test, found = read_exits(network, split.test), {}
    families: dict[str, tuple[Policy, ...]] = {name: family(name, first) for name in FAMILIES["classification"]}
    for target in ("loss", "half"):
        wanted = {"loss": BUDGET} if target == "loss" else {"depth": network.depth / 2}
        picked = {name: fit_policy(policies, second, **wanted) for name, policies in families.items()}
        rank = (lambda one: (one.depth, one.loss)) if target == "loss" else (lambda one: (one.loss, one.depth))
        picked["chosen"] = min(picked.values(), key=rank)
        found |= {f"{target}, {name}": follow(outcome.policy, test) for name, outcome in picked.items()}
    return found, test


def asked(setting: Setting, split: Split, folder: Path, seeds: int) -> dict[str, Any]:
    """All numbers of one set."""
    rows: list[dict[str, Any]] = []
    differences: dict[str, list[Tensor]] = {}
    for seed in range(seeds):
        for gamma in (1.0, 0.0):
            network = trained(setting, split, folder, seed, setting.steps, gamma)
            outcomes, test = stopped(network, split)
            by_depth = [round(100 * (1 - float(loss)), 2) for loss in test.losses.mean(1)]
            found = {name: {"steps": one.depth, "accuracy": 100 * (1 - one.loss), "lost": 100 * one.excess}
                     for name, one in outcomes.items()}  # fmt: skip
            row: dict[str, Any] = {"seed": seed, "gamma": gamma, "full": by_depth[-1], "by_depth": by_depth,
                                   "policies": found}  # fmt: skip
            for name, one in outcomes.items():
                differences.setdefault(f"{gamma:g} {name}", []).append(one.losses - one.reference)
            if gamma:
                few = math.ceil(outcomes["half, chosen"].depth)
                plain = read_exits(trained(setting, split, folder, seed, few, 0.0), split.test, [few])
                row["plain"] = {"steps": few, "accuracy": 100 * (1 - float(plain.losses[-1].mean()))}
            rows.append(row)
            print(row, flush=True)
    return {"rows": rows, "lost": {key: interval(each) for key, each in differences.items()}}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None, help="directory of the four IDX files of MNIST")
    parser.add_argument("--runs", type=Path, required=True, help="where trained networks are kept")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        if name == "mnist" and options.data is None:
            continue
        split = data.digits() if name == "digits" else data.idx(str(options.data))
        if setting.images is not None:
            few = Part(split.train.x[: setting.images], split.train.y[: setting.images])
            split = replace(split, train=few)
        found[name] = asked(setting, split, options.runs / name, options.seeds)
    store.write_json(Path(__file__).with_suffix(".json"), found)


if __name__ == "__main__":
    main()
