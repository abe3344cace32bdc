"""From nothing to a short MNIST network: one search, or sweeps of plain networks? Minutes, and work.

    python -m benchmarks.end_to_end --data DIRECTORY [--seed 0] [--folder runs/end_to_end] [--out FOLDER]

The preset mnist, one seed, one way after the other, each in a fresh process whose every second counts: start, reading
the data, training, judging. Searches certify their answer; the plain neighbour, pictures and files are left out.
Interrupted, the same command continues. Writes end_to_end.json and end_to_end.md, beside this file by default; work is
in trainings of one layer for all epochs. A small one: --epochs 1 --depth 3 --out and --folder elsewhere.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks import positive
from benchmarks.machine import machine
from node_oc import store
from node_oc.config import Config

SEARCHES: dict[str, dict[str, Any]] = {
    "cut": {"search.way": "cut", "problem.price": 0.0},
    "cut-priced": {"search.way": "cut", "problem.price": "auto"},
    "grow": {"search.way": "grow", "problem.price": "auto"},
}
WAYS = {
    "cut": "deep network, cut and healed (price 0)",
    "cut-priced": 'the same with price = "auto"',
    "grow": "grown",
    "sweep": "plain networks of every depth",
    "upwards": "plain networks, upwards with bisection",
}
ENOUGH = 98.0  # % of the test images
BAR = 1 / 5  # minutes of the cut over those of the sweep, at most


def configure(args: argparse.Namespace, way: str) -> Config:
    """The preset with what the command line and the way change."""
    changes: dict[str, Any] = {
        "data.path": args.data, "training.seed": args.seed, "search.plain": False, "search.certify": True,
        **SEARCHES.get(way, {}),
    }  # fmt: skip
    if args.epochs is not None:
        changes |= {"training.epochs": args.epochs, "training.min_updates": 0}
    if args.depth is not None:
        changes["system.depth"] = args.depth
    if args.threads is not None:
        changes["training.threads"] = args.threads
    return Config.preset("mnist", changes)


def go(config: Config, way: str, folder: Path) -> dict[str, Any]:
    """Go one way, in this process: what it found, and its work."""
    from node_oc.diagnosis import sample_losses
    from node_oc.pipeline import load_split, make_network, make_problem
    from node_oc.search import DepthSearch, GrowthSearch, Protocol, Sweeps
    from node_oc.training.batches import training_updates
    from node_oc.training.checkpoint import training_work

    split = load_split(config)
    problem, training = make_problem(config, split), config.training
    whole = training_updates(training, len(split.train))
    certified: int | None = None
    if way in SEARCHES:
        kind = DepthSearch if config.search.way == "cut" else GrowthSearch
        search = kind(problem, split, training, config.search, auto=config.problem.price == "auto", folder=folder,
                      progress=tell)  # fmt: skip
        found = search.run(make_network(config, split))
        network, certified = found.network, found.certified_depth
        done = training_work(folder)
        looks = (found.growth.look_work, found.growth.look_seconds) if found.growth else (0.0, 0.0)
        work = (sum(entry["layer_steps"] for entry in done) + looks[0]) / whole
        seconds = sum(entry["seconds"] for entry in done) + looks[1]
    else:
        protocol = Protocol(problem, split, training, config.search, folder, tell)
        sweeps = Sweeps(
            protocol, lambda depth: make_network(config, split, depth, "plain"), config.system.depth, folder
        )
        answer = sweeps.upwards() if way == "upwards" else sweeps.sweep(range(1, config.system.depth + 1))
        network, work, seconds = answer.network, answer.work, answer.seconds
    test = 100 * (1 - float(sample_losses(network, split.test, split.task).mean()))
    return {"way": way, "layers": network.depth, "certified": certified, "test": test, "work": work,
            "training_seconds": seconds}  # fmt: skip


def tell(name: str, done: int, updates: int, info: Any) -> None:
    """A line for every training that ends."""
    if done == updates:
        print(f"  {name}: {updates} updates, {info.awake_steps} layers awake", flush=True)


def spent(args: argparse.Namespace, way: str) -> dict[str, Any]:
    """The row of a way, gone in a process of its own unless it is there, with the seconds of all its processes."""
    folder, wanted = args.folder / way, configure(args, way).to_toml()
    row, clock = folder / "row.json", folder / "clock.json"
    had: dict[str, Any] = {"configuration": wanted, "seconds": 0.0, "processes": 0}
    if clock.exists():
        had = store.read_json(clock)
    if had["configuration"] != wanted:
        sys.exit(f"{folder} holds another configuration. Give another --folder, or remove this one.")
    if not row.exists():
        folder.mkdir(parents=True, exist_ok=True)
        print(WAYS[way], flush=True)
        start = time.perf_counter()
        try:
            command = [sys.executable, "-m", "benchmarks.end_to_end", *sys.argv[1:], "--one", way]
            failed = subprocess.run(command).returncode
        except KeyboardInterrupt:
            failed = 130
        took = time.perf_counter() - start  # of an interrupted process too
        had |= {"seconds": had["seconds"] + took, "processes": had["processes"] + 1}
        store.write_json(clock, had)
        if failed:
            sys.exit(failed)
    return store.read_json(row) | {key: had[key] for key in ("seconds", "processes")}


def upward_work(answer: int, limit: int) -> int:
    """Layers that an upward sweep trains where plain networks suffice from ``answer`` layers on."""
    from node_oc.search.protocol import smallest

    tried = [1]
    while tried[-1] < limit:
        tried.append(min(2 * tried[-1], limit))
        if tried[-2] >= answer:
            break

    def enough(depth: int) -> bool:
        tried.append(depth)
        return depth >= answer

    high = min(depth for depth in tried if depth >= answer)
    smallest(enough, max((depth for depth in tried if depth < high), default=-1), high)
    return sum(set(tried))


def table(rows: Iterable[dict[str, Any]], depth: int) -> str:
    """In Markdown, with the bar and what speaks for either."""
    by = {row["way"]: row for row in rows}
    lines = ["| way | layers | certified | test, % | minutes | work |", "|---|---|---|---|---|---|"]
    for way, row in by.items():
        certified = "" if way not in SEARCHES else row["certified"] or "none"
        low = "" if row["test"] >= ENOUGH else f" (below {ENOUGH:g})"
        lines.append(f"| {WAYS[way]} | {row['layers']} | {certified} | {row['test']:.2f}{low} | "
                     f"{row['seconds'] / 60:.2f} | {row['work']:.1f} |")  # fmt: skip
    if "cut" not in by:
        return "\n".join(lines)
    cut = by["cut"]
    if "sweep" in by:
        ratio = cut["seconds"] / by["sweep"]["seconds"]
        lines += ["", f"Cut over the sweep of every depth: {ratio:.3f} of its minutes, "
                  f"{cut['work'] / by['sweep']['work']:.3f} of its work; the bar is {BAR:g} of the minutes: "
                  f"{'kept' if ratio <= BAR else 'missed'}."]  # fmt: skip
    if "upwards" in by:
        up = by["upwards"]
        times = cut["seconds"] / up["seconds"]
        said = f"{times:.1f} times its minutes: it wins" if times > 1 else f"{times:.2f} of its minutes"
        dearer = [m for m in range(1, depth + 1) if upward_work(m, depth) > cut["work"]]
        pays = f"from {dearer[0]} layers on" if dearer else "at no depth"
        lines += ["", f"Cut over the sweep upwards: {said}. One training pays where the answer is deep, for the sweep "
                  f"trains ever deeper networks until it is there ({upward_work(1, depth)} layers in all where one is "
                  f"enough, {upward_work(depth, depth)} where {depth} are; here it is more than the cut's work "
                  f"{pays}), where every depth is wanted, or where the deep network exists already. "
                  f"The sweep pays where a few layers are enough{', as here' if times > 1 else ''}."]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Go every way that is not gone yet, print the table, write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder with the four IDX files of MNIST")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=positive, help="of one training; the preset's by default")
    parser.add_argument("--depth", type=positive, help="layers of the deep network; the preset's by default")
    parser.add_argument("--threads", type=positive, help="of torch; its own choice by default")
    parser.add_argument("--folder", type=Path, default=Path("runs/end_to_end"), help="checkpoints")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of the JSON and the table")
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        config = configure(args, args.one)
        row = go(config, args.one, args.folder / args.one)
        store.write_json(args.folder / args.one / "row.json", row)
        return
    rows = [spent(args, way) for way in args.ways]
    config = configure(args, "cut")
    about = {"machine": machine(), "seed": args.seed, "depth": config.system.depth, "epochs": config.training.epochs,
             "threads": config.training.threads}  # fmt: skip
    told = table(rows, config.system.depth)
    args.out.mkdir(parents=True, exist_ok=True)
    store.write_json(args.out / "end_to_end.json", {**about, "rows": rows})
    store.write_atomic(args.out / "end_to_end.md", f"{told}\n".encode())
    print(told)


if __name__ == "__main__":
    main()
