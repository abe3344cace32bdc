"""`predict`: new rows of a table, in the mean or by noisy passes."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated

import typer

from node_oc.cli.driving import named_noise
from node_oc.cli.options import Keep, Model, Overwrite, Own, Which
from node_oc.cli.own import trust
from node_oc.cli.use import refuse_existing, stem_of


def predict(
    model: Model,
    data: Annotated[Path, typer.Argument(help="A table (CSV, NPZ, Parquet) with the model's feature columns.")],
    which: Which = "cropped",
    out: Annotated[Path | None, typer.Option(help="CSV file to write; standard output by default.")] = None,
    overwrite: Overwrite = False, own: Own = None,
    samples: Annotated[
        int | None, typer.Option(help="Predict by so many noisy passes, and say how far they disagree.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the noise; 0 by default.")] = None,
    antithetic: Annotated[
        bool, typer.Option("--antithetic", help="Every second pass has the mirrored noise of the one before.")
    ] = False,
    driver: Annotated[
        str | None, typer.Option(metavar="NAME", help="Another noise than that of the training, see `run`.")
    ] = None,
    keep: Keep = None,
) -> None:  # fmt: skip
    """Predict new rows of a table, as CSV.

    Labels and probabilities, or target values in their own units. With --samples by noisy passes.
    """
    import torch

    from node_oc import store
    from node_oc.data import read_features
    from node_oc.errors import ConfigError
    from node_oc.exporting import load_model

    trust(own)
    given = {"--seed": seed, "--driver": driver, "--keep": keep, "--antithetic": antithetic or None}
    if samples is None and (alone := [name for name, value in given.items() if value is not None]):
        raise ConfigError(alone[0], got="no --samples", expected="a number of noisy passes beside it",
                          do="Add --samples 100, or leave it out: without noise nothing is drawn.")  # fmt: skip
    noise = named_noise(driver, keep)
    if out:
        refuse_existing(out, overwrite)
    read = load_model(stem_of(model, which))
    x = torch.from_numpy(read_features(data, read.meta["features"]))
    head = ["prediction", *(f"p_{c}" for c in read.meta["classes"])]
    if samples is None:
        labels, columns = read.predict(x)
    else:
        generator = torch.Generator().manual_seed(seed or 0)
        labels, found = read.predict_noisy(x, samples=samples, generator=generator, noise=noise, antithetic=antithetic)
        if found.entropy is None or found.mutual_information is None:
            head, columns = [*head, "std"], found.deviation
        else:
            head = [*head, "entropy", "mutual_information"]
            columns = torch.cat([found.mean, found.entropy[:, None], found.mutual_information[:, None]], 1)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([label, *(f"{v:.6g}" for v in row)] for label, row in zip(labels, columns.tolist(), strict=True))
    if out:
        store.write_atomic(out, text.getvalue().encode())
        print(f"Wrote {len(labels)} predictions to {out}.")
    else:
        print(text.getvalue(), end="")
