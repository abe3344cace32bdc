"""What a person sees: progress bars while it trains, a table and the verdict afterwards."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from node_oc.training.loop import Progress

console = Console()


def show(record: dict[str, Any], folder: Path) -> None:
    """Table, verdict and files of a run."""
    if not record:
        return  # another process of a distributed run speaks
    if record.get("kind") == "discrete":
        if "packed" in record:
            _show_discrete(record, folder)
        else:
            print(
                f"Trained. Wrote {folder}/full.safetensors.\nNext: node-oc pack {folder}, node-oc predict {folder} DATA"
            )
        return
    if "models" not in record:
        print(
            f"Trained. Wrote {folder}/full.safetensors.\n"
            f"Next: node-oc diagnose {folder}, node-oc crop {folder} --depth K"
        )
        return
    from node_oc.report import table

    console.print(table(record))
    print(record["verdict"])
    print(f"\nWrote to {folder}:")
    for path in sorted(folder.iterdir()):
        if path.suffix in (".png", ".html", ".onnx", ".pt2") or path.stem in ("cropped", "report"):
            print(f"  {path}")


def _show_discrete(record: dict[str, Any], folder: Path) -> None:
    from node_oc.report import packed_table, speed_table

    console.print(packed_table(record["packed"], f"{record['name']}: {record['values']} weights"))
    if record["packed"]["speeds"]:
        console.print(speed_table(record["packed"]))
    print(record["verdict"])
    print(f"\nWrote to {folder}:")
    for name in (*record["files"], "epochs.png", "report.html", "report.json"):
        print(f"  {folder / name}")


@contextlib.contextmanager
def bars() -> Iterator[Progress]:
    """A bar for each training; nothing is drawn by the other processes of a distributed run."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bars = Progress(
        TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[info]}"),
        TimeRemainingColumn(elapsed_when_finished=True), console=console,
        disable=os.environ.get("LOCAL_RANK", "0") != "0",
    )  # fmt: skip
    tasks: dict[str, Any] = {}

    def progress(name: str, done: int, updates: int, info: Any) -> None:
        if name not in tasks:
            tasks[name] = bars.add_task(name, total=updates, info="")
        if done % 20 == 0 or done == updates:
            bars.update(tasks[name], completed=done, info=f"J = {info.objective:.4f}, {info.awake_steps} awake")

    with bars:
        yield progress


@contextlib.contextmanager
def interruptible(folder: Path, command: str | None = None) -> Iterator[None]:
    """Ctrl-C leaves a run that can be continued, and says by which command; `node-oc resume` if None."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nInterrupted. Continue with: {command or f'node-oc resume {folder}'}", file=sys.stderr)
        raise typer.Exit(130) from None
