"""What early exit gains: latency of one sample, throughput of batches, beside the full network and a fixed crop.

    python -m benchmarks.early_exit [--threads 2] [--rounds 25] [--out FILE]
    python -m benchmarks.early_exit --model runs/my [--data DIR]
    python -m benchmarks.early_exit --onnx

Without a run: a dense network of MNIST's sizes (784 inputs, 20 layers of width 128), untrained, whose samples stop
after a geometric number of layers, 3.3 in the mean, by a threshold at every layer: weights change no time, stopping
depths do. With --model: the operating point of a run that `node-oc stop` has taught when to stop, on its test samples.
Everything in turns in one run, each round beginning with another way; gains are ratios in the same round, medians with
quartiles. With --onnx: the same network in onnxruntime, as one graph with an If around each block and as one graph a
block with a loop in Python around them. Writes early_exit.json (or early_exit_onnx.json) into results/.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import positive
from benchmarks.machine import machine
from node_oc import store
from node_oc.discretization import Network
from node_oc.inference import EarlyExit, Paying, what_pays
from node_oc.inference.paying import EARLY
from node_oc.policies import Policy
from node_oc.system import DenseSystem
from node_oc.trajectory import rollout

RESULTS = Path(__file__).with_name("results")
DEPTH, WIDTH, INPUTS, CLASSES = 20, 128, 784, 10
MEAN, CUT = 3.3, 6
BATCHES = (1, 256, 4096)
BARS = {1: 2.0, 256: 1.8, 4096: 3.0}  # times as fast as the full network, at least


@dataclass(frozen=True)
class Falling(Policy):
    """Stops a sample whose largest probability is at least a value of the exit's own."""

    exits: tuple[int, ...]
    values: tuple[float, ...]
    task: Any = "classification"

    def stops(self, k: int, features: Tensor) -> Tensor:
        """Whether each sample stops, (B,)."""
        return features[:, 2] >= self.values[self.exits.index(k)]

    def spec(self) -> dict[str, Any]:
        """JSON-able; no file can name it."""
        return {"kind": "falling", "exits": list(self.exits), "values": list(self.values)}


def synthetic(samples: int = 8192) -> tuple[EarlyExit, Tensor]:
    """A network whose samples stop after 1, 2, .. layers, each time the same share of those that are left."""
    generator = torch.Generator().manual_seed(0)
    system = DenseSystem(
        INPUTS, CLASSES, depth=DEPTH, width=WIDTH, hidden=WIDTH, activation="relu", generator=generator
    )
    network, x = Network(system).eval(), torch.randn(samples, INPUTS, generator=generator)
    exits = tuple(range(1, DEPTH + 1))
    with torch.no_grad():
        top = rollout(network, x).readouts.softmax(-1).amax(-1)
    live, values, stopped = torch.ones(samples, dtype=torch.bool), [], 0
    for k in exits[:-1]:
        stopped = samples - math.floor(samples * (1 - 1 / MEAN) ** k)
        count = stopped - int((~live).sum())
        seen = top[k][live].sort(descending=True).values
        value = float(seen[count - 1 : count + 1].double().mean())  # between two samples: no rounding decides
        values.append(value)
        live &= top[k] < value
    return EarlyExit(network, Falling(exits, (*values, 0.0))), x


def of_run(folder: Path, data: str | None) -> tuple[EarlyExit, Tensor, Tensor]:
    """Model with policy of a run, and its raw test samples."""
    from node_oc.exporting import load_model
    from node_oc.pipeline import load_split, read_config

    config = read_config(folder)
    split = load_split(config.replace({"data.path": data}) if data else config)
    model = load_model(folder / "stopping")
    return model.early_exit(), split.x_scale.undo(split.test.x.double()).float(), split.test.y


def table(found: Paying, bars: dict[int, float]) -> str:
    """In Markdown, with the bars."""
    lines = ["| batch | way | layers | ms, quartiles | times as fast as full, quartiles | bar | looks |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in found.rows:
        bar = bars.get(row.batch) if row.way == EARLY else None
        told = "" if bar is None else f"{bar:g}: {'met' if row.gain.median >= bar else 'missed'}"
        at = ", ".join(map(str, row.drop_at)) if row.drop_at else "every exit" if row.way == EARLY else ""
        lines.append(f"| {row.batch} | {row.way} | {row.depth:.2f} | {row.ms} | {row.gain} | {told} | {at} |")
    return "\n".join([*lines, "", found.sentence])


def main() -> None:
    """Measure, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--rounds", type=positive, default=25)
    parser.add_argument("--model", type=Path, metavar="RUN", help="a run with stopping.json; synthetic exits without")
    parser.add_argument("--data", metavar="DIR", help="its data, where they have moved")
    parser.add_argument("--onnx", action="store_true", help="in onnxruntime")
    parser.add_argument(
        "--busy", action="store_true", help="processor time of one thread, on a machine that others use"
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.threads = 1 if args.busy else args.threads
    clock = time.process_time if args.busy else time.perf_counter
    torch.set_num_threads(args.threads)
    early, x, y = (*synthetic(), None) if args.model is None else of_run(args.model, args.data)
    about = {"machine": machine(), "threads": args.threads, "rounds": args.rounds, "clock": clock.__name__,
             "model": "synthetic exits" if args.model is None else args.model.name}  # fmt: skip
    if args.onnx:
        from benchmarks.early_exit_onnx import compared
        from benchmarks.early_exit_onnx import table as told

        rows = compared(early, x, BATCHES, args.rounds, args.threads, clock)
        store.write_json(args.out or RESULTS / "early_exit_onnx.json", {**about, "rows": rows})
        print(told(rows))
        return
    found = what_pays(early, x, y, cut=CUT if y is None else None, batches=BATCHES, rounds=args.rounds, clock=clock)
    record = {**about, "bars": {str(b): least for b, least in BARS.items()}, **found.record()}
    store.write_json(args.out or RESULTS / "early_exit.json", record)
    print(table(found, BARS))


if __name__ == "__main__":
    main()
