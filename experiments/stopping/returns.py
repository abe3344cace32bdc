"""Diminishing returns: how deep an optimal rule can go at all, on synthetic systems and on trained networks.

    python -m experiments.stopping.returns

Synthetic: increments that shrink by r exactly, and random tanh branches whose outer weights do; N = 16, 64 and 256.
Trained: digits, 16 layers, with and without the penalty on returns that do not diminish. No data needed; two minutes.
Writes returns.json beside this file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from node_oc import store
from node_oc.config import Config
from node_oc.discretization import Network
from node_oc.pipeline import load_split, make_network, make_problem
from node_oc.policies import exit_features
from node_oc.problem import CrossEntropy
from node_oc.problem.stopping import loss_lipschitz, returns_bound, stopping_gain, stopping_law
from node_oc.seeds import derived_generator
from node_oc.system import DenseSystem
from node_oc.training import Plan, fit
from node_oc.trajectory import rollout

CLASSES, SAMPLES, COST = 10, 2000, 0.01
RATES, DEPTHS = (0.5, 0.8), (16, 64, 256)
WEIGHTS = (None, 0.1, 1.0)  # of the penalty, r = 0.5


def geometric(rate: float, depth: int) -> Network:
    """State (m, t): m moves the share 1 - r of its way to t in each step, t stays; the readout is m."""
    system = DenseSystem(2 * CLASSES, CLASSES, depth=0, width=2 * CLASSES, lift="pad", head="coordinates", row_norm=0.0)
    for _ in range(depth):
        step = nn.Linear(2 * CLASSES, 2 * CLASSES, bias=False)
        step.weight.data.zero_()
        step.weight.data[:CLASSES, :CLASSES] = -(1 - rate) * torch.eye(CLASSES)
        step.weight.data[:CLASSES, CLASSES:] = (1 - rate) * torch.eye(CLASSES)
        system.steps.append(step)
    return Network(system.double())


@torch.no_grad()
def random(rate: float, depth: int) -> Network:
    """Random tanh branches, outer weights times r^k: increments are bounded by r^k times a constant, no more."""
    generator = derived_generator(0, "random", depth)
    system = DenseSystem(2 * CLASSES, CLASSES, depth=depth, width=2 * CLASSES, hidden=40, lift="pad",
                         head="coordinates", generator=generator)  # fmt: skip
    for k, step in enumerate(system.steps):
        for p in system.group(k):
            p.copy_(0.5 * rate**k * torch.randn(p.shape, generator=generator))
        step.inner.weight.copy_(torch.randn(step.inner.weight.shape, generator=generator) / 4)
    return Network(system.double())


def samples() -> tuple[Tensor, Tensor]:
    """Inputs (0, t), t the logits of a judge who knows easy samples well and hard ones not at all; and classes."""
    generator = derived_generator(0, "samples")
    y = torch.randint(CLASSES, (SAMPLES,), generator=generator)
    t = 1.5 * torch.randn(SAMPLES, CLASSES, generator=generator, dtype=torch.float64)
    t[torch.arange(SAMPLES), y] += 8 * torch.rand(SAMPLES, generator=generator, dtype=torch.float64)
    return torch.cat([torch.zeros_like(t), t], 1), y


@torch.no_grad()
def asked(network: Network, x: Tensor, y: Tensor, cost: Any = None, layer: float = COST) -> dict[str, Any]:
    """The bound, and how deep the oracle and the rule that is regressed on readouts go."""
    cost = cost or CrossEntropy()
    trajectory = rollout(network, x)
    bound = returns_bound(trajectory, layer, loss_lipschitz(network.system, cost))
    stopped = cost(trajectory.readouts, y) + layer * torch.arange(network.depth + 1)[:, None]
    rule = stopping_law(stopping_gain(exit_features(trajectory.readouts), stopped, 0.0), 0.0).argmax(0)
    oracle = stopped.argmin(0)
    return {"N": network.depth, "rate": bound.rate, "lipschitz": bound.lipschitz, "bound": bound.depth,
            "own": [float(bound.depths.double().mean()), int(bound.depths.max())],
            "oracle": [float(oracle.double().mean()), int(oracle.max())],
            "rule": [float(rule.double().mean()), int(rule.max())],
            "beyond": int((oracle > bound.depths).sum() + (rule > bound.depths).sum())}  # fmt: skip


def digits(weight: float | None, seed: int) -> dict[str, Any]:
    """A network trained with or without the penalty, asked about its test samples."""
    changes = {} if weight is None else {"problem.returns": 0.5, "problem.returns_weight": weight}
    config = Config.preset(
        "digits",
        {"training.seed": seed, "data.seed": seed, "training.epochs": 20, "training.min_updates": 0, **changes},
    )
    split = load_split(config)
    network, problem = make_network(config, split), make_problem(config, split)
    fit(network, problem, split.train, config.training, plan=Plan("returns"))
    accuracy = float((network(split.test.x).argmax(-1) == split.test.y).double().mean())
    return {"weight": weight, "seed": seed, "accuracy": 100 * accuracy,
            **asked(network, split.test.x, split.test.y, problem.terminal)}  # fmt: skip


def tell(found: dict[str, list[dict[str, Any]]]) -> str:
    """The tables in Markdown."""
    head = "| N | r, measured | Lip | bound, any N | own bound | oracle | rule | samples beyond |"
    lines = []
    for name, rows in found.items():
        first = "| penalty, seed | accuracy |" if name == "digits" else "| r |"
        lines += [f"**{name}**, c = {COST}; depths are mean (largest)", "", first + head[1:],
                  "|---" * (head.count("|") - 2 + first.count("|")) + "|"]  # fmt: skip
        for row in rows:
            lead = (
                f"| {row['weight'] or 'none'}, {row['seed']} | {row['accuracy']:.2f} |"
                if name == "digits"
                else f"| {row['r']} |"
            )
            own, oracle, rule = (f"{row[key][0]:.1f} ({row[key][1]})" for key in ("own", "oracle", "rule"))
            lines.append(f"{lead} {row['N']} | {row['rate']:.3f} | {row['lipschitz']:.3f} | {row['bound'] or 'none'} | "
                         f"{own} | {oracle} | {rule} | {row['beyond']} |")  # fmt: skip
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Run, print the tables, write JSON."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    x, y = samples()
    found = {name: [{"r": rate, **asked(make(rate, depth), x, y)} for rate in RATES for depth in DEPTHS]
             for name, make in (("geometric", geometric), ("random tanh branches", random))}  # fmt: skip
    found["digits"] = [digits(weight, seed) for weight in WEIGHTS for seed in range(2)]
    store.write_json(Path(__file__).with_name("returns.json"), found)
    print(tell(found))


if __name__ == "__main__":
    main()
