"""A process that builds the variants of one peer and runs them when it is told to.

python -m benchmarks.worker PEER TASK.npz --device cpu --threads 2

It reads one JSON object a line and answers with one; in between it is blocked and takes no processor. It imports the
standard library, numpy and the one peer, so that every environment can run it. What a library prints goes to stderr.

    {"do": "facts"}                                       -> {"facts": {..}}
    {"do": "check", "variant": "best", "out": "a.npz"}    -> {"loss": .., "seconds": ..}, gradient in a.npz
    {"do": "run", "variant": "best", "steps": 9, "warm": 3} -> {"ms": [9 numbers]}
    {"do": "reference", "layers": [..], "out": "r.npz"}   -> {"loss": ..}, node_oc in float64
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.task import load
from benchmarks.workers import Built, Setup

PACKAGES = ("torch", "torchdiffeq", "torchdyn", "torchode", "diffrax", "jax", "jaxlib", "node-oc")


class Player:
    """The variants of one peer, built when they are first asked for."""

    def __init__(self, peer: str, setup: Setup) -> None:
        self.module, self.setup = import_module(f"benchmarks.workers.{peer}"), setup
        self.built: dict[str, Built] = {}

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """What one command asks for."""
        do = command["do"]
        if do == "facts":
            return {"facts": facts()}
        if do == "reference":
            loss, gradient = self.module.reference(self.setup, tuple(command["layers"]))
            np.savez(command["out"], **gradient)
            return {"loss": loss}
        start = time.perf_counter()
        name = command["variant"]
        if name not in self.built:
            self.built[name] = self.module.VARIANTS[name](self.setup)
        one = self.built[name]
        if do == "check":
            loss, gradient = one.loss_and_gradient()
            seconds = time.perf_counter() - start
            np.savez(command["out"], **gradient)
            return {"loss": loss, "seconds": seconds}
        for _ in range(command["warm"]):
            one.step()
        return {"ms": [milliseconds(one) for _ in range(command["steps"])], "facts": one.facts()}


def milliseconds(one: Built) -> float:
    """Of one training step."""
    start = time.perf_counter()
    one.step()
    return 1e3 * (time.perf_counter() - start)


def facts() -> dict[str, Any]:
    """Versions of what is installed here."""
    found: dict[str, Any] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def hold_to(threads: int) -> None:
    """Let this process use that many processors: XLA asks for their number and for nothing else."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def main() -> None:
    """Answer until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer")
    parser.add_argument("task", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    hold_to(args.threads)
    player: Player | None = None
    missing: dict[str, str] = {}
    try:
        player = Player(args.peer, Setup(*load(args.task), args.device))
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(args.threads)
    except Exception as error:  # every question is answered with it
        missing = failed(error)
    for line in sys.stdin:
        try:
            answer = player.answer(json.loads(line)) if player else missing
        except Exception as error:  # the benchmark goes on without this variant, and says so
            answer = failed(error)
        print(json.dumps(answer), file=answers, flush=True)


def failed(error: Exception) -> dict[str, str]:
    """The answer to what went wrong; where it did is in the log."""
    traceback.print_exception(error)
    return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
