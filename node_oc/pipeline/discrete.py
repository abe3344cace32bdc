"""A run of a chain of discrete layers: train, evaluate, pack, measure, export, report; no depth to search for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from node_oc import store
from node_oc.config import Config
from node_oc.data.split import Split
from node_oc.discretization.network import Network
from node_oc.errors import ConfigError
from node_oc.exporting import export, save_model
from node_oc.inference import Model
from node_oc.packing import save_packed, sparse_model, summarise
from node_oc.pipeline.epochs import EPOCHS, Epochs
from node_oc.pipeline.folder import RUN, TRAININGS
from node_oc.pipeline.objects import make_network, make_problem
from node_oc.plots import draw_discrete
from node_oc.record.discrete import make_discrete_record
from node_oc.report import write_discrete
from node_oc.training.batches import batches_per_epoch
from node_oc.training.checkpoint import training_work
from node_oc.training.loop import Plan, Progress, fit

NAME = "reference"  # of its training
BATCHES = (1, 256)  # at which the ways of its layers are measured
PACKED, CHAIN = "packed", "discrete"


def check_chain(config: Config, start: Network | None) -> None:
    """Raise ConfigError where more is asked of a chain than it can do: to grow."""
    if config.system.kind == CHAIN and start is not None:
        raise ConfigError("network to grow", got="a chain without skips, system.kind=discrete",
                          expected="a system with skips, which can grow",
                          do="Use system.kind=discrete_residual.")  # fmt: skip


def train_discrete(
    config: Config, split: Split, folder: Path, fabric: Any, progress: Progress | None
) -> dict[str, Any]:
    """Do what is left to do of a run, in its directory.

    The real parameters have a constant learning rate, as in the paper's code; the weights have none.

    Returns:
        The record that ``report.json`` holds; a short one of a ``fit``.
    """
    about = store.read_json(folder / RUN)
    network, options = make_network(config, split), config.training
    updates = batches_per_epoch(len(split.train), options.batch)
    epochs = Epochs(network, split.val, split.task, updates, folder / TRAININGS / NAME / EPOCHS, progress)
    fit(network, make_problem(config, split), split.train, options, plan=Plan(NAME, cosine=False),
        folder=folder / TRAININGS / NAME, progress=epochs, fabric=fabric)  # fmt: skip
    model = Model.of(network.cpu(), split)
    if about["only_fit"]:
        save_model(model, folder / "full")
        store.write_json(folder / RUN, {**about, "finished": True})
        return {"name": about["name"], "kind": CHAIN}
    rows = split.x_scale.undo(split.test.x[:256].double()).float()
    exported = export(model, folder / "full", rows, onnx=config.export.onnx,
                      torch_export=config.export.torch_export)  # fmt: skip
    packed = save_packed(model, folder / PACKED)
    speeds = []
    if config.system.values == "ternary":
        for batch in BATCHES:
            found = sparse_model(model, batch)
            speeds += [*found.layers, found.whole]
    files = dict(exported.files)
    files |= dict(zip(packed, ("discrete weights in bits, with a checksum", "everything else of the packed model"),
                      strict=True))  # fmt: skip
    record = make_discrete_record(about["name"], config, split, network, epochs.rows, summarise(model).record(speeds),
                                  training_work(folder / TRAININGS), exported.parity, files)  # fmt: skip
    write_discrete(record, folder, draw_discrete(record, folder))
    store.write_json(folder / RUN, {**about, "finished": True})
    return record
