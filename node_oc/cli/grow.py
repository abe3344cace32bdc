"""`grow`: a trained network that may be too shallow gets more layers where they pay."""

from __future__ import annotations

from typing import Annotated

import typer

from node_oc.cli.display import bars, interruptible, show
from node_oc.cli.options import Out, Overwrite, Run, Set, Which


def grow(
    folder: Run, which: Which = "cropped",
    depth: Annotated[int | None, typer.Option(help="Layers that there is room for; system.depth of the run.")] = None,
    sets: Set = None, out: Out = None, overwrite: Overwrite = False,
) -> None:  # fmt: skip
    """Let a trained network grow: layers wake between, before and behind its own, where they pay.

    Writes a new run. `node-oc resume` continues it.
    """
    from node_oc import pipeline
    from node_oc.errors import ConfigError

    for key in (change.split("=")[0].strip() for change in sets or []):
        if key == "search.way" or (key.startswith("system.") and key != "system.depth"):
            raise ConfigError(key, got="another value", expected="that of the network, which is trained already",
                              do="Start a new run with it.")  # fmt: skip
    changes = [*(sets or []), "search.way=grow", *([f"system.depth={depth}"] if depth is not None else [])]
    config = pipeline.read_config(folder)
    pipeline.check_skips(config, "grow")
    config = config.replace(changes)
    network = pipeline.read_network(folder, which)
    target = out or folder.resolve().with_name(f"{folder.resolve().name}-grown")
    with bars() as progress, interruptible(target):
        record = pipeline.run(config, target, name=target.name, overwrite=overwrite, progress=progress, start=network)
    show(record, target)
