"""What `diagnose --hamiltonian` prints: the maximum principle, layer by layer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from node_oc.cli.display import console

if TYPE_CHECKING:
    from node_oc.config import Config
    from node_oc.data import Split
    from node_oc.discretization import Network
    from node_oc.problem import Hamiltonians, Problem


def ask_hamiltonians(
    folder: Path, which: str, network: Network, config: Config, split: Split, part: str
) -> tuple[Problem, Hamiltonians]:
    """The problem that a network of a run is asked about, and its Hamiltonians over a part.

    For the full and the priced network that is the run's problem, at the price whose network the depth was read
    off; for the cropped and the plain one what they were trained for, the terminal cost alone.
    """
    from node_oc import pipeline
    from node_oc.problem import hamiltonians
    from node_oc.training.active import chunks

    problem = pipeline.make_problem(config, split)
    if which in ("cropped", "plain"):
        problem = problem.terminal_only()
    elif config.problem.price == "auto":
        problem = problem.priced(_price(folder))
    return problem, hamiltonians(network, problem, chunks(getattr(split, part), network))


def _price(folder: Path) -> float:
    """The price whose network the depth was read off: of those inside the budget the one with the fewest layers."""
    from node_oc import store

    if not (folder / "report.json").exists():
        return 0.0  # no price has been found (yet)
    inside = [entry for entry in store.read_json(folder / "report.json")["prices"] if entry["inside"]]
    return min(reversed(inside), key=lambda entry: len(entry["awake"]))["price"] if inside else 0.0


def show_hamiltonians(problem: Problem, found: Hamiltonians) -> None:
    """One row a layer, and what it says about idle layers."""
    discrete = ["discrete gap"] if found.discrete else []
    table = Table("layer k", "Hamiltonian", "||p_k||", "stationarity", "gap", "ratio", *discrete)
    depth = len(found.value)
    for k in range(depth):
        ratio = f"{found.ratio[k]:.4g}" if found.ratio else "-"
        table.add_row(
            f"{k}{' (idle)' if k in found.zero else ''}", f"{found.value[k]:.4f}", f"{found.costate[k]:.4g}",
            f"{found.residual[k]:.4g}", _gap(found.gap[k]), ratio,
            *(f"{found.discrete[k]:.4g}" for _ in discrete),
        )  # fmt: skip
    table.add_row(str(depth), "", f"{found.costate[depth]:.4g}", "", "", "")
    console.print(table)
    print(f"Hamiltonians of J with stage weight {problem.stage_weight:g}, energy {problem.energy:g} "
          f"and price {problem.group_price:g}.")  # fmt: skip
    if problem.path_costs:
        print("Its costs of the whole trajectory are in all columns but the Hamiltonian itself.")
    print(found.sentence)


def _gap(gap: float | None) -> str:
    if gap is None:
        return "not computed"
    return "unbounded" if math.isinf(gap) else f"{gap:.4g}"


def as_record(found: Hamiltonians) -> dict[str, Any]:
    """Them as JSON has it; an infinite gap is the string "inf", as in report.json."""
    from dataclasses import asdict

    gaps = ["inf" if gap == math.inf else gap for gap in found.gap]
    return {**asdict(found), "gap": gaps, "sentence": found.sentence}
