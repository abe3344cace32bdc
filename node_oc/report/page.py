"""report.json and report.html, both from one record."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from node_oc.errors import StoreError
from node_oc.report.table import GROWN, NAMES, Record, columns, metric, number, percent, ranges, rows, setting, share
from node_oc.report.words import answers, captions, neighbour
from node_oc.store import write_atomic, write_json


def write_report(record: Record, folder: str | Path, figures: Mapping[str, str | Path]) -> dict[str, Path]:
    """Writes report.json and report.html, both from this record.

    Args:
        record: the outcome of a search, see report.json.
        folder: an existing directory.
        figures: PNG files by the name of their picture, as :func:`node_oc.plots.draw_all` returns them; they
            are put into the page, in this order.

    Returns:
        The two paths, as "json" and "html".

    Raises:
        StoreError: a picture that cannot be read, or a folder that cannot be written.
    """
    paths = {"json": Path(folder) / "report.json", "html": Path(folder) / "report.html"}
    pictures = [(name, captions(record).get(name, ""), inline(Path(path))) for name, path in figures.items()]
    html = rendered(
        "report.html", record=record, columns=columns(record), rows=rows(record), answers=answers(record),
        pictures=pictures, neighbour=neighbour(record), effort=record.get("effort"), growth=record.get("growth"),
        left_out=record.get("left_out") or {}, names=GROWN if record.get("growth") else NAMES,
    )  # fmt: skip
    write_json(paths["json"], dict(record))
    write_atomic(paths["html"], html)
    return paths


def rendered(template: str, **given: Any) -> bytes:
    """A page as bytes, from a template of this folder and the common style."""
    folder = Path(__file__).parent
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(folder), autoescape=True, trim_blocks=True,
                                     undefined=jinja2.StrictUndefined, lstrip_blocks=True)  # fmt: skip
    environment.filters.update(number=number, share=share, metric=metric, ranges=ranges, setting=setting,
                               percent=percent)  # fmt: skip
    style = (folder / "style.html").read_text(encoding="utf-8")
    html = environment.get_template(template).render(style=Markup(style), **given)
    return html.encode("utf-8", "xmlcharrefreplace")


def inline(path: Path) -> str:
    """A picture as base64. Raises StoreError where it cannot be read."""
    try:
        return base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError as error:
        raise StoreError(str(path), got=error.strerror or error, expected="a picture of the report",
                         do="Draw the pictures again.") from error  # fmt: skip
