"""What noise does to the networks of a run, as one JSON-able record: table, page and pictures come from it alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from node_oc import __version__
from node_oc.config import Config
from node_oc.diagnosis.calibration import Calibration
from node_oc.diagnosis.noisy import Noisy


def make_noise_record(
    name: str, config: Config, part: str, seed: int, trained: str | None,
    found: Mapping[str, tuple[int, Sequence[Noisy]]], left_out: Mapping[str, str],
) -> dict[str, Any]:  # fmt: skip
    """The record of a study.

    Args:
        name: of the run.
        config: of the run.
        part: whose samples were looked at.
        seed: of the passes.
        trained: the noise of the training, or None.
        found: depth of each network and what each noise does to it, by the network's name.
        left_out: networks and noises that were not looked at, and why.
    """
    networks = [
        {"name": key, "layers": depth, "noises": [_noise(one) for one in each]} for key, (depth, each) in found.items()
    ]
    first = next(one for _, each in found.values() for one in each)
    return {
        "format": 1, "node_oc": __version__, "torch": torch.__version__, "name": name, "task": first.task, "part": part,
        "samples": first.samples, "passes": first.passes, "seed": seed, "trained": trained,
        "budget": config.search.budget, "eps": config.problem.eps, "networks": networks, "left_out": dict(left_out),
    }  # fmt: skip


def _noise(found: Noisy) -> dict[str, Any]:
    told = {name: _calibration(getattr(found, name)) for name in ("mean_calibration", "passes_calibration")}
    return {**asdict(found), **told, "sentence": found.sentence}


def _calibration(found: Calibration | None) -> dict[str, Any] | None:
    return None if found is None else {**asdict(found), "sentence": found.sentence}
