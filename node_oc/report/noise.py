"""The page of a study of noise, from its record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from node_oc.report.page import inline, rendered
from node_oc.report.table import Record
from node_oc.store import write_atomic

CAPTIONS = {
    "depth": "Left: what the readout gets wrong after k layers. Dotted, a single noisy pass; solid, the mean of all; "
    "black, without noise. Right: what noise adds to J in the mean, and what the explicit regulariser says of it, "
    "which is true to leading order: where the two part, the noise is not small.",
    "reliability": "On the diagonal a network is as often right as it is sure. Soft targets ask for a confidence of "
    "1 − ε.",
}


def noise_verdict(record: Record) -> str:
    """The study in one sentence: whether passes are better anywhere, and whether noise moves the entry."""
    told = [(n, one) for n in record["networks"] for one in n["noises"]]
    classify = record["task"] == "classification"
    gain = [
        f"{one['noise']} on the {n['name']} network"
        for n, one in told
        if abs(one["difference"]) > one["difference_half"] and (one["difference"] > 0) == classify
    ]
    text = (f"The mean of {record['passes']} noisy passes predicts better than the network without noise for "
            f"{', '.join(gain)}." if gain else
            f"For no noise does the mean of {record['passes']} noisy passes predict better than the network "
            "without.")  # fmt: skip
    if classify:
        moved = [f"{one['noise']} on the {n['name']} network, {one['entry']} to {one['noisy_entry']}"
                 for n, one in told if one["entry_moves"]]  # fmt: skip
        stays = all(one["noisy_entry"] == one["entry"] for _, one in told)
        text += (f" A noisy pass moves the entry: {'; '.join(moved)}." if moved else
                 " No noise moves the layer of entry." if stays else
                 f" Whether noise moves the layer of entry, {record['samples']:,} samples do not settle.")  # fmt: skip
    return text


def write_noise(record: Record, stem: str | Path, figures: Mapping[str, Path]) -> Path:
    """Writes ``stem.html`` and returns its path.

    Args:
        record: of :func:`node_oc.record.noise.make_noise_record`.
        stem: path without ending.
        figures: PNG files by name, as :func:`node_oc.plots.draw_noise` returns them.

    Raises:
        StoreError: a picture that cannot be read, or a file that cannot be written.
    """
    pictures = [(name, CAPTIONS.get(name, ""), inline(path)) for name, path in figures.items()]
    html = rendered("noise.html", record=record, verdict=noise_verdict(record), pictures=pictures)
    path = Path(f"{stem}.html")
    write_atomic(path, html)
    return path
