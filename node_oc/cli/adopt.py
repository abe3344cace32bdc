"""`adopt`: any PyTorch model with residual additions; what was found, or a run that trains, cuts and certifies it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node_oc.cli.display import bars, interruptible, show
from node_oc.cli.driving import driver_changes
from node_oc.cli.listing import list_branches, with_weights
from node_oc.cli.options import (
    BudgetOption,
    Certify,
    Data,
    DriverOption,
    Keep,
    Out,
    Overwrite,
    Set,
    Target,
    TaskOption,
)
from node_oc.cli.own import is_own, trust

if TYPE_CHECKING:
    from node_oc.config import Config

WHOLE = ("int64", "int32")


def adopt(
    source: Annotated[
        str, typer.Argument(help="torchvision:NAME, timm:NAME, hf:CLASS, or package.module:function of your own.")
    ],
    shape: Annotated[
        str | None, typer.Option("--input", help="Shape of one input, as in 3,32,32; 16,int64 for 16 tokens.")
    ] = None,
    arg: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="An argument of the model, as num_classes=10; may be repeated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what was found, and train nothing.")] = False,
    weights: Annotated[
        Path | None, typer.Option(help="A .safetensors file of the model's state_dict, to start from.")
    ] = None,
    data: Data = None, target: Target = None, task: TaskOption = None, budget: BudgetOption = None,
    flops: Annotated[float | None, typer.Option(help="Share of the full network's FLOPs that may be left.")] = None,
    latency: Annotated[
        float | None, typer.Option(help="Share of the full network's median latency, here, that may be left.")
    ] = None,
    certify: Certify = False, driver: DriverOption = None, keep: Keep = None, sets: Set = None, out: Out = None,
    overwrite: Overwrite = False,
) -> None:  # fmt: skip
    """Train any residual network with stage costs, cut it, certify, report and export.

    Its branches are found in the graph that torch.export makes of it; --dry-run lists them.
    """
    from node_oc.errors import ConfigError

    trust(source)
    given = {"data.target": target, "data.task": task, "search.budget": budget, "search.flops": flops,
             "search.latency": latency, "search.certify": True if certify else None,
             **driver_changes(driver, keep)}  # fmt: skip
    sizes, kind = _shape(shape)
    overrides: dict[str, Any] = {
        "system.kind": "adopted", "system.model": source, "system.arguments": _arguments(arg or []),
        "system.image": sizes, "search.way": "cut", **{k: v for k, v in given.items() if v is not None},
    }  # fmt: skip
    if data is not None:
        path = Path(data).absolute()
        overrides |= {"data.source": "idx" if path.is_dir() else "table", "data.path": str(path)}
    config = _configured(overrides, sets or [])
    known = data is not None or any(change.partition("=")[0].strip() == "data.source" for change in sets or [])
    if dry_run:
        list_branches(config, known, weights, kind)
    else:
        if kind:
            raise ConfigError("--input", got=f"whole numbers, {kind}", expected="an image or features, to train on",
                              do="List what was found with --dry-run; train a language model from Python.")  # fmt: skip
        _train(config, known, weights, out or Path("runs") / source.rpartition(":")[2], overwrite)


def _configured(overrides: dict[str, Any], sets: list[str]) -> Config:
    from node_oc.config import Config
    from node_oc.config.overrides import toml_value

    config = Config.load(None, [*(f"{key}={toml_value(value)}" for key, value in overrides.items()), *sets])
    path = config.data.path
    return config if path is None else config.replace({"data.path": str(Path(path).absolute())})


def _shape(given: str | None) -> tuple[list[int], str]:
    """ "3,32,32" as numbers, and the type where that is whole numbers: "16,int64" for 16 tokens."""
    from node_oc.errors import ConfigError

    words = [word.strip() for word in (given or "").split(",")]
    kind = words.pop() if words[-1] in WHOLE and len(words) > 1 else ""
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise ConfigError("--input", got=repr(given) if given else "nothing",
                          expected="the shape of one input, as in 3,32,32 for a colour image or 64 for 64 features",
                          do="Give it, without the batch.")  # fmt: skip
    return [int(word) for word in words], kind


def _arguments(given: list[str]) -> dict[str, Any]:
    """ "num_classes=10" as an entry: a value is TOML where it is TOML, and text otherwise."""
    import tomllib

    from node_oc.errors import ConfigError

    found: dict[str, Any] = {}
    for entry in given:
        key, equals, text = (part.strip() for part in entry.partition("="))
        if not equals or not key.isidentifier() or key in found:
            raise ConfigError("--arg", got=repr(entry), expected="KEY=VALUE, each key once, as in num_classes=10",
                              do="Correct it.")  # fmt: skip
        try:
            table = tomllib.loads(f"value = {text}")
            found[key] = table["value"] if table.keys() == {"value"} else text
        except ValueError:
            found[key] = text
    return found


def _train(config: Config, known: bool, weights: Path | None, folder: Path, overwrite: bool) -> None:
    from node_oc import pipeline
    from node_oc.errors import ConfigError

    if not known:
        raise ConfigError("what to train on", got="no --data",
                          expected="a table with --target, a folder of IDX files, or --set data.source=digits",
                          do="Name data, or list what was found with --dry-run.")  # fmt: skip
    split = pipeline.load_split(config)
    network = pipeline.make_network(config, split)
    start = None if weights is None else with_weights(network, weights)
    name = str(config.system.model)
    again = f"node-oc resume {folder}" + (f" --model {name}" if is_own(name) else "")
    with bars() as progress, interruptible(folder, again):
        record = pipeline.run(config, folder, name=folder.name, overwrite=overwrite, progress=progress, start=start)
    show(record, folder)
