"""The page of a run of discrete weights, from its record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from node_oc.report.packed import HEADS, SPEED_HEADS, WHOLE, packed_rows, speed_rows, speed_sentences
from node_oc.report.page import inline, rendered
from node_oc.report.table import Record
from node_oc.store import write_atomic, write_json

CAPTIONS = {
    "epochs": "One dot an epoch. Weights change less and less often, since the mean of their slopes forgets more and "
    "more slowly; ternary ones go to 0 where no slope holds them.",
}


def write_discrete(record: Record, folder: str | Path, figures: Mapping[str, Path]) -> None:
    """Writes report.json and report.html, both from this record.

    Args:
        record: see :func:`node_oc.record.discrete.make_discrete_record`.
        folder: an existing directory.
        figures: PNG files by the name of their picture, as :func:`node_oc.plots.draw_discrete` returns them.

    Raises:
        StoreError: a picture that cannot be read, or a folder that cannot be written.
    """
    pictures = [(name, CAPTIONS[name], inline(path)) for name, path in figures.items()]
    packed = record["packed"]
    html = rendered("discrete.html", record=record, pictures=pictures, heads=HEADS, packed=packed_rows(packed),
                    speed_heads=SPEED_HEADS, speeds=speed_rows(packed), sentences=speed_sentences(packed["speeds"]),
                    whole=WHOLE)  # fmt: skip
    write_json(Path(folder) / "report.json", dict(record))
    write_atomic(Path(folder) / "report.html", html)
