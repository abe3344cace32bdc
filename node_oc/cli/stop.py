"""`stop`: teach a network of a run when each sample may stop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from node_oc.cli.display import console
from node_oc.cli.options import Overwrite, Own, Run, Which
from node_oc.cli.own import trust
from node_oc.cli.use import refuse_existing


def stop(
    folder: Run,
    cost: Annotated[
        float | None,
        typer.Option(metavar="C", help="What a layer costs, in units of loss; 0.001 is a tenth of a point."),
    ] = None,
    depth: Annotated[float | None, typer.Option(metavar="D", help="Mean depth allowed, in layers.")] = None,
    loss: Annotated[
        float | None,
        typer.Option(metavar="P", help="Accuracy that may be lost against the full network; 0.001: 0.1 points."),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="fixed, entropy, confidence, margin (regression: change), look-ahead or "
                     "continuation; all, and the best of them, by default."),
    ] = None,
    exits: Annotated[
        str | None, typer.Option(help="Depths at which a sample may stop, as in 1,2,4; all by default.")
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(metavar="Q", help="Guarantee the loss at this confidence, 0.95 say.")
    ] = None,
    which: Which = "full",
    timing: Annotated[bool, typer.Option(help="Measure what early exit gains on this machine.")] = True,
    out: Annotated[Path | None, typer.Option(help="Where to write, without ending; RUN/stop by default.")] = None,
    overwrite: Overwrite = False, own: Own = None,
) -> None:  # fmt: skip
    """Teach a network of a run when each sample may stop, and say what that gains.

    One of --cost, --depth and --loss says what is wanted. Then: node-oc predict RUN DATA --early-exit
    """
    from node_oc import pipeline

    trust(own)
    depths = None if exits is None else _exits(exits)
    if out:
        for ending in (".json", ".html", "-curve.png", "-depths.png", "-samples.png"):
            refuse_existing(Path(f"{out}{ending}"), overwrite)
        out.parent.mkdir(parents=True, exist_ok=True)
    with console.status("policies"):
        record = pipeline.stop(folder, cost=cost, depth=depth, loss=loss, policy=policy, exits=depths,
                               confidence=confidence, which=which, timing=timing, out=out)  # fmt: skip
    show_stopping(record)
    stem = out or folder / pipeline.STOP
    print(f"\nWrote {folder / pipeline.STOPPING_MODEL}.json, {stem}.html, {stem}.json and pictures beside them.")
    print(f"Next: node-oc predict {folder} DATA --early-exit")


def show_stopping(record: dict[str, Any]) -> None:
    """One row a policy, and the verdict."""
    from rich import box
    from rich.table import Table

    classify = record["task"] == "classification"
    table = Table(title=f"{record['name']}, {record['which']}, {record['layers']} layers: when to stop",
                  title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))  # fmt: skip
    table.add_column("policy", no_wrap=True)
    lost = f"lost, {'points' if classify else '%'}\n95 % interval"
    for heading in ("mean\ndepth", "test\naccuracy" if classify else "test\nloss", lost, "guaranteed,\nmean depth"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in record["families"]:
        test, sure = one["test"], one["guarantee"]
        mark = " *" if one["name"] == record["chosen"]["family"] else ""
        safe = f"{sure['held']['depth']:.2f}" if sure and not sure["why"] else ""
        if test is None:
            table.add_row(one["name"] + mark, "out of reach", "", "", safe)
            continue
        metric = f"{1 - test['loss']:.4f}" if classify else f"{test['loss']:.4g}"
        less = f"{100 * test['excess']:+.2f} ({100 * test['low']:+.2f} to {100 * test['high']:+.2f})"
        table.add_row(one["name"] + mark, f"{test['depth']:.2f}", metric, less, safe)
    full = record["full"]["loss"]
    table.add_row("full network", str(record["layers"]), f"{1 - full:.4f}" if classify else f"{full:.4g}", "", "")
    console.print(table)
    print(record["verdict"])
    if record["paying"]:
        print(record["paying"]["sentence"])


def _exits(given: str) -> list[int]:
    """ "1,2,4" as numbers."""
    from node_oc.errors import ConfigError

    words = [word.strip() for word in given.split(",")]
    if not all(word.isdecimal() for word in words):
        raise ConfigError("--exits", got=repr(given), expected="depths with commas between, as in 1,2,4",
                          do="Correct them.")  # fmt: skip
    return [int(word) for word in words]
