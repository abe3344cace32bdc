"""The page of a run that has learnt when to stop, from its record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from node_oc.report.page import inline, rendered
from node_oc.report.table import Record
from node_oc.store import write_atomic

CAPTIONS = {
    "curve": "Every policy of each family on the test samples; nothing was chosen by them. The oracle sees the "
    "labels: no rule without them comes near it. The star is the policy that was taken.",
    "depths": "Where the test samples stop by the policy that was taken.",
    "samples": "Test samples with their class and the depth at which they stop; red where the prediction is wrong.",
}


def write_stopping(record: Record, stem: str | Path, figures: Mapping[str, Path]) -> Path:
    """Writes ``stem.html`` and returns its path.

    Args:
        record: of :func:`node_oc.record.stopping.make_stopping_record`.
        stem: path without ending.
        figures: PNG files by name, as :func:`node_oc.plots.draw_stopping` returns them.

    Raises:
        StoreError: a picture that cannot be read, or a file that cannot be written.
    """
    pictures = [(name, CAPTIONS[name], inline(path)) for name, path in figures.items()]
    path = Path(f"{stem}.html")
    write_atomic(path, rendered("stopping.html", record=record, pictures=pictures, target=asked(record)))
    return path


def asked(record: Record) -> str:
    """The target in words."""
    kind, value = record["target"]["kind"], record["target"]["value"]
    classify, sure = record["task"] == "classification", record["target"]["confidence"]
    lost = f"{100 * value:g} {'points' if classify else '% of its loss'}"
    text = {"cost": f"a layer costs {value:g} in units of loss", "depth": f"a mean depth of at most {value:g} layers",
            "loss": f"at most {lost} lost against the full network"}[kind]  # fmt: skip
    return text + (f", with a confidence of {sure:g}" if sure is not None else "")
