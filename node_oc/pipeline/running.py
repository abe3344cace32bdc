"""A run from beginning to end: fit -> search -> report -> export, resumable at every moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from node_oc import store
from node_oc.config import Config
from node_oc.cropping import deepen
from node_oc.data.split import Split
from node_oc.diagnosis.loss import outputs
from node_oc.discretization import Network
from node_oc.errors import ConfigError, ShapeError
from node_oc.exporting import export, save_model
from node_oc.inference import Model
from node_oc.pipeline.discrete import CHAIN, check_chain, train_discrete
from node_oc.pipeline.folder import CONFIG, LOOKS, RUN, START, TRAININGS, read_config, read_start, start_generator
from node_oc.pipeline.objects import load_split, make_network, make_problem
from node_oc.plots import draw_all
from node_oc.record import make_record
from node_oc.report import write_report
from node_oc.search import CostBudget, DepthSearch, GrowthSearch, Protocol
from node_oc.training.checkpoint import training_work
from node_oc.training.driver import noise_of
from node_oc.training.heal import heal
from node_oc.training.loop import Progress, make_fabric

Record = dict[str, Any]


def run(
    config: Config, out: str | Path, *, name: str = "run", overwrite: bool = False, only_fit: bool = False,
    progress: Progress | None = None, start: Network | None = None,
) -> Record:  # fmt: skip
    """Train, search, measure, report and export into a new directory.

    Args:
        config: what to do.
        out: the directory; it must not exist, or be empty.
        name: of the run, in its report.
        overwrite: whether a directory that holds an earlier run may be replaced.
        only_fit: stop after the training with stage costs, without a search.
        progress: see :func:`node_oc.fit`.
        start: a trained network that may be too shallow: it goes on growing where it pays, up to ``system.depth``. Of
            an adopted model, with all its branches: the weights that training starts from.

    Returns:
        The record that ``report.json`` holds; a short one with ``only_fit``. Processes other than the first
        of a distributed run return an empty one.

    Raises:
        NodeOCError: whatever is wrong with configuration, data, directory or training.
    """
    fabric = make_fabric(config.training)
    split = load_split(config)
    network = make_network(config, split)  # what does not fit the data fails before anything is written
    check_chain(config, start)
    if config.system.kind == "adopted" and not only_fit:
        Protocol.check_own_controls(network)
    if (cost := CostBudget.of(config.search, split.val.x[:64])) is not None and not only_fit:
        cost.check(network)
    _check_growth(config, split, only_fit, start)
    folder = Path(out)
    if fabric.is_global_zero:
        folder = store.output_directory(out, overwrite)
        store.write_json(folder / RUN, {"format": 1, "name": name, "only_fit": only_fit, "finished": False})
        store.write_atomic(folder / CONFIG, config.to_toml().encode())
        if start is not None:
            save_model(Model.of(start, split), folder / START)
    fabric.barrier()
    return _go(config, split, folder, fabric, progress)


def _check_growth(config: Config, split: Split, only_fit: bool, start: Network | None) -> None:
    if config.search.way == "grow" and config.search.distil and not only_fit:
        raise ConfigError("search.distil", got=True, expected="false where the network grows",
                          do="There is no finished network to heal towards; use search.way=cut.")  # fmt: skip
    if config.search.way == "grow" and config.problem.price == 0 and not only_fit:
        raise ConfigError("problem.price", got=0, expected="auto, or a price above 0, where the network grows",
                          do="Leave it out, or cut without a price: search.way=cut.")  # fmt: skip
    c = config.problem
    if config.search.way == "grow" and (c.depth_cost or c.returns is not None) and not only_fit:
        key = "depth_cost" if c.depth_cost else "returns"
        raise ConfigError(f"problem.{key}", got=getattr(c, key), expected="none where the network grows",
                          do="Whether a layer pays is asked by the stage cost: use search.way=cut.")  # fmt: skip
    if start is None:
        return
    if config.system.kind != "adopted":
        deepen(start, config.system.depth, start_generator(config))
    try:
        got: Any = tuple(outputs(start, split.train.x[:2]).shape)
    except RuntimeError as error:
        got = error
    if got != (2, split.outputs):
        raise ShapeError("network to grow", got=got,
                         expected=f"{split.inputs} features in, {split.outputs} numbers out",
                         do="Take a network that was trained on these data.")  # fmt: skip


def resume(folder: str | Path, *, progress: Progress | None = None) -> Record:
    """Continue an interrupted run to the same bits as an uninterrupted one; a finished one is read again.

    Raises:
        StoreError: not the directory of a run, or a damaged file in it.
    """
    config = read_config(folder)
    fabric = make_fabric(config.training)
    return _go(config, load_split(config), Path(folder), fabric, progress)


def heal_network(
    config: Config, split: Split, network: Network, full: Network, progress: Progress | None = None
) -> None:
    """Heal a cropped network of a run by its own configuration, in place; ``full`` is what it was cropped from."""
    network.system.release_()
    heal(network, make_problem(config, split), split.train, config.training, name=f"heal-{network.depth}",
         teacher=outputs(full, split.train.x).cpu() if config.search.distil else None, progress=progress)  # fmt: skip


def _go(config: Config, split: Split, folder: Path, fabric: Any, progress: Progress | None) -> Record:
    if config.system.kind == CHAIN:
        return train_discrete(config, split, folder, fabric, progress)
    about = store.read_json(folder / RUN)
    problem, noise = make_problem(config, split), noise_of(config.training)
    kind = DepthSearch if config.search.way == "cut" or about["only_fit"] else GrowthSearch
    search = kind(
        problem, split, config.training, config.search, auto=config.problem.price == "auto",
        fresh=lambda depth: make_network(config, split, depth, "plain"), folder=folder / TRAININGS,
        progress=progress, fabric=fabric,
    )  # fmt: skip
    network = make_network(config, split)
    if (folder / f"{START}.json").exists():
        network = read_start(config, folder)
    if isinstance(search, DepthSearch) and about["only_fit"]:
        search.train_reference(network)
        if fabric.is_global_zero:
            save_model(Model.of(network.cpu(), split, noise), folder / "full")
            store.write_json(folder / RUN, {**about, "finished": True})
        return {"name": about["name"]} if fabric.is_global_zero else {}
    found = search.run(network)
    if not fabric.is_global_zero:
        return {}
    for each in (found.reference, found.source, found.network, found.plain):
        if each is not None:
            each.cpu()
    work = training_work(folder / TRAININGS)
    if growth := found.growth:
        work.append({"training": LOOKS, "updates": 0, "layer_steps": growth.look_work, "seconds": growth.look_seconds})
    record = make_record(about["name"], config, split, problem, found, work)
    save_model(Model.of(found.reference, split, noise), folder / "full")
    if found.source is not found.reference:  # a network that grew is kept with the room that it had
        save_model(Model.of(found.source, split, noise), folder / "priced")
    if found.plain is not None:
        save_model(Model.of(found.plain, split, noise), folder / "plain")
    rows = split.x_scale.undo(split.test.x[:256].double()).float()
    exported = export(Model.of(found.network, split, noise), folder / "cropped", rows,
                      onnx=config.export.onnx, torch_export=config.export.torch_export)  # fmt: skip
    record["parity"] = {"onnx": exported.parity} if exported.parity else {}
    record["files"] = {path.name: what for path, what in exported.files.items()}
    write_report(record, folder, draw_all(record, folder))
    store.write_json(folder / RUN, {**about, "finished": True})
    return record
