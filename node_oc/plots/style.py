"""What all pictures share: one palette, one type size, log axes that show exact zeros, labels that keep apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from itertools import pairwise
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

Record = Mapping[str, Any]
Draw = Callable[[Record], Figure]
Array = NDArray[np.float64]

INK, MUTED, FAINT = "#1f2430", "#6b7280", "#d5d9e0"
CUT = "#009E73"  # bluish green: the cut, and the cropped network
NETWORKS = {"full": "#3f4a5c", "cropped": CUT, "plain": "#b9bec8"}
# Okabe and Ito's colours without their green, then darker and lighter ones for the classes 7 to 9.
CLASSES = ("#0072B2", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F", "#6A3D9A",
           "#A6A6A6", "#F0E442", "#404040")  # fmt: skip
WHITE = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0}  # under words that lines may cross
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans", "font.size": 10, "axes.titlesize": 11, "axes.labelsize": 10,
    "axes.titlelocation": "left", "axes.titleweight": "bold", "axes.spines.top": False,
    "axes.spines.right": False, "axes.edgecolor": MUTED, "axes.labelcolor": INK, "axes.titlecolor": INK,
    "text.color": INK, "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelsize": 9, "ytick.labelsize": 9,
    "axes.linewidth": 0.8, "lines.linewidth": 1.8, "legend.frameon": False, "legend.fontsize": 9.5,
    "figure.facecolor": "white", "axes.facecolor": "white", "axes.axisbelow": True,
    "figure.constrained_layout.w_pad": 0.1, "figure.constrained_layout.h_pad": 0.08,
    "figure.titlesize": 13, "figure.titleweight": "bold",
}  # fmt: skip


def styled(draw: Draw) -> Draw:
    """Gives a picture the common style, and leaves the settings of matplotlib as they were."""

    @wraps(draw)
    def inner(record: Record) -> Figure:
        with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
            return draw(record)

    return inner


def called(record: Record, name: str) -> str:
    """What a network of the record is called where it grew: its own names where a deep one was cut."""
    full = "as it grew" if record.get("growth") and record["growth"]["fixed"] else "deepest tried"
    return {"full": full, "cropped": "depth found"}.get(name, name) if record.get("growth") else name


def full_name(record: Record) -> str:
    """What the others are measured against: a full network, the deepest that growth tried, what grew at a price."""
    if not record.get("growth"):
        return "full network"
    return "network that grew" if record["growth"]["fixed"] else "deepest network tried"


def figure(width: float, height: float, title: str) -> Figure:
    """An empty figure of a size in inches, drawn by Agg, that nothing else knows of."""
    fig = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(fig)
    fig.suptitle(title, x=0.1 / width, ha="left")
    return fig


def values(items: Iterable[Any] | None) -> Array:
    """Numbers of a record as an array; None is nan, and report.json's "inf" and "nan" are numbers again."""
    return np.array([np.nan if item is None else float(item) for item in items or ()], dtype=np.float64)


def text(name: object, most: int = 24) -> str:
    """A name from the user, on one line, shortened, and never read as a formula."""
    line = " ".join(str(name).split())
    line = line if len(line) <= most else line[: most - 1] + "…"
    return line.replace("$", r"\$")


def class_colour(index: int) -> str:
    """Colour of a class; it repeats after ten."""
    return CLASSES[index % len(CLASSES)]


def layers(ax: Axes, last: int, label: str = "layer k") -> None:
    """A horizontal axis of layers 0..last, in whole numbers."""
    margin = max(0.3, 0.03 * last)
    ax.set_xlim(-margin, last + margin)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    ax.set_xlabel(label)


def log_axis(ax: Axes, series: Sequence[Array], zero: str = "exactly 0") -> list[Array]:
    """Makes the vertical axis logarithmic, and puts what is not positive on a labelled floor line.

    Args:
        ax: the axes.
        series: everything that will be drawn there; the floor lies under the least positive of it.
        zero: what a point on the floor is.

    Returns:
        The series, fit to be drawn.
    """
    ax.set_yscale("log")
    together = np.concatenate([*series, np.zeros(0)])
    positive = together[np.isfinite(together) & (together > 0)]
    least, most = (float(positive.min()), float(positive.max())) if len(positive) else (0.1, 1.0)
    room = max(1.5, (most / least) ** 0.07)
    floor = least / room**2.5
    zeros = bool((together <= 0).any())
    ax.set_ylim(floor / (most * room / floor) ** 0.13 if zeros else least / room, most * room)
    if most / least > 8:
        ax.yaxis.set_minor_formatter(NullFormatter())
    if zeros:
        ax.axhline(floor, color=MUTED, lw=0.8, ls=(0, (1, 2)), zorder=0, gid="floor")
        said = "on this line: 0 or, by rounding, less" if (together < 0).any() else f"on this line: {zero}"
        ax.annotate(said, (1, floor), xycoords=("axes fraction", "data"), xytext=(0, -5), va="top",
                    textcoords="offset points", ha="right", color=MUTED, fontsize=8.5, bbox=WHITE)  # fmt: skip
    return [np.where(one <= 0, floor, one) for one in series]


