"""Time and memory of one training step against depth N: whole rollouts, and in segments of about sqrt(N) steps.

    python -m benchmarks.depth_scaling [--depths 10 20 40 80 160 320] [--rounds 20] [--threads 2] [--out FOLDER]

Times in turns in one process a depth. Memory: the resident set of a fresh process at its highest during a step, above
what it is before it, when weights, gradients and the optimiser's moments are in place; freed memory goes back to the
system at once (MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_), so that this is what is alive.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import positive
from benchmarks.machine import machine
from node_oc import DenseSystem, Network, Problem, Segmented, rollout
from node_oc.discretization import Controls
from node_oc.training.memory import keep_freed_memory
from node_oc.trajectory import cuts_of

BATCH, WIDTH, HIDDEN, CLASSES = 256, 64, 64, 10
WAYS = ("whole", "segments", "general, whole", "general, segments")


def make_step(depth: int, way: str) -> tuple[Callable[[], None], torch.optim.Optimizer]:
    """A step forward and back, and its optimiser."""
    torch.manual_seed(0)
    network = Network(DenseSystem(WIDTH, CLASSES, depth=depth, width=WIDTH, hidden=HIDDEN, lift="pad", row_norm=0.0))
    problem, x, y = Problem.classification(CLASSES), torch.randn(BATCH, WIDTH), torch.randint(CLASSES, (BATCH,))
    general, segments = way.startswith("general"), way.endswith("segments")
    controls = None if general else Controls(network, cuts_of(network) if segments else ())
    leaves: list[Tensor] = list(network.parameters())
    if controls:
        leaves = [*controls.stacks, *network.system.reading.parameters()]
    adam = torch.optim.Adam(leaves, fused=True)
    analytic = False if general else None

    def step() -> None:
        passed = Segmented if segments else rollout
        problem.evaluate(passed(network, x, analytic=analytic, controls=controls), y).smooth.backward()

    return step, adam


def milliseconds(depth: int, rounds: int) -> dict[str, list[float]]:
    """One median of each way a round, all ways in turns."""
    steps = {way: make_step(depth, way) for way in WAYS}
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(rounds + 1):
        for way, (step, adam) in steps.items():
            taken = []
            for _ in range(3):
                start = time.perf_counter()
                step()
                adam.step()
                adam.zero_grad()
                taken.append(1e3 * (time.perf_counter() - start))
            if turn:
                times[way].append(statistics.median(taken))
    return times


def megabytes(depth: int, way: str) -> float:
    """The peak of a step above what was there before, in this process."""
    step, adam = make_step(depth, way)
    for _ in range(2):
        step()
        adam.step()
        adam.zero_grad(set_to_none=False)
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    step()
    return _resident("VmHWM") - before


def _resident(key: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Print the table and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=positive, nargs="+", default=[10, 20, 40, 80, 160, 320])
    parser.add_argument("--rounds", type=positive, default=20)
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--memory", nargs=2, metavar=("N", "WAY"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if not args.memory:
        keep_freed_memory()
    if args.memory:
        print(megabytes(int(args.memory[0]), args.memory[1]))
        return
    small = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    rows = []
    print("| N | whole, ms | time / N, us | segments, ms | time ratio | bar | whole, MB | segments, MB | ratio | bar |")
    print("|" + "---|" * 10)
    for depth in args.depths:
        times = milliseconds(depth, args.rounds)
        memory = {}
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.depth_scaling", "--threads", str(args.threads), "--memory"]
            run = subprocess.run([*command, str(depth), way], env=os.environ | small, check=True, capture_output=True)
            memory[way] = float(run.stdout)
        ms = {way: statistics.median(t) for way, t in times.items()}
        ratio = statistics.median(b / a for a, b in zip(times["whole"], times["segments"], strict=True))
        row = {"depth": depth, "ms": ms, "rounds": times, "time_ratio": ratio, "time_bar": 1.6, "MB": memory,
               "memory_ratio": memory["segments"] / memory["whole"], "memory_bar": 2.2 / math.sqrt(depth)}  # fmt: skip
        rows.append(row)
        print(f"| {depth} | {ms['whole']:.2f} | {1e3 * ms['whole'] / depth:.0f} | {ms['segments']:.2f} | {ratio:.2f} "
              f"| 1.6 | {memory['whole']:.1f} | {memory['segments']:.1f} | {row['memory_ratio']:.3f} "
              f"| {row['memory_bar']:.3f} |", flush=True)  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    task = {"batch": BATCH, "width": WIDTH, "hidden": HIDDEN, "classes": CLASSES, "threads": args.threads}
    out = args.out / "depth_scaling.json"
    out.write_text(json.dumps({"task": task, "machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
