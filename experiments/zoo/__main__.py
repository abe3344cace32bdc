"""Adopt every model of the zoo and check it; table and numbers go into README.md and zoo.json.

    python -m experiments.zoo [part of a name ..]

Exits with 1 where a check fails. With names, nothing is written.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from experiments.zoo.checks import Result, check
from experiments.zoo.models import ZOO, Entry, register

HERE = Path(__file__).parent
HEAD = (
    "model",
    "branches",
    "why",
    "outputs",
    "training mode",
    "readouts",
    "passes",
    "cut",
    "ONNX",
    "adopted in s",
    "all in s",
)
MARK = "<!-- table -->"


def main() -> int:
    """Run the checks; returns for how many models one fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="only models with one of these in their name")
    names = parser.parse_args().names
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # exporters speak at length
    register()
    chosen = [e for e in ZOO if not names or any(n in e.name for n in names)]
    start, results = time.process_time(), []
    for entry in chosen:
        results.append(checked(entry))
        print(told(results[-1]), flush=True)
    print(f"{len(chosen)} models, {time.process_time() - start:.0f} s, {sum(bool(r.wrong) for r in results)} wrong")
    if not names:
        write(results, time.process_time() - start)
    return sum(bool(r.wrong) for r in results)


def checked(entry: Entry) -> Result:
    """The checks of one model; an error is a result too, so that the others are still seen."""
    try:
        return check(entry)
    except Exception as error:
        return Result(entry.name, wrong=[f"{type(error).__name__}: {error}"])


def told(result: Result) -> str:
    """One line for the terminal, and one for all that is wrong."""

    def written(key: str, value: Any) -> str:
        if key in ("adopting", "exporting", "seconds"):
            return f"{key} {value:.1f} s"
        return f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"

    numbers = ", ".join(written(key, value) for key, value in result.numbers.items())
    return "\n".join([f"{result.name}: {numbers}", *(f"  WRONG: {w}" for w in result.wrong)])


def row(entry: Entry, result: Result) -> str:
    """One row of the table."""
    n: dict[str, Any] = result.numbers
    if result.wrong:
        return f"| {entry.name} | {n.get('branches', '')} | WRONG: {'; '.join(result.wrong)} |" + " |" * 8
    training = "to the bit" if n["training mode to the bit"] else f"{n['training mode']:.0e}"
    cells = (entry.name, n["branches"], entry.why, "to the bit", training, f"{n['readouts']:.0e}",
             f"{n['passes']:.2f}", "to the bit", f"{n['ONNX']:.0e}", f"{n['adopting']:.1f}",
             f"{n['seconds']:.0f}")  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def write(results: list[Result], seconds: float) -> None:
    """Numbers into zoo.json, the table between its marks in README.md."""
    numbers = [{"name": r.name, **r.numbers, "wrong": r.wrong} for r in results]
    (HERE / "zoo.json").write_text(json.dumps({"torch": torch.__version__, "models": numbers}, indent=1) + "\n")
    table = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|", *map(row, ZOO, results)]
    wrong = sum(bool(r.wrong) for r in results)
    last = f"{len(results)} models in {seconds:.0f} s of CPU time on one thread; {wrong} wrong."
    readme = HERE / "README.md"
    parts = readme.read_text().split(MARK)
    readme.write_text(MARK.join([parts[0], "\n\n" + "\n".join([*table, "", last]) + "\n\n", parts[2]]))


if __name__ == "__main__":
    sys.exit(main() > 0)
