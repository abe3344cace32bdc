"""What an adaptive solver did in the trainings of a run, in numbers and in words."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from node_oc.discretization.network import Network
from node_oc.trajectory.solution import Solution
from node_oc.trajectory.solver import Solver


@torch.no_grad()
def table_error(network: Network, x: Tensor, solver: Solver) -> float:
    """Largest difference between the table's outputs and the solver's, as a share of the largest output."""
    exact = Solution(network, x, solver).final
    return float((network(x) - exact).abs().max() / exact.abs().max())


def solver(
    work: list[dict[str, Any]], updates_per_epoch: int, error: float | None, table: str
) -> dict[str, Any] | None:
    """Evaluations of the field, steps accepted and rejected, over all trainings; None where a table took all steps.

    Args:
        work: "solver" and "evaluations" of each training, as :func:`node_oc.training.checkpoint.training_work` has
            them; the latter are taken out.
        updates_per_epoch: gradient steps in one pass over the training set.
        error: of the network found, see :func:`table_error`; None where a table took all steps.
        table: which one; it is what predicts, and what is exported.
    """
    told = [(entry["training"], entry.pop("evaluations", [])) for entry in work]
    curves = [
        {"training": name, "epoch": [update / updates_per_epoch for update, _ in points],
         "evaluations": [evaluations for _, evaluations in points]}
        for name, points in told if points
    ]  # fmt: skip
    if error is None:
        return None
    used = [entry for entry in work if (entry.get("solver") or {}).get("evaluations")]
    total = {key: sum(entry["solver"][key] for entry in used) for key in ("evaluations", "accepted", "rejected")}
    updates, tried = sum(entry["updates"] for entry in used), total["accepted"] + total["rejected"]
    ends = ""
    if curves:
        first, last = curves[0]["evaluations"][0], curves[0]["evaluations"][-1]
        ends = f" From {first} to {last} an update in the first training ({curves[0]['training']})."
    sentence = (
        f"{total['evaluations']:,} evaluations of the field in {updates:,} updates, "
        f"{total['evaluations'] / max(1, updates):.0f} each; {total['rejected'] / max(1, tried):.1%} of "
        f"{tried:,} steps were rejected.{ends} What predicts, and is exported, is the table {table}: on test data "
        f"it differs from the solver by up to {error:.2%} of the largest output."
    )
    return {**total, "table_error": error, "curves": curves, "sentence": sentence}
