"""A finished run beside what else could have been done with the same budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from node_oc import store
from node_oc.errors import StoreError
from node_oc.pipeline.folder import (
    COMPARE,
    LOOKS,
    RUN,
    START,
    TRAININGS,
    check_skips,
    read_config,
    read_network,
    read_start,
)
from node_oc.pipeline.objects import load_split, make_network, make_problem
from node_oc.plots import draw_rivals
from node_oc.record import make_comparison
from node_oc.search import Protocol, Rivals
from node_oc.training.checkpoint import training_work
from node_oc.training.loop import Progress, make_fabric

PLAIN_DEPTHS = (1, 2, 3, 4, 6, 8, 12)  # of the networks that a run is compared with; N comes last


def compare(
    folder: str | Path, depths: Sequence[int] | None = None, *, out: str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Set a finished run beside what else could have been done; trainings go to RUN/compare and are resumable.

    Args:
        folder: the directory of the run.
        depths: layers of plain networks; 1, 2, 3, 4, 6, 8, 12 and N if None.
        out: where the record and its picture go, without ending; RUN/compare if None.
        progress: see :func:`node_oc.fit`.

    Returns:
        The record that the JSON file holds; an empty one in processes other than the first of a distributed run.

    Raises:
        StoreError: the directory of no finished search, or a damaged file in it.
        ConfigError: a depth that the run's networks cannot have.
    """
    folder, config = Path(folder), read_config(folder)
    check_skips(config, "compare")
    about = store.read_json(folder / RUN)
    if not about["finished"]:
        raise StoreError(str(folder), got="a run that is not finished", expected="a finished search",
                         do=f"Finish it with `node-oc resume {folder}`.")  # fmt: skip
    if about["only_fit"]:
        raise StoreError(str(folder), got="a training without a search", expected="a finished search",
                         do="Use `node-oc run` where you used `node-oc fit`.")  # fmt: skip
    split, fabric = load_split(config), make_fabric(config.training)
    protocol = Protocol(make_problem(config, split), split, config.training, config.search, folder / TRAININGS,
                        progress, fabric)  # fmt: skip
    full = read_network(folder)
    protocol.judge_by(full)
    adopted = config.system.kind == "adopted"
    deepest = full.depth if adopted else config.system.depth
    begun = adopted and (folder / f"{START}.json").exists()
    rivals = Rivals(protocol, lambda depth: make_network(config, split, depth, "plain"), depth=deepest,
                    folder=folder / COMPARE, deep=(lambda: read_start(config, folder)) if begun else None)  # fmt: skip
    source = read_network(folder, "priced") if (folder / "priced.json").exists() else full
    report = store.read_json(folder / "report.json")
    work = training_work(folder / TRAININGS) + [entry for entry in report["work"] if entry["training"] == LOOKS]
    kept = next((c.get("steps") for c in report["candidates"] if c["depth"] == report["depth"]["depth"]), None)
    ours = rivals.ours(read_network(folder, "cropped"), source, work, kept)
    wanted = [m for m in PLAIN_DEPTHS if m < deepest] + [deepest] if depths is None else depths
    of_cost = config.search.flops is not None or config.search.latency is not None
    compared = rivals.compare(ours, wanted, ours.depth if of_cost else None)
    if not fabric.is_global_zero:
        return {}
    record = make_comparison(about["name"], compared, protocol, report["candidates"], config)
    stem = folder / COMPARE if out is None else Path(out)
    store.write_json(f"{stem}.json", record)
    draw_rivals(record, f"{stem}.png")
    return record
