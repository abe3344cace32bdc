"""A search and its rivals as one JSON-able record: the table and the picture of `compare` are made from it alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from node_oc.config import Config
from node_oc.data.split import Split
from node_oc.diagnosis.loss import sample_losses
from node_oc.record.record import costs_of, interval
from node_oc.search import Compared, Protocol, Rival

CALLS = 20  # timed calls of each way's network


def make_comparison(
    name: str, compared: Compared, protocol: Protocol, candidates: Sequence[dict[str, Any]], config: Config
) -> dict[str, Any]:
    """The record of a comparison.

    Args:
        name: of the run.
        compared: what came of each way.
        protocol: by which they were judged; the test part of its split is looked at here.
        candidates: those of the run's own record, with depth, excess and test metric: our curve.
        config: of the run.
    """
    split, budget = protocol.split, protocol.budget
    made = {name: [_row(row, split) for row in getattr(compared, name)] for name in ("rows", "plain", "cuts")}
    shown = [compared.reference, *compared.rows]
    costs = costs_of({row.name: row.network.cpu() for row in shown}, split, config, CALLS)
    return {
        "format": 1, "name": name, "task": split.task, "N": compared.reference.depth, "verdict": compared.verdict,
        "budget": {"budget": budget.budget, "limit": budget.limit, "selecting": len(protocol.selecting)},
        "reference": {**_row(compared.reference, split), **costs[compared.reference.name]},
        **made, "rows": [{**row, **costs[row["name"]]} for row in made["rows"]],
        "candidates": [{key: c[key] for key in ("depth", "excess", "inside", "test")} for c in candidates],
    }  # fmt: skip


def _row(row: Rival, split: Split) -> dict[str, Any]:
    return {
        "name": row.name, "layers": row.depth, "steps": None if row.steps is None else list(row.steps),
        "loss": row.loss, "excess": row.excess, "inside": row.inside,
        "test": interval(sample_losses(row.network, split.test, split.task), split.task),
        "work": row.work, "seconds": row.seconds, "trainings": list(row.trainings),
    }  # fmt: skip
