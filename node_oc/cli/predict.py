"""`predict`: new rows of a table, in the mean or by noisy passes."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated

import typer

from node_oc.cli.driving import named_noise
from node_oc.cli.options import Chosen, Keep, Model, Overwrite, Own
from node_oc.cli.own import trust
from node_oc.cli.use import refuse_existing, stem_of


def predict(
    model: Model,
    data: Annotated[Path, typer.Argument(help="A table (CSV, NPZ, Parquet) with the model's feature columns.")],
    which: Chosen = None,
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
    early: Annotated[
        bool, typer.Option("--early-exit", help="Stop each row where the model's policy says so; adds its depth.")
    ] = False,
) -> None:  # fmt: skip
    """Predict new rows of a table, as CSV.

    Labels and probabilities, or target values in their own units. With --samples by noisy passes, with --early-exit by
    as many layers as each row needs.
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
    if early and samples is not None:
        raise ConfigError("--early-exit", got="--samples beside it", expected="one of the two",
                          do="A policy was fitted to readouts without noise: leave one out.")  # fmt: skip
    noise = named_noise(driver, keep)
    if out:
        refuse_existing(out, overwrite)
    if early and model.is_dir() and which is None:
        which = "stopping"
        if not (model / "stopping.json").exists():
            raise ConfigError("--early-exit", got=f"{model}, which has not learnt when to stop",
                              expected="a run with a policy", do=f"Fit one first: node-oc stop {model}")  # fmt: skip
    read = load_model(stem_of(model, which))
    x = torch.from_numpy(read_features(data, read.meta["features"]))
    head = ["prediction", *(f"p_{c}" for c in read.meta["classes"])]
    if early:
        labels, columns, depths = read.predict_early(x)
        head, columns = [*head, "depth"], torch.cat([columns, torch.tensor(depths)[:, None]], 1)
    elif samples is None:
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
        depth = f", {sum(depths) / max(1, len(depths)):.2f} of {read.network.depth} layers in the mean" if early else ""
        print(f"Wrote {len(labels)} predictions to {out}{depth}.")
    else:
        print(text.getvalue(), end="")
