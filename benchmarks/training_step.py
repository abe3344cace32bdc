"""One training step of node_oc, of its peers and of the bare products, in turns in one run.

python -m benchmarks.training_step [--quick] [--out FOLDER]
python -m benchmarks.training_step --device cuda --batch 1024 --width 512

Writes training_step.json, training_step.md and training_step.png. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import positive
from benchmarks import task as tasks
from benchmarks.bars import judged
from benchmarks.environments import HOME, interpreter
from benchmarks.machine import machine
from benchmarks.measure import measure
from benchmarks.peers import VARIANTS, chosen, named
from benchmarks.picture import draw
from benchmarks.table import markdown
from node_oc.errors import ConfigError, NodeOCError

ROUNDS, QUICK_ROUNDS = 25, 5


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, write.

    Raises:
        ConfigError: a device or a variant that is not there.
    """
    args = _parser().parse_args(arguments)
    if args.list:
        print("\n".join(f"{variant.key:24} {variant.label}" for variant in VARIANTS))
        return
    check_device(args.device)
    wanted = [(task, chosen(task, args.device, quick=args.quick, only=args.only)) for task in sizes(args)]
    wanted = [(task, variants) for task, variants in wanted if variants]
    if not wanted:
        raise ConfigError("--only", got=args.only, expected=f"a variant that --device {args.device} has",
                          do="Leave --quick or --only out, or take another one of --list.")  # fmt: skip
    for peer in named([variant for _, variants in wanted for variant in variants]):
        if peer not in HOME:
            _prepare(peer, args.here)
    if args.install:
        return
    record = run(wanted, args)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "training_step.json").write_text(json.dumps(record, indent=1))
    (args.out / "training_step.md").write_text(text := markdown(record))
    print(text)
    if any("step" in row for task in record["tasks"] for row in task["rows"]):
        draw(record, args.out / "training_step.png")
    print(f"{record['seconds']:.0f} s; written to {args.out}")


def run(wanted: list[tuple[tasks.Task, list[Any]]], args: argparse.Namespace) -> dict[str, Any]:
    """The record of all tasks."""
    start, load = time.perf_counter(), _load()
    rounds = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    found = []
    for task, variants in wanted:
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(task, variants, Path(folder), device=args.device, threads=args.threads,
                                 rounds=rounds, here=args.here, keep=args.keep_memory))  # fmt: skip
    versions: dict[str, str] = {}
    for one in found:
        versions |= one.pop("versions")
    where = machine() | {"device": check_device(args.device), "threads": args.threads,
                         "freed memory": "kept by all" if args.keep_memory else "as each library has it",
                         "load": f"{load} before, {_load()} after"}  # fmt: skip
    return {"name": "training_step", "quick": args.quick, "machine": where, "versions": versions,
            "order": [variant.key for variant in VARIANTS], "seconds": time.perf_counter() - start,
            "tasks": found, "bars": judged(found)}  # fmt: skip


def sizes(args: argparse.Namespace) -> list[tasks.Task]:
    """The tasks: three dense ones and a convolutional one; one of the given size where one is given, and on a GPU."""
    if args.batch or args.width or args.hidden or args.device != "cpu":
        width = args.width or 512
        return [tasks.Task("dense", args.batch or 1024, width, args.hidden or width)]
    dense = tasks.DENSE[::2] if args.quick else tasks.DENSE
    return [*dense, tasks.CONV]


def check_device(device: str) -> str:
    """The name of a device.

    Raises:
        ConfigError: torch does not see it.
    """
    if device == "cpu":
        return "CPU"
    if not torch.cuda.is_available():
        raise ConfigError("--device", got=device, expected="a GPU that torch can use",
                          do="Run it where there is one, with a CUDA build of torch.")  # fmt: skip
    return torch.cuda.get_device_name()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_step", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="two minutes: fewer sizes, variants and rounds")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), metavar="FOLDER")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=positive, default=0, help="one dense task of this batch ..")
    parser.add_argument("--width", type=positive, default=0, help=".. and this width of the state ..")
    parser.add_argument("--hidden", type=positive, default=0, help=".. and of its branches; the same by default")
    parser.add_argument("--threads", type=positive, default=2, help="of every worker")
    parser.add_argument("--rounds", type=positive, default=0, help=f"{ROUNDS} by default, {QUICK_ROUNDS} with --quick")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these peers or variants; see --list")
    parser.add_argument(
        "--keep-memory", action="store_true", help="every process keeps freed memory, as node_oc's does by itself"
    )
    parser.add_argument("--here", action="store_true", help="run the peers that this interpreter can import in it")
    parser.add_argument("--list", action="store_true", help="names of all variants")
    parser.add_argument("--install", action="store_true", help="make the environments and stop")
    return parser


def _prepare(peer: str, here: bool) -> None:
    """Make an environment before anything is timed; a peer that cannot be had is missing from the table."""
    try:
        interpreter(peer, here)
    except OSError as error:
        print(f"{peer}: {error}")


def _load() -> str:
    """How busy the machine was in the last minute."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "?"


if __name__ == "__main__":
    try:
        main()
    except NodeOCError as error:
        raise SystemExit(str(error)) from None
