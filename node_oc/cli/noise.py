"""`noise`: what noise does to the networks of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from node_oc.cli.display import console
from node_oc.cli.driving import driver_changes, named_noise
from node_oc.cli.options import Overwrite, Own, Run
from node_oc.cli.own import trust
from node_oc.cli.use import refuse_existing


def noise(
    folder: Run,
    driver: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A driver, as of `run`; may be repeated; all that fit by default."),
    ] = None,
    keep: Annotated[
        float | None, typer.Option(metavar="P", help="Survival or keep probability; that of the run by default.")
    ] = None,
    which: Annotated[
        list[str] | None,
        typer.Option(help="full, priced, cropped or plain; may be repeated; full and cropped by default."),
    ] = None,
    part: Annotated[str, typer.Option(help="Samples to look at: train, val or test.")] = "test",
    rows: Annotated[int, typer.Option(min=2, help="So many of its first samples.")] = 1000,
    samples: Annotated[int, typer.Option(help="Noisy passes of each, an even number.")] = 64,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Where to write, without ending; RUN/noise by default.")] = None,
    overwrite: Overwrite = False, own: Own = None,
) -> None:  # fmt: skip
    """Drive a trained network by noise: accuracy at every depth, J, calibration.

    In the mean, by single noisy passes, and by the mean of many; what noise adds to J beside the explicit regulariser.
    """
    from node_oc import pipeline
    from node_oc.errors import ConfigError
    from node_oc.report import noise_verdict

    trust(own)
    driver_changes(None, keep)
    for name in driver or []:
        named_noise(name, keep)
    if part not in ("train", "val", "test"):
        raise ConfigError("--part", got=repr(part), expected="train, val or test", do="Correct the name.")
    if out:
        for ending in (".json", ".html", "-depth.png", "-reliability.png"):
            refuse_existing(Path(f"{out}{ending}"), overwrite)
        out.parent.mkdir(parents=True, exist_ok=True)
    stem = out or folder / pipeline.NOISE
    with console.status("noisy passes"):
        record = pipeline.study_noise(folder, driver, keep=keep, which=which, part=part, samples=rows, passes=samples,
                                      seed=seed, out=stem)  # fmt: skip
    show_noise(record)
    print("Foretold: by the explicit regulariser, to leading order.")
    print(f"\n{noise_verdict(record)}\n\nWrote {stem}.html, {stem}.json and pictures beside them.")


def show_noise(record: dict[str, Any]) -> None:
    """One table a network, one row a noise, and a sentence on each."""
    from rich import box
    from rich.table import Table

    from node_oc.report import number

    classify = record["task"] == "classification"
    metric = "accuracy" if classify else "loss"
    for network in record["networks"]:
        count = f"{network['layers']} layer{'s' * (network['layers'] != 1)}"
        table = Table(title=f"{record['name']}, {network['name']}, {count}", title_justify="left", box=box.SIMPLE_HEAD,
                      pad_edge=False, padding=(0, 1, 0, 0))  # fmt: skip
        table.add_column("noise", no_wrap=True)
        for heading in (f"{metric}\na pass", "mean of\npasses", "ECE of\npasses" if classify else "std over\npasses",
                        "added to J\nmeasured", "added to J\nforetold"):  # fmt: skip
            table.add_column(heading, justify="right", no_wrap=True)
        first = network["noises"][0]
        ece = f"{first['mean_calibration']['ece']:.4f}" if classify else ""
        table.add_row("none", "", f"{first['metric'][-1]:.4f}", ece, f"J = {first['objective']:.4g}", "")
        for one in network["noises"]:
            end = f"{one['passes_calibration']['ece']:.4f}" if classify else number(one["deviation"], 3)
            table.add_row(one["noise"], *(f"{one[key][-1]:.4f}" for key in ("noisy_metric", "passes_metric")), end,
                          f"{one['excess']:+.3g}", f"{one['regulariser']:+.3g}")  # fmt: skip
        console.print(table)
        for one in network["noises"]:
            print(one["sentence"])
        print()
    for name, why in record["left_out"].items():
        print(f"Left out: {name}. {why}")
