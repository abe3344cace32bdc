"""Rows of results in JSON files, and what the authors' logs say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from node_oc import store
from node_oc.data import Part
from node_oc.diagnosis import outputs
from node_oc.discretization import Network

HERE = Path(__file__).parent
PICTURES = HERE.parents[1] / "docs" / "pictures"
AUTHORS: dict[str, dict[int, tuple[float, float | None]]] = {
    "binary": {1: (95.20, None), 5: (97.29, None), 10: (97.81, None), 20: (97.62, None), 50: (98.52, None),
               100: (98.85, None)},
    "ternary": {1: (97.31, 0.857), 5: (97.88, 0.286), 10: (98.17, 0.092), 20: (98.26, 0.082), 50: (98.70, 0.038),
                100: (98.77, 0.021)},
}  # fmt: skip
"""MNIST: epoch -> test accuracy in %, share of non-zero weights. One run each, of arXiv 1803.01299."""


def accuracy(network: Network, part: Part) -> float:
    """In %."""
    return 100 * float((outputs(network, part.x, 500).argmax(1).cpu() == part.y).double().mean())


def read(name: str) -> list[dict[str, Any]]:
    """The rows of a file of this folder; none where there is no file."""
    return list(store.read_json(HERE / name)) if (HERE / name).exists() else []


def gather(name: str, rows: Iterable[dict[str, Any]], same: Sequence[str]) -> list[dict[str, Any]]:
    """Put each row, as it comes, into a file of this folder, in the place of the one that agrees with it; all rows."""
    had = read(name)
    for row in rows:
        new = json.loads(json.dumps(row))
        had = [*(old for old in had if any(old[key] != new[key] for key in same)), new]
        store.write_json(HERE / name, had)
    return had
