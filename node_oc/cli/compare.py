"""`compare`: a finished run beside what else could have been done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from node_oc.cli.display import bars, console, interruptible
from node_oc.cli.options import Overwrite, Own, Run, Stem
from node_oc.cli.own import trust
from node_oc.cli.use import refuse_existing


def compare(
    folder: Run,
    depths: Annotated[
        str | None, typer.Option(help="Layers of plain networks, as in 1,2,4; 1, 2, 3, 4, 6, 8, 12 and N by default.")
    ] = None,
    out: Stem = None, overwrite: Overwrite = False, model: Own = None,
) -> None:  # fmt: skip
    """Compare a finished run with plain networks, two sweeps, and two ways to drop layers.

    Trains what is missing, with the run's own settings; Ctrl-C, then the same command, continues.
    """
    from node_oc import pipeline

    trust(model)
    wanted = None if depths is None else _depths(depths)
    stem = out or folder / pipeline.COMPARE
    if out:
        for ending in (".json", ".png"):
            refuse_existing(Path(f"{out}{ending}"), overwrite)
        out.parent.mkdir(parents=True, exist_ok=True)  # now, and not after an hour of training
    again = " ".join(["node-oc compare", str(folder), *(["--depths", depths] if depths else []),
                      *(["--out", str(out)] if out else []), *(["--overwrite"] if overwrite else []),
                      *(["--model", model] if model else [])])  # fmt: skip
    with bars() as progress, interruptible(folder, again):
        record = pipeline.compare(folder, wanted, out=stem, progress=progress)
    if record:
        show_comparison(record)
        print(f"\nWrote {stem}.json and {stem}.png.")


def show_comparison(record: dict[str, Any]) -> None:
    """One row a way, the plain networks below, and the verdict."""
    from rich import box
    from rich.table import Table

    from node_oc.report import number

    classify = record["task"] == "classification"
    table = Table(title=f"{record['name']}: other ways to a shallow network", title_justify="left",
                  box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))  # fmt: skip
    table.add_column("way", min_width=15)
    excess = "excess,\npoints" if classify else "excess"
    test = f"test {record['reference']['test']['name']}\n95 % interval"
    for heading in ("layers", excess, test, "work", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in [*record["rows"], *record["plain"], record["reference"]]:
        excess = f"{100 * row['excess']:+.2f}" if classify else f"{row['excess']:+.2g}"
        cost = (f"{row['work']:.1f}", f"{row['seconds']:.1f}") if row["trainings"] else ("", "")
        table.add_row(row["name"], number(row["layers"]), excess if row["inside"] else f"{excess} over",
                      _metric(row["test"]), *cost)  # fmt: skip
        if row is record["rows"][-1]:
            table.add_section()
    console.print(table)
    _show_costs(record)
    print("Excess: mean loss on validation data less that of the reference; over: not within the budget."
          if classify else "Excess: paired validation loss over what the budget allows; over: above 0.")  # fmt: skip
    print("Work: in trainings of one layer for all epochs.")
    print(record["verdict"])


def _show_costs(record: dict[str, Any]) -> None:
    """What every way's network costs, where the record says so."""
    from rich import box
    from rich.table import Table

    from node_oc.report import number

    rows = [row for row in [*record["rows"], record["reference"]] if row.get("latency_ms")]
    if not rows:
        return
    batches = list(rows[0]["latency_ms"])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("way", min_width=15)
    for heading in (
        "parameters",
        "FLOPs",
        *(f"ms, p50 / p95\nbatch {b}" for b in batches),
        f"MiB\nbatch {batches[-1]}",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        times = [f"{number(t['p50'], 3)} / {number(t['p95'], 3)}" for t in (row["latency_ms"][b] for b in batches)]
        table.add_row(row["name"], number(row["parameters"]), number(row["flops"]), *times,
                      number(row["memory"][batches[-1]] / 2**20, 3))  # fmt: skip
    console.print(table)


def _metric(test: dict[str, Any]) -> str:
    """A metric and its interval, on two lines, to fit 80 columns."""
    from node_oc.report import metric, number

    if test["name"] == "accuracy":
        return metric(test).replace(" (", "\n(")
    return f"{number(test['value'], 3)}\n({number(test['low'], 3)} to {number(test['high'], 3)})"


def _depths(given: str) -> list[int]:
    """ "1,2,4" as numbers."""
    from node_oc.errors import ConfigError

    words = [word.strip() for word in given.split(",")]
    if not all(word.isdecimal() for word in words):
        raise ConfigError("--depths", got=repr(given), expected="whole numbers with commas between, as in 1,2,4",
                          do="Correct them.")  # fmt: skip
    return [int(word) for word in words]
