"""Commands for a run or a model that exists: diagnose, crop, export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from node_oc.cli.display import bars, console
from node_oc.cli.hamiltonian import as_record, ask_hamiltonians, show_hamiltonians
from node_oc.cli.options import Chosen, Model, Overwrite, Own, Run, Stem, Which
from node_oc.cli.own import trust


def diagnose(
    folder: Run, which: Which = "full",
    part: Annotated[str, typer.Option(help="Samples to look at: train, val or test.")] = "test",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    hamiltonian: Annotated[bool, typer.Option("--hamiltonian", help="Costate and Hamiltonian of every layer.")] = False,
    own: Own = None,
) -> None:  # fmt: skip
    """Every layer in numbers, and a verdict.

    Stage cost, accuracy, distance to the minimisers, increment and control norm; entry depth and exit, decay rate,
    counting bound, dissipation inequality.
    """
    from dataclasses import asdict

    from node_oc import pipeline, store
    from node_oc.diagnosis import diagnose as ask
    from node_oc.diagnosis import disagreement
    from node_oc.errors import ConfigError

    trust(own)
    if part not in ("train", "val", "test"):
        raise ConfigError("--part", got=repr(part), expected="train, val or test", do="Correct the name.")
    config = pipeline.read_config(folder)
    pipeline.check_skips(config, "diagnose")
    network = pipeline.read_network(folder, which)
    split = pipeline.load_split(config)
    problem = pipeline.make_problem(config, split).priced(0.0)  # every network ends its training without a price
    other = _other(folder, which, network)
    answer = ask(network, problem, getattr(split, part), config.search.budget, other)
    principle = ask_hamiltonians(folder, which, network, config, split, part) if hamiltonian else None
    if as_json:
        more = {"hamiltonian": as_record(principle[1])} if principle else {}
        print(json.dumps({**asdict(answer), "sentence": answer.sentence, "sentences": answer.sentences, **more}))
        return
    p = answer.profile
    metric = "accuracy" if split.task == "classification" else "loss"
    table = Table("layer k", "stage cost", metric, p.distance_name or "distance", "increment", "control norm")
    for k in range(network.depth + 1):
        last = k == network.depth
        awake = "" if last or k in network.awake else " (asleep)"
        table.add_row(
            f"{k}{awake}", f"{p.stage[k]:.4f}", f"{p.metric[k]:.4f}", f"{p.distance[k]:.4f}" if p.distance else "-",
            "" if last else f"{p.increment[k]:.4g}", "" if last else f"{p.control[k]:.4g}",
        )  # fmt: skip
    console.print(table)
    if answer.entry_accuracy is not None:
        print(
            f"Entry by accuracy: within {config.search.budget:g} of the last layer "
            f"from layer {answer.entry_accuracy} on."
        )
    for sentence in answer.sentences.values():
        print(sentence)
    if which == "full" and split.task == "classification" and (folder / "report.json").exists():
        share = disagreement(network, pipeline.read_network(folder, "cropped"), getattr(split, part))
        print(f"The cropped network decides {100 * share:.2f} % of these samples differently.")
        print(store.read_json(folder / "report.json")["verdict"])
    if principle:
        show_hamiltonians(*principle)


def crop(
    folder: Run,
    depth: Annotated[int | None, typer.Option(help="Layers to keep; without it the exactly zero ones go.")] = None,
    which: Annotated[
        str | None, typer.Option(help="full, priced, cropped or plain; full with --depth, priced without.")
    ] = None,
    heal: Annotated[bool, typer.Option(help="Heal on the training data for a third of the epochs.")] = True,
    out: Stem = None, overwrite: Overwrite = False, own: Own = None,
) -> None:  # fmt: skip
    """Cut a network at a depth, heal it, save it.

    Without --depth the exactly zero layers are dropped, which changes no output.
    """
    from node_oc import pipeline
    from node_oc.cropping import crop as cut
    from node_oc.exporting import save_model
    from node_oc.inference import Model
    from node_oc.training.driver import noise_of

    trust(own)
    config = pipeline.read_config(folder)
    pipeline.check_skips(config, "crop")
    small = cut(pipeline.read_network(folder, which or ("priced" if depth is None else "full")), depth=depth)
    full = pipeline.read_network(folder, "full")
    stem = out or folder / ("awake" if depth is None else f"cropped-{small.depth}")
    refuse_existing(Path(f"{stem}.json"), overwrite)
    split = pipeline.load_split(config)
    before = _accuracy(small, split)
    if heal:
        with bars() as progress:
            pipeline.heal_network(config, split, small, full, progress)
    files = save_model(Model.of(small, split, noise_of(config.training)), stem)
    after = f", {_accuracy(small, split)} after healing" if heal else ""
    count = f"{small.depth} layer{'s' * (small.depth != 1)}"
    print(f"{count}: {before} before{after} (test). Wrote {files[0]} and {files[1].name}.")


def export(
    model: Model, which: Chosen = None,
    onnx: Annotated[bool, typer.Option(help="Write an ONNX file, checked against torch.")] = True,
    torch_export: Annotated[bool, typer.Option(help="Write a .pt2 file for torch.export.load.")] = True,
    early: Annotated[
        bool, typer.Option("--early-exit", help="Write an ONNX file in which each row stops by the model's policy.")
    ] = False,
    out: Stem = None, overwrite: Overwrite = False, own: Own = None,
) -> None:  # fmt: skip
    """Write ONNX and torch.export files."""
    from node_oc.exporting import export as write
    from node_oc.exporting import export_exits, load_model

    trust(own)
    stem = stem_of(model, which)
    read = load_model(stem)
    target = out or stem
    target.parent.mkdir(parents=True, exist_ok=True)
    exits = read.early_exit() if early else None
    for ending in (".onnx", ".pt2", *((".json",) if target != stem else ()), *(("-exits.onnx",) if early else ())):
        refuse_existing(Path(f"{target}{ending}"), overwrite)
    # Any rows trace the same program; the mean and points around it are what the model was made for.
    import torch

    noise = torch.randn(256, len(read.meta["features"]), generator=torch.Generator().manual_seed(0))
    rows = read.x_mean + noise * read.x_std
    written = write(read, target, rows, onnx=onnx, torch_export=torch_export)
    for path, what in written.files.items():
        print(f"{path}: {what}")
    if written.parity:
        print("ONNX against torch, largest difference over the largest output: "
              + ", ".join(f"{v:.1e} at batch {b}" for b, v in written.parity.items()))  # fmt: skip
    if exits:
        path = Path(f"{target}-exits.onnx")
        parity = export_exits(exits, rows, path)
        print(f"{path}: raw features (batch, D) to outputs and depths, each row with as many layers as it needs; "
              f"{max(parity.values()):.1e} off torch")  # fmt: skip


def _other(folder: Path, which: str, network: Any) -> Any:
    """The cropped network of the run as another control, where there is one that is not this network itself."""
    from node_oc import pipeline

    if which == "cropped" or not (folder / "cropped.json").exists():
        return None
    cropped = pipeline.read_network(folder, "cropped")
    return None if which == "full" and cropped.depth == network.depth else cropped


def stem_of(model: Path, which: str | None) -> Path:
    """The model's path without ending, of a run or of a file.

    Without a name it is what a run is made for: the cropped network, or the only one of a chain that cannot be cropped.
    """
    from node_oc.errors import StoreError

    if which is None:
        from node_oc.pipeline import read_config

        chain = (model / "config.toml").exists() and read_config(model).system.kind == "discrete"
        which = "full" if chain else "cropped"

    if model.suffix in (".json", ".safetensors"):
        return model.with_suffix("")
    stem = model / which if model.is_dir() else model
    if not Path(f"{stem}.json").exists():
        have = sorted(path.stem for path in model.glob("*.safetensors")) if model.is_dir() else []
        raise StoreError(str(model), got=f"no model {which!r}; there is {', '.join(have) or 'none'}",
                         expected="a finished run or a model file",
                         do="Finish the run with `node-oc resume`, or choose another --which.")  # fmt: skip
    return stem


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise StoreError where a file exists that may not be replaced."""
    from node_oc.errors import StoreError

    if path.exists() and not overwrite:
        raise StoreError(
            str(path),
            got="a file that exists",
            expected="a new name",
            do="Give another --out, or --overwrite.",
        )


def _accuracy(network: Any, split: Any) -> str:
    from node_oc.diagnosis import sample_losses
    from node_oc.record import interval

    found = interval(sample_losses(network, split.test, split.task), split.task)
    return f"{found['name']} {found['value']:.4f} [{found['low']:.4f}, {found['high']:.4f}]"
