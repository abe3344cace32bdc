"""The arguments and options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Name = Annotated[
    str | None,
    typer.Argument(
        help="spirals, digits, digits-transformer, digits-ternary; with --data mnist, mnist-conv, mnist-transformer, "
        "mnist-binary, mnist-ternary; or a TOML file.",
        show_default=False,
    ),
]
Data = Annotated[str | None, typer.Option(help="Your data: a CSV, NPZ or Parquet file, or a folder of IDX files.")]
Target = Annotated[str | None, typer.Option(help="The column to predict, with a table.")]
TaskOption = Annotated[str | None, typer.Option("--task", help="classification (default) or regression.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Change a value of the configuration; may be repeated. `node-oc config` shows them all.",
    ),
]
Own = Annotated[
    str | None,
    typer.Option("--model", metavar="MODULE:FUNCTION", show_default=False,
                 help="Your function that makes the model, where the run adopted yours; its code is run."),
]  # fmt: skip
BudgetOption = Annotated[
    float | None, typer.Option(help="Accuracy that may be given up for depth; 0.005 is half a point.")
]
Way = Annotated[
    str | None,
    typer.Option("--search", help="grow (default): from two layers. cut: train a deep network, then cut it."),
]
DriverOption = Annotated[
    str | None,
    typer.Option(
        "--driver", metavar="NAME", show_default=False,
        help="What drives a step while training: time (default), stochastic_depth, branch_dropout, two_point, "
        "gaussian, shake_shake.",
    ),
]  # fmt: skip
Keep = Annotated[
    float | None,
    typer.Option("--keep", metavar="P", show_default=False, help="Survival or keep probability of the driver; 0.8."),
]
Certify = Annotated[bool, typer.Option("--certify", help="Report the certified depth as the depth.")]
Out = Annotated[Path | None, typer.Option(help="Directory to write; runs/NAME by default.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier call wrote there.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="The directory of a run.")]
Which = Annotated[str, typer.Option(help="Which network of the run: full, priced, cropped or plain.")]
Chosen = Annotated[
    str | None,
    typer.Option("--which", show_default=False,
                 help="Which network of the run: cropped (default), full, priced, plain; of a chain, its only one."),
]  # fmt: skip
Stem = Annotated[Path | None, typer.Option(help="Where to write, without ending; beside the network by default.")]
Model = Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="A run, or a model file (.json or .safetensors).")]
