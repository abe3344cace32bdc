"""What compiling the trainings of a run cost and gained, in words."""

from __future__ import annotations

from typing import Any


def compilation(work: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Seconds spent and won back over all compiled trainings, and a sentence; None where none was compiled.

    Args:
        work: updates and "compilation" of each training, as :func:`node_oc.training.checkpoint.training_work` has them.
    """
    compiled = [entry for entry in work if entry.get("compilation")]
    if not compiled:
        return None
    spent = sum(entry["compilation"]["seconds"] for entry in compiled)
    won = sum(
        entry["updates"] * (entry["compilation"]["eager"] - entry["compilation"]["compiled"]) / 1e3
        for entry in compiled
    )
    longest = max(compiled, key=lambda entry: int(entry["updates"]))
    found, updates = longest["compilation"], sum(entry["updates"] for entry in compiled)
    gain = found["eager"] - found["compiled"]
    after = f"after {1e3 * found['seconds'] / gain:,.0f} updates" if gain > 0 else "never"
    graphs = f"{len(compiled)} graph{'s' if len(compiled) > 1 else ''}"
    sentence = (
        f"{graphs} compiled in {spent:.0f} s, without a recompilation; a step forward and back takes "
        f"{found['compiled']:.2f} ms instead of {found['eager']:.2f} in the longest training ({longest['training']}), "
        f"which pays {after}. Over all {updates:,} updates it "
        f"{'saved' if won > spent else 'cost'} {abs(won - spent):.0f} s."
    )
    return {"graphs": len(compiled), "seconds": spent, "won": won, "sentence": sentence}
