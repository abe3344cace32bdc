"""The guarantee on a population whose true losses are known: how often it is broken, and what it costs in depth.

    python -m experiments.stopping.guarantee

A population of 20,000 samples with 4 classes and 12 layers of evidence that grows by ever less; a policy's true loss is
its mean over the population, and draws are with replacement, so that it is exactly what a guarantee is about. Families
are fitted once, on 5,000 other samples; then 200 times 5,000 samples are drawn, which test. No data needed; minutes.
Writes guarantee.json beside this file.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from node_oc import store
from node_oc.policies import Policy, Readings, family, first_stop, fit_policy, follow, guarantee, rehearse
from node_oc.policies.guarantee import Test

DRAWS, SAMPLES, POPULATION, FITTED = 200, 5000, 20_000, 5000
LOSSES = (0.005, 0.01)
FAMILIES = ("confidence", "continuation")


def population(n: int, seed: int, depth: int = 12, classes: int = 4) -> Readings:
    """Evidence for the class that grows by 0.75^k a layer, clear for some samples and faint for others, and noise."""
    g = torch.Generator().manual_seed(seed)
    target = torch.randint(0, classes, (n,), generator=g)
    clear, z, found = 2.2 * torch.rand(n, generator=g) ** 0.7, torch.zeros(n, classes), []
    for k in range(depth + 1):
        signal = clear[:, None] * torch.nn.functional.one_hot(target, classes)
        z = z + 0.75**k * (signal + 0.7 * torch.randn(n, classes, generator=g))
        found.append(1.6 * z)
    return Readings.of(torch.stack(found), target)


@dataclass(frozen=True, eq=False)
class Known(Policy):
    """A policy whose stopping depths are known for every sample of the population; its only feature is its number."""

    exits: tuple[int, ...]
    depths: Tensor
    task: str = "classification"  # type: ignore[assignment]

    def stops(self, k: int, features: Tensor) -> Tensor:
        return self.depths[features[:, 0].long()] <= k

    def spec(self) -> dict[str, Any]:
        return {}


def known(policies: Sequence[Policy], readings: Readings) -> list[Known]:
    exits = torch.tensor(readings.exits)
    return [Known(p.exits, exits[first_stop(p, readings.features)]) for p in policies]


def measure(name: str, fitted: Readings, truth: Readings, loss: float, draws: int, samples: int) -> dict[str, Any]:
    """Both ways to choose, on the same draws and among the same policies."""
    order, test = rehearse(family(name, fitted), fitted, loss)
    policies = known(order, truth)
    number = torch.arange(len(truth), dtype=torch.float32)[None, :, None].expand(len(truth.exits), -1, 1)
    drawn_from, rng = replace(truth, features=number), np.random.default_rng(0)
    true = {policy: follow(policy, drawn_from) for policy in policies}
    rows: dict[str, list[Any]] = {"guaranteed": [], "binomial": [], "betting": [], "chosen": []}
    for _ in range(draws):
        drawn = drawn_from.take(torch.from_numpy(rng.integers(0, len(truth), samples)))
        tests: dict[str, Test] = {"binomial": "binomial", "betting": "betting"}
        for key, one in tests.items():
            rows[key].append(true[guarantee(policies, drawn, loss, test=one).outcome.policy])
        rows["guaranteed"].append(rows[test][-1])
        rows["chosen"].append(true[fit_policy(policies, drawn, loss=loss).policy])
    chosen = float(np.mean([one.depth for one in rows["chosen"]]))
    result: dict[str, Any] = {"family": name, "loss": loss, "test": test, "samples": samples, "draws": draws}
    for key, found in rows.items():
        depth = float(np.mean([one.depth for one in found]))
        result[key] = {"violations": sum(one.excess > loss for one in found), "depth": depth, "ratio": depth / chosen,
                       "excess": float(np.mean([one.excess for one in found]))}  # fmt: skip
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES))
    parser.add_argument("--losses", nargs="+", type=float, default=list(LOSSES))
    options = parser.parse_args()
    truth, fitted = population(POPULATION, 1), population(FITTED, 2)
    file = Path(__file__).with_name("guarantee.json")
    rows = store.read_json(file)["rows"] if file.exists() else []
    for name in options.families:
        for loss in options.losses:
            row = measure(name, fitted, truth, loss, options.draws, options.samples)
            rows = [old for old in rows if (old["family"], old["loss"]) != (name, loss)] + [row]
            store.write_json(file, {"rows": rows})
            for key in ("guaranteed", "binomial", "betting", "chosen"):
                one = row[key]
                told = f"violations {one['violations']:3d}, depth {one['depth']:.2f}, ratio {one['ratio']:.3f}"
                print(f"{name:12s} {loss:.3f} {key:10s} ({row['test']}) {told}, excess {one['excess']:.4f}", flush=True)


if __name__ == "__main__":
    main()
