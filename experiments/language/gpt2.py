"""The models of these experiments, how they are trained, and what is measured of them."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import node_oc as oc
from experiments import missing_operators  # noqa: F401  (before transformers)
from experiments.language.text import BLOCK, VOCABULARY, Text
from node_oc.diagnosis import sample_losses
from node_oc.discretization.network import Network, evaluating
from node_oc.problem import Problem
from node_oc.training import Plan, fit
from node_oc.training.draws import affordable_draws

BLOCKS, WIDTH, HEADS = 6, 64, 4
UPDATES = 1200
OPTIONS = {"batch": 16, "learning_rate": 1e-3, "threads": 1, "checkpoint_seconds": 60.0}


def network(blocks: int, seed: int) -> Network:
    """A GPT-2 of so many blocks with random weights, adopted: twice as many branches."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=BLOCK, n_embd=WIDTH, n_layer=blocks, n_head=HEADS, use_cache=False,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return Network(oc.adopt(GPT2LMHeadModel(config).eval(), torch.zeros(2, BLOCK, dtype=torch.long)))


def problem(gamma: float, text: Text) -> Problem:
    """Next-token loss at the end and, weighted by gamma, at as many drawn depths as cost one plain pass."""
    cost = oc.NextToken()
    plain = Problem(cost, cost, 0.0)
    if not gamma:
        return plain
    return Problem(cost, cost, gamma, draws=affordable_draws(network(BLOCKS, 0), text.train.x[: OPTIONS["batch"]]))


def train(net: Network, what: Problem, text: Text, name: str, updates: int, folder: Path, seed: int) -> None:
    """Train in place, resumable: what the folder has is read."""
    options = oc.TrainingSection(seed=seed, **OPTIONS)
    start = time.perf_counter()
    fit(net, what, text.train, options, plan=Plan(name, updates, order="text"), folder=folder / name)
    print(f"{name}: {updates} updates, {time.perf_counter() - start:.0f} s", flush=True)


def losses(net: Network, text: Text) -> NDArray[np.float64]:
    """Next-token loss of every test block in nats a token, (n,)."""
    return sample_losses(net, text.test, "language")


def difference(one: NDArray[np.float64], other: NDArray[np.float64]) -> dict[str, float]:
    """Mean of the paired difference over the test blocks and half of its 95 % interval."""
    d = one - other
    return {"mean": float(d.mean()), "half": float(1.96 * d.std(ddof=1) / len(d) ** 0.5)}


def tokens_per_second(nets: dict[str, Network], text: Text) -> dict[str, float]:
    """Tokens a second of one pass with 16 blocks."""
    x = text.test.x[:16]

    def forward(net: Network) -> None:
        with evaluating(net), torch.no_grad():
            net(x)

    seconds = in_turns({name: partial(forward, net) for name, net in nets.items()})
    return {name: x.numel() / value for name, value in seconds.items()}


def seconds_per_step(text: Text, gamma: float) -> dict[str, float]:
    """Seconds of one training step without its update, forward and back: plain, with drawn depths, with all."""
    x = text.train.x[: OPTIONS["batch"]]
    some = problem(gamma, text)
    kinds = {"plain": some.terminal_only(), f"{some.draws} depths drawn": some, "all depths": replace(some, draws=None)}

    def step(cost: oc.StageCost) -> None:
        cost(x, x).backward()

    return in_turns({name: partial(step, oc.StageCost(network(BLOCKS, 0), what)) for name, what in kinds.items()})


def in_turns(calls: dict[str, Callable[[], None]], rounds: int = 15) -> dict[str, float]:
    """Median seconds of each call over rounds in which they take turns; two rounds more go before."""
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 2):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def arguments(description: str | None) -> argparse.Namespace:
    """The command line that these experiments share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/language"), help="checkpoints, shared and resumable")
    parser.add_argument("--updates", type=int, default=UPDATES, help="of a whole training")
    parser.add_argument("--redraw", action="store_true", help="tables again from the JSON file")
    return parser.parse_args()


def described(text: Text, args: argparse.Namespace) -> dict[str, Any]:
    """What a JSON file says about text and training."""
    return {
        "seed": args.seed, "updates": args.updates, **OPTIONS, "width": WIDTH, "heads": HEADS, "blocks": BLOCKS,
        "vocabulary": VOCABULARY, "block": BLOCK, "characters": text.characters, "tokens": text.tokens,
    }  # fmt: skip
