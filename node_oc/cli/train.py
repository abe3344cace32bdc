"""Commands that train: run, fit, resume, config."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node_oc.cli.display import bars, interruptible, show
from node_oc.cli.driving import driver_changes
from node_oc.cli.options import (
    BudgetOption,
    Certify,
    Data,
    DriverOption,
    Keep,
    Name,
    Out,
    Overwrite,
    Own,
    Run,
    Set,
    Target,
    TaskOption,
    Way,
)
from node_oc.cli.own import trust

if TYPE_CHECKING:
    from node_oc.config import Config


def run(
    name: Name = None, data: Data = None, target: Target = None, task: TaskOption = None,
    search: Way = None, budget: BudgetOption = None, certify: Certify = False, driver: DriverOption = None,
    keep: Keep = None, sets: Set = None, out: Out = None, overwrite: Overwrite = False, model: Own = None,
) -> None:  # fmt: skip
    """Find the depth while training, or cut a deep network; certify, report and export."""
    trust(model)
    extra = [f"search.way={search}"] if search is not None else []
    extra += ([f"search.budget={budget}"] if budget is not None else []) + (["search.certify=true"] if certify else [])
    config, title = _configure(name, data, target, task, [*extra, *_driven(driver, keep), *(sets or [])])
    _run(config, title, out, overwrite, only_fit=False)


def fit(
    name: Name = None, data: Data = None, target: Target = None, task: TaskOption = None,
    driver: DriverOption = None, keep: Keep = None, sets: Set = None,
    out: Out = None, overwrite: Overwrite = False, model: Own = None,
) -> None:  # fmt: skip
    """Train the deep network with stage costs and stop there."""
    trust(model)
    config, title = _configure(name, data, target, task, [*_driven(driver, keep), *(sets or [])])
    _run(config, title, out, overwrite, only_fit=True)


def resume(folder: Run, model: Own = None) -> None:
    """Continue an interrupted run.

    It ends with the same bits as an uninterrupted one.
    """
    from node_oc import pipeline

    trust(model)
    with bars() as progress, interruptible(folder):
        record = pipeline.resume(folder, progress=progress)
    show(record, folder)


def config(
    name: Annotated[str | None, typer.Argument(help="A built-in run, as of `run`, or a TOML file.")] = None,
    sets: Set = None,
) -> None:
    """Show a configuration as TOML.

    With what every key means: save it, change it, run it.
    """
    from node_oc.config import KEYS, Config

    for line in Config.load(name, sets or []).to_toml().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        key = f"{section}.{line.split(' =')[0]}"
        print(f"{line}  # {KEYS[key].description}" if key in KEYS else line)


def _driven(driver: str | None, keep: float | None) -> list[str]:
    return [f"{key}={value}" for key, value in driver_changes(driver, keep).items()]


def _configure(
    name: str | None, data: str | None, target: str | None, task: str | None, sets: list[str]
) -> tuple[Config, str]:
    """The configuration that the arguments mean, and the name of the run."""
    from node_oc.config import PRESETS, Config
    from node_oc.errors import ConfigError

    overrides: dict[str, Any] = {}
    if data is not None:
        path = Path(data)
        overrides = {
            "data.source": "idx" if path.is_dir() or name in PRESETS else "table",
            "data.path": str(path.absolute()),
        }
    if name is None and data is None:
        raise ConfigError("what to run", got="no name and no --data",
                          expected=f"one of {', '.join(PRESETS)}, a TOML file, or --data FILE --target COLUMN",
                          do="Try `node-oc run spirals`.")  # fmt: skip
    if data is not None and name in PRESETS and PRESETS[name]["data"]["source"] != "idx":
        raise ConfigError("--data", got=f"{data} with the built-in run {name}",
                          expected="one of the two", do="Leave the name out.")  # fmt: skip
    if target is not None:
        overrides["data.target"] = target
    if task is not None:
        overrides["data.task"] = task
    loaded = Config.load(name, [*(f"{k}={v}" for k, v in overrides.items()), *sets])
    if loaded.data.path is not None and not Path(loaded.data.path).is_absolute():
        loaded = loaded.replace({"data.path": str(Path(loaded.data.path).absolute())})
    return loaded, Path(name or data or "run").stem


def _run(config: Config, title: str, out: Path | None, overwrite: bool, only_fit: bool) -> None:
    from node_oc import pipeline

    folder = out or Path("runs") / title
    with bars() as progress, interruptible(folder):
        record = pipeline.run(config, folder, name=title, overwrite=overwrite, only_fit=only_fit, progress=progress)
    show(record, folder)
