"""What a run of a chain of discrete layers found, as one JSON-able record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from node_oc import __version__
from node_oc.config import Config
from node_oc.data.split import Split
from node_oc.diagnosis.loss import sample_losses
from node_oc.discretization.network import Network
from node_oc.record.record import interval


def make_discrete_record(
    name: str, config: Config, split: Split, network: Network, epochs: list[dict[str, Any]], packed: Mapping[str, Any],
    work: list[dict[str, Any]], parity: dict[str, float], files: Mapping[Path, str],
) -> dict[str, Any]:  # fmt: skip
    """The record of a finished run.

    Args:
        name: of the run.
        config: what it was made from.
        split: the samples; the test part is looked at here for the first time.
        network: trained.
        epochs: what every epoch left, see :class:`node_oc.pipeline.epochs.Epochs`.
        packed: what its layers take, see :meth:`node_oc.packing.Summary.record`.
        work: updates and seconds of the training.
        parity: of the ONNX file, by batch size.
        files: that were written, and what they are for.
    """
    sizes = {path.name: path.stat().st_size for path in files}
    on_disk = sum(size for file, size in sizes.items() if file.startswith("packed."))
    record: dict[str, Any] = {
        "format": 1, "kind": "discrete", "node_oc": __version__, "torch": torch.__version__,
        "threads": torch.get_num_threads(), "name": name, "config": config.model_dump(mode="json"),
        "data": {"task": split.task, "classes": list(split.classes), "features": split.inputs,
                 "train": len(split.train), "val": len(split.val), "test": len(split.test)},
        "values": config.system.values,
        "test": interval(sample_losses(network, split.test, split.task), split.task),
        "val": interval(sample_losses(network, split.val, split.task), split.task),
        "epochs": epochs, "packed": dict(packed), "on_disk": on_disk,
        "smaller": packed["total"]["float32"] / on_disk,
        "work": work, "parity": {"onnx": parity} if parity else {},
        "files": {path.name: {"what": what, "bytes": sizes[path.name]} for path, what in files.items()},
    }  # fmt: skip
    record["verdict"] = discrete_verdict(record)
    return record


def discrete_verdict(record: Mapping[str, Any]) -> str:
    """How well it does with which weights, how small it is, and what its zeros save, in words."""
    test, discrete = record["test"], record["packed"]["discrete"]
    if test["name"] == "accuracy":
        how = f"{100 * test['value']:.2f} % of the test samples are right ({100 * test['low']:.2f} to " \
              f"{100 * test['high']:.2f})"  # fmt: skip
    else:
        how = f"The test loss is {test['value']:.4g} ({test['low']:.4g} to {test['high']:.4g})"
    zeros = f", {100 * discrete['nonzero']:.2g} % of them not 0" if record["values"] == "ternary" else ""
    text = (f"{how} with {record['values']} weights{zeros}. Packed, the model takes {record['on_disk']:,} bytes on "
            f"disk, 1/{record['smaller']:.0f} of float32.")  # fmt: skip
    whole = [speed for speed in record["packed"]["speeds"] if speed["name"] == "all layers"]
    if not whole:
        return text
    fast = [f"{each['ratio']:.1f} times as fast at a batch of {each['batch']}" for each in whole
            if each["way"] != "dense"]  # fmt: skip
    if not fast:
        return f"{text} Leaving its zeros out makes it no faster here: it stays dense."
    return f"{text} Without its zeros it is {' and '.join(fast)}, beside dense float32."
