"""A run: configuration -> objects -> fit -> search -> report -> export, resumable at every moment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from node_oc import data, store
from node_oc.config import Config
from node_oc.cropping import deepen, spread_steps
from node_oc.data.split import Split
from node_oc.diagnosis.loss import outputs
from node_oc.discretization import TABLEAUS, DepthGrid, Network
from node_oc.errors import ConfigError, ShapeError, StoreError
from node_oc.exporting import export, load_model, save_model
from node_oc.inference import Model
from node_oc.plots import draw_all, draw_rivals
from node_oc.problem.cost import SoftCrossEntropy, SquaredError
from node_oc.problem.ocp import Problem
from node_oc.record import make_comparison, make_record
from node_oc.report import write_report
from node_oc.search import CostBudget, DepthSearch, GrowthSearch, Protocol, Rivals
from node_oc.system import make_system
from node_oc.training.batches import derived_generator
from node_oc.training.checkpoint import CHECKPOINT, read_weights, training_work
from node_oc.training.heal import heal
from node_oc.training.loop import Progress, make_fabric

Record = dict[str, Any]
RUN, CONFIG, TRAININGS, COMPARE, START = "run.json", "config.toml", "trainings", "compare", "start"
LOOKS = "looks at sleeping steps"  # in the work of a run, beside its trainings
PLAIN_DEPTHS = (1, 2, 3, 4, 6, 8, 12)  # of the networks that a run is compared with; N comes last


def load_split(config: Config) -> Split:
    """The samples that the configuration names."""
    c = config.data
    if c.source == "spirals":
        return data.spirals(c.turns, c.train, c.val, c.test, c.seed)
    if c.source == "digits":
        return data.digits(c.seed)
    if c.source == "idx":
        return data.idx(str(c.path))
    return data.table(str(c.path), str(c.target), c.task, c.drop, c.val_fraction, c.test_fraction, c.seed)


def make_network(config: Config, split: Split, depth: int | None = None, name: str = "reference") -> Network:
    """An untrained network of the configured kind; its weights depend on the seed, the name and the depth.

    Of an adopted model the whole one, or the steps that a cut to ``depth`` would keep if all were awake.
    """
    c = config.system
    seeded = c.depth if depth is None else depth
    generator = derived_generator(config.training.seed, "weights", name, seeded)
    system = make_system(c, split.inputs, split.outputs, seeded, generator)
    if c.kind != "adopted":
        return Network(system, DepthGrid.uniform(seeded, c.step), TABLEAUS[c.table])
    network = Network(system)
    return network if depth is None or depth == network.depth else network.keep(spread_steps(network, depth))


def _generator(config: Config, name: str) -> torch.Generator:
    return derived_generator(config.training.seed, "weights", name, config.system.depth)


def make_problem(config: Config, split: Split) -> Problem:
    """Soft cross-entropy, or squared error in regression, as stage and terminal cost."""
    c = config.problem
    classify = split.task == "classification"
    cost = SoftCrossEntropy(split.outputs, c.eps) if classify else SquaredError()
    return Problem(cost, cost, c.stage_weight, c.energy, 0.0 if c.price == "auto" else c.price)


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
    if start is None:
        return
    if config.system.kind != "adopted":
        deepen(start, config.system.depth, _generator(config, START))
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


def read_config(folder: str | Path) -> Config:
    """The configuration of a run directory."""
    if not (Path(folder) / CONFIG).exists():
        raise StoreError(str(folder), got=f"no {CONFIG} in it", expected="the directory of a run",
                         do="Give the directory that `node-oc run` or `node-oc fit` wrote.")  # fmt: skip
    return Config.load(Path(folder) / CONFIG)


def read_network(folder: str | Path, which: str = "full") -> Network:
    """A network of a run: "full", "cropped", "plain" or "priced"; of an interrupted run the full one as it is.

    Where a network grew, "full" is the deepest that was tried, "priced" the answer before its refit with all the room
    that it had, and of an interrupted run the full one is what was trained last.

    Raises:
        StoreError: the run has no such network (yet).
    """
    folder = Path(folder)
    if (folder / f"{which}.json").exists():
        return load_model(folder / which).network
    trainings = sorted((folder / TRAININGS).glob(f"*/{CHECKPOINT}"), key=lambda file: file.stat().st_mtime_ns)
    known = {file.parent.name: file.parent for file in trainings}
    if which == "full" and known:
        spec, weights, _ = read_weights(known.get("reference", trainings[-1].parent))
        network = Network.from_spec(spec)
        network.to(next(iter(weights.values())).dtype)
        network.load_state_dict(weights)
        return network
    have = sorted(p.stem for p in folder.glob("*.safetensors"))
    raise StoreError(str(folder), got=f"no network {which!r}; it has {have or 'none yet'}",
                     expected="a trained network",
                     do="Continue the run with `node-oc resume`, or choose another network.")  # fmt: skip


def heal_network(
    config: Config, split: Split, network: Network, full: Network, progress: Progress | None = None
) -> None:
    """Heal a cropped network of a run by its own configuration, in place; ``full`` is what it was cropped from."""
    network.system.release_()
    heal(network, make_problem(config, split), split.train, config.training, name=f"heal-{network.depth}",
         teacher=outputs(full, split.train.x).cpu() if config.search.distil else None, progress=progress)  # fmt: skip


def compare(
    folder: str | Path, depths: Sequence[int] | None = None, *, out: str | Path | None = None,
    progress: Progress | None = None,
) -> Record:  # fmt: skip
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
                    folder=folder / COMPARE, deep=(lambda: _start(config, folder)) if begun else None)  # fmt: skip
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


def _start(config: Config, folder: Path) -> Network:
    network = load_model(folder / START).network
    if config.system.kind == "adopted":
        return network
    return deepen(network, config.system.depth, _generator(config, START))


def _go(config: Config, split: Split, folder: Path, fabric: Any, progress: Progress | None) -> Record:
    about = store.read_json(folder / RUN)
    problem = make_problem(config, split)
    kind = DepthSearch if config.search.way == "cut" or about["only_fit"] else GrowthSearch
    search = kind(
        problem, split, config.training, config.search, auto=config.problem.price == "auto",
        fresh=lambda depth: make_network(config, split, depth, "plain"), folder=folder / TRAININGS,
        progress=progress, fabric=fabric,
    )  # fmt: skip
    network = make_network(config, split)
    if (folder / f"{START}.json").exists():
        network = _start(config, folder)
    if isinstance(search, DepthSearch) and about["only_fit"]:
        search.train_reference(network)
        if fabric.is_global_zero:
            save_model(Model.of(network.cpu(), split), folder / "full")
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
    save_model(Model.of(found.reference, split), folder / "full")
    if found.source is not found.reference:  # a network that grew is kept with the room that it had
        save_model(Model.of(found.source, split), folder / "priced")
    if found.plain is not None:
        save_model(Model.of(found.plain, split), folder / "plain")
    rows = split.x_scale.undo(split.test.x[:256].double()).float()
    exported = export(Model.of(found.network, split), folder / "cropped", rows,
                      onnx=config.export.onnx, torch_export=config.export.torch_export)  # fmt: skip
    record["parity"] = {"onnx": exported.parity} if exported.parity else {}
    record["files"] = {path.name: what for path, what in exported.files.items()}
    write_report(record, folder, draw_all(record, folder))
    store.write_json(folder / RUN, {**about, "finished": True})
    return record