def plain_log(ax: Axes) -> None:
    """Makes the vertical axis logarithmic, with few ticks in plain numbers, 20 and not 2 × 10¹."""
    ax.set_yscale("log")
    bottom, top = ax.get_ylim()
    subs = (1, 1.5, 2, 3, 5, 7) if top / bottom < 8 else (1, 2, 5) if top / bottom < 50 else (1,)
    ax.yaxis.set_major_locator(LogLocator(subs=subs, numticks=8))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}"))
    ax.yaxis.set_minor_locator(NullLocator())


_WAYS = tuple(
    (dx, dy, ha, va)
    for reach in (9, 24, 40)
    for dx, dy, ha, va in (
        (0, reach, "center", "bottom"), (0, -reach, "center", "top"), (reach, 0, "left", "center"),
        (-reach, 0, "right", "center"), (9, 0.8 * reach, "left", "bottom"), (9, -0.8 * reach, "left", "top"),
        (-9, 0.8 * reach, "right", "bottom"), (-9, -0.8 * reach, "right", "top"),
    )
)  # fmt: skip
"""Where a label may stand from its point: offset in typographic points, and alignment."""


def place_labels(
    ax: Axes, points: Sequence[Sequence[float]], texts: Sequence[str], colours: Sequence[str],
    others: Sequence[Sequence[float]] = (), lines: Sequence[Sequence[Sequence[float]]] = (),
) -> None:  # fmt: skip
    """Writes a text beside each point in view, where it covers least: no text or point, nor, if possible, a line.

    Args:
        ax: axes whose limits are final.
        points: (x, y) of every text.
        texts: what to write.
        colours: of the texts.
        others: more points to keep free.
        lines: polylines to keep free.
    """
    canvas = FigureCanvasAgg(ax.figure)  # type: ignore[arg-type]
    canvas.figure.draw_without_rendering()  # lays the axes out, so that places in pixels are final
    renderer, size = canvas.get_renderer(), canvas.figure.dpi / 72
    place, frame = ax.transData.transform, ax.get_window_extent()
    spots = place(np.array([*points, *others], dtype=float).reshape(-1, 2))
    taken = [Bbox.from_bounds(x - 5 * size, y - 5 * size, 10 * size, 10 * size) for x, y in spots]
    taken += [written.get_window_extent(renderer) for written in ax.texts]
    dense = [_dense(place(np.array(line, dtype=float))) for line in lines if len(line) > 1]
    drawn = np.concatenate([*dense, np.zeros((0, 2))])
    for point, label, colour in zip(points, texts, colours):
        if not frame.contains(*place(point)):
            continue
        best: tuple[int, Annotation, Bbox] | None = None
        for dx, dy, ha, va in _WAYS:
            note = ax.annotate(label, (point[0], point[1]), xytext=(dx, dy), textcoords="offset points", ha=ha,
                               va=va, color=colour, fontsize=9.5, bbox=WHITE)  # fmt: skip
            note.set_in_layout(False)
            box = note.get_window_extent(renderer).padded(size)
            outside = not (frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1))
            crossed = int(((drawn > box.min) & (drawn < box.max)).all(1).any())
            bad = 6 * outside + 3 * sum(box.overlaps(other) for other in taken) + crossed
            if best is not None and bad >= best[0]:
                note.remove()
                continue
            if best is not None:
                best[1].remove()
            best = (bad, note, box)
            if not bad:
                break
        if best is not None:
            taken.append(best[2])


def _dense(line: Array) -> Array:
    """Points every four pixels or so along a polyline in pixels; its points that are not finite are left out."""
    line = line[np.isfinite(line).all(1)]
    parts = [np.linspace(a, b, 2 + int(min(abs(b - a).max(), 1e4) // 4)) for a, b in pairwise(line)]
    return np.concatenate([*parts, np.zeros((0, 2))])
