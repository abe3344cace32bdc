"""One task: start its workers, check that all compute the same, let them run in turns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environments import interpreter
from benchmarks.peers import OURS, Variant, named
from benchmarks.process import Worker, WorkerError
from benchmarks.task import BODY, WEIGHTS, Arrays, Task, asleep, save
from benchmarks.turns import Spread, burst, paired, play

AGREES = 1e-4
"""Largest relative error of J and of its gradient (float32 against float64) of a variant that computes them."""
Say = Callable[[str], None]
Record = dict[str, Any]


def measure(task: Task, variants: Sequence[Variant], folder: Path, *, device: str, threads: int, rounds: int,
            here: bool, keep: bool = False, say: Say = print) -> Record:  # fmt: skip
    """The record of one task: a row for each variant, in the order of ``variants``; ``keep`` as in :class:`Worker`.

    A peer that cannot be installed or a variant that fails has a row with its "error".

    Raises:
        WorkerError: node_oc's own worker does not start, or the reference cannot be had.
    """
    path = save(task, folder / "task.npz")
    rows: dict[str, Record] = {v.key: {"key": v.key, "label": v.label, "note": v.note} for v in variants}
    versions: dict[str, str] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        missing: dict[str, str] = {}
        peers = list(dict.fromkeys(["node_oc", *named(variants)]))
        for peer in peers:  # all of them first: they import side by side
            try:
                worker = Worker(interpreter(peer, here, say), peer, path, device, threads, folder / f"{peer}.log", keep)
                workers[peer] = stack.enter_context(worker)
            except OSError as error:
                missing[peer] = str(error)
        for peer in workers:
            try:
                versions |= workers[peer].ask("facts")["facts"]
            except WorkerError as error:
                if peer == "node_oc":
                    raise
                missing[peer] = str(error)
        for variant in (v for v in variants if v.peer in missing):
            say(f"{task.name} {variant.label}: {first_line(missing[variant.peer])}")
            rows[variant.key]["error"] = missing[variant.peer]
        ready = [v for v in variants if "error" not in rows[v.key]]
        references = _references(task, ready, workers["node_oc"], folder)
        for variant in ready:
            try:
                rows[variant.key] |= _check(task, variant, workers[variant.peer], references, folder)
                say(f"{task.name} {variant.label}: {_said(rows[variant.key])}")
            except WorkerError as error:
                say(f"{task.name} {variant.label}: {first_line(str(error))}")
                rows[variant.key]["error"] = str(error)
        _time(ready, rows, workers, rounds, partial(_progress, say, task, rounds))
    return {"name": task.name, "task": asdict(task), "flops": task.flops, "rounds": rounds,
            "rows": list(rows.values()), "versions": versions}  # fmt: skip


def _references(task: Task, variants: Sequence[Variant], worker: Worker, folder: Path) -> dict[bool, tuple]:
    """Loss and gradient in float64, of the whole network and of the one with zero branches where it is needed."""
    found = {}
    for zero in sorted({v.asleep for v in variants}):
        path = folder / f"reference{'-asleep' * zero}.npz"
        loss = worker.ask("reference", layers=asleep(task) if zero else (), out=str(path.resolve()))["loss"]
        found[zero] = loss, _arrays(path)
    return found


def _arrays(path: Path) -> Arrays:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def _check(task: Task, variant: Variant, worker: Worker, references: dict[bool, tuple], folder: Path) -> Record:
    """Errors against the reference, seconds until it runs, and how many steps it takes in a turn."""
    path = folder / f"{variant.key.replace('/', '-').replace(' ', '-')}.npz"
    answer = worker.ask("check", variant=variant.name, out=str(path.resolve()))
    row: Record = {}
    if variant.peer != "floor":
        loss, gradient = references[variant.asleep]
        awake = sorted(set(range(task.depth)) - set(asleep(task))) if variant.asleep else list(range(task.depth))
        row["loss_error"] = abs(answer["loss"] - loss) / abs(loss)
        row["gradient_error"] = relative_error(_arrays(path), gradient, awake)
        row["exact"] = max(row["loss_error"], row["gradient_error"]) <= AGREES
    first = worker.ask("run", variant=variant.name, steps=1, warm=0)
    # What is compiled is compiled for the gradient, or for the step, or for each of them: the longer one counts.
    row |= {"start_s": max(answer["seconds"], first["ms"][0] / 1e3), "facts": first["facts"], "once": variant.slow}
    if variant.slow:
        return row | {"ms": first["ms"]}
    row["turn"] = burst(min(worker.ask("run", variant=variant.name, steps=3, warm=1)["ms"]))
    return row


def relative_error(found: Arrays, wanted: Arrays, layers: Sequence[int]) -> float:
    """|found - wanted| / |wanted| over all weights, of these layers where a weight belongs to layers."""
    off = size = 0.0
    for name in (name for name in WEIGHTS if name in wanted):
        ours, theirs = found[name].astype(np.float64), wanted[name]
        if name in BODY:
            ours, theirs = ours[list(layers)], theirs[list(layers)]
        off += float(((ours - theirs) ** 2).sum())
        size += float((theirs**2).sum())
    return math.sqrt(off / size)


def _time(variants: Sequence[Variant], rows: dict[str, Record], workers: dict[str, Worker], rounds: int,
          report: Callable[[int], None]) -> None:  # fmt: skip
    """Play the rounds, and note milliseconds and the ratio of ours to each."""
    playing = [v for v in variants if "error" not in rows[v.key] and not v.slow]

    def run(variant: Variant, steps: int, warm: int) -> list[float]:
        answer: list[float] = workers[variant.peer].ask("run", variant=variant.name, steps=steps, warm=warm)["ms"]
        return answer

    turns = {v.key: rows[v.key]["turn"] for v in playing}
    times = play({v.key: partial(run, v) for v in playing}, turns, rounds, report)
    times |= {v.key: rows[v.key]["ms"] for v in variants if v.slow and "ms" in rows[v.key]}
    for key, ms in times.items():
        rows[key] |= {"ms": ms, "step": Spread.of(ms).record()}
        if OURS in times:
            rows[key]["ratio"] = paired(times[OURS], ms).record()


def _said(row: Record) -> str:
    if "gradient_error" not in row:
        return "ready"
    errors = f"loss off by {row['loss_error']:.0e}, gradient by {row['gradient_error']:.0e}"
    return f"{errors}, runs after {row['start_s']:.1f} s"


def first_line(error: str) -> str:
    """Of an error that may have a page."""
    return error.strip().splitlines()[0][:200] if error.strip() else "no message"


def _progress(say: Say, task: Task, rounds: int, done: int) -> None:
    if done == rounds or done % 5 == 0:
        say(f"{task.name}: {done} of {rounds} rounds")
