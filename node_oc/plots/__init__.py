"""Pictures of a finished search, drawn from its record alone.

A record is the content of report.json; every function here takes one and returns a matplotlib figure that no
global state knows of.
"""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from node_oc.errors import ConfigError, StoreError
from node_oc.plots.comparison import comparison
from node_oc.plots.discrete import epochs
from node_oc.plots.error_terms import error_terms, terms_of
from node_oc.plots.evaluations import evaluations
from node_oc.plots.growth import growth
from node_oc.plots.landscape import landscape
from node_oc.plots.minimisers import minimisers
from node_oc.plots.noise import noise_depth, noise_reliability
from node_oc.plots.portrait import portrait
from node_oc.plots.price_curve import price_curve
from node_oc.plots.profile import profile
from node_oc.plots.reliability import reliability
from node_oc.plots.rivals import rivals
from node_oc.plots.stopping import stopping_curve, stopping_depths, stopping_samples
from node_oc.plots.style import Draw, Record
from node_oc.plots.trajectories import trajectories
from node_oc.store import write_atomic

FIGURES: dict[str, Draw] = {
    "growth": growth,
    "trajectories": trajectories,
    "portrait": portrait,
    "profile": profile,
    "comparison": comparison,
    "price_curve": price_curve,
    "minimisers": minimisers,
    "reliability": reliability,
    "evaluations": evaluations,
}
"""Every picture by its name, in the order in which a report shows them."""

_NEEDS = {"trajectories": ("plane",), "price_curve": ("prices", "candidates"), "growth": ("growth",),
          "minimisers": ("minimisers",), "portrait": ("portrait",),
          "reliability": ("calibration",), "evaluations": ("solver",)}  # fmt: skip
DPI = 130


def applies(name: str, record: Record) -> bool:
    """Whether the record has what a picture shows. Raises ConfigError on an unknown name."""
    if name not in FIGURES:
        raise ConfigError("figure", got=repr(name), expected=", ".join(FIGURES), do="Name one of these.")
    if name == "price_curve" and record.get("growth"):
        return False  # the picture of the growth has its one candidate
    return name not in _NEEDS or any(record.get(key) for key in _NEEDS[name])


def draw(name: str, record: Record) -> Figure:
    """One picture by its name. Raises ConfigError where the name is unknown or the record lacks the data."""
    if not applies(name, record):
        raise ConfigError(
            f"figure {name!r}", got="a record without its data", expected=" or ".join(_NEEDS[name]),
            do="Leave it out; it needs two features, (two) classes, vectors as states, a search or an adaptive solver.",
        )  # fmt: skip
    return FIGURES[name](record)


def draw_all(record: Record, folder: str | Path) -> dict[str, Path]:
    """Writes every picture that applies as folder/name.png and returns the paths by name.

    Raises:
        StoreError: a folder that cannot be made or written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(str(folder), got=error.strerror or error, expected="a writable folder",
                         do="Choose another folder.") from error  # fmt: skip
    paths = {}
    for name in FIGURES:
        if applies(name, record):
            paths[name] = folder / f"{name}.png"
            _write(draw(name, record), paths[name])
    return paths


def draw_rivals(record: Record, path: str | Path) -> None:
    """Writes the picture of a comparison, see :func:`node_oc.pipeline.comparing.compare`, as PNG.

    Raises:
        StoreError: a file that cannot be written.
    """
    _write(rivals(record), Path(path))


def draw_error_terms(history: str | Path, path: str | Path, name: str = "training") -> None:
    """Writes where a training by the maximum principle gained and where its sweeps disagreed, as PNG.

    Args:
        history: its ``history.jsonl``.
        path: the picture.
        name: of the training.

    Raises:
        StoreError: no such history, or a file that cannot be written.
        ConfigError: a history without error terms: of a gradient method.
    """
    terms = terms_of(Path(history))
    if not terms:
        raise ConfigError(str(history), got="no error terms", expected="those of E-MSA, MSA or discrete MSA",
                          do="Train with training.method=emsa, or with discrete weights.")  # fmt: skip
    _write(error_terms({"name": name, "error_terms": terms}), Path(path))


def draw_noise(record: Record, stem: str | Path) -> dict[str, Path]:
    """Writes the pictures of a study of noise as PNG, ``stem-depth`` and, for classes, ``stem-reliability``.

    Raises:
        StoreError: a file that cannot be written.
    """
    drawn: dict[str, Draw] = {"depth": noise_depth}
    if record["task"] == "classification":
        drawn["reliability"] = noise_reliability
    paths = {name: Path(f"{stem}-{name}.png") for name in drawn}
    for name, path in paths.items():
        _write(drawn[name](record), path)
    return paths


def draw_discrete(record: Record, folder: str | Path) -> dict[str, Path]:
    """Writes the picture of a run of discrete weights as ``folder/epochs.png``, and returns its path by name.

    Raises:
        StoreError: a file that cannot be written.
    """
    if not record["epochs"]:
        return {}
    path = Path(folder) / "epochs.png"
    _write(epochs(record), path)
    return {"epochs": path}


def draw_stopping(record: Record, stem: str | Path) -> dict[str, Path]:
    """Writes when samples stop as PNG, ``stem-curve``, ``stem-depths`` and, where they are images, ``stem-samples``.

    Raises:
        StoreError: a file that cannot be written.
    """
    drawn: dict[str, Draw] = {"curve": stopping_curve, "depths": stopping_depths}
    if record["samples_shown"]:
        drawn["samples"] = stopping_samples
    paths = {name: Path(f"{stem}-{name}.png") for name in drawn}
    for name, path in paths.items():
        _write(drawn[name](record), path)
    return paths


def draw_landscapes(record: Record, path: str | Path) -> None:
    """Writes slices of the loss, see :func:`node_oc.plots.landscape.landscape`, as PNG.

    Raises:
        ConfigError: no slices, or slices of 1 and of 2 dimensions together.
        StoreError: a file that cannot be written.
    """
    _write(landscape(record), Path(path))


def _write(fig: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    write_atomic(path, buffer.getvalue())
