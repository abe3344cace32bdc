"""How a network grew: which depths were tried against each other, what each lost, and the way to the answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Annotation
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from node_oc.plots.style import (
    CLASSES,
    CUT,
    FAINT,
    INK,
    MUTED,
    NETWORKS,
    Array,
    Record,
    figure,
    log_axis,
    place_labels,
    styled,
    text,
    values,
)  # fmt: skip
from node_oc.plots.way import before, deepest, finish, layer_count, phases, remarks, verdict, way

Line = Sequence[tuple[float, ...]]

BUDGET = CLASSES[1]
ASIDE = NETWORKS["plain"]  # windows whose network did not go on into the answer
INCHES, ROW, BAR = 10.0, 0.62, 0.46  # wide a training; high a row; share of a row that a bar takes
STOPPED = {
    "enough": "growth stopped: twice the layers gain no more than the budget",
    "nothing left": "growth stopped: the loss itself is within the budget",
    "no room": "growth stopped: there is no room for more",
    "price": "growth stopped: no sleeping layer pays at the price",
}


@styled
def growth(record: Record) -> Figure:
    """Windows of training by depth, one bar each, and the loss on the selecting half at the end of each.

    Both over the updates that the weights had seen, in whole trainings. What is on the way to the answer is green,
    see :func:`way`; twins that were dropped and cuts that were not the answer are grey. The dashed line is the
    budget above the deepest network tried; in regression, where losses are cut at a high quantile before they are
    compared, it is that of the losses as they are.
    """
    grown = record["growth"]
    windows, unit = grown["windows"], grown["updates"]
    green = set(way(record))
    rows = sorted({len(w["steps"]) for w in windows})
    end = max(finish(w) for w in windows) / unit
    high = ROW * (len(rows) + 0.3)
    fig = figure(min(15.0, 2.2 + max(6.8, INCHES * end)), 4.6 + high, f"{text(record['name'])}: how the network grew")
    upper, lower = fig.subplots(2, 1, sharex=True, height_ratios=(high, 2.8))
    lower.set_xlim(-0.008 * end, 1.02 * end)
    lower.set_xlabel("updates, in whole trainings")
    for ax in (upper, lower):
        for x in sorted({at / unit for w in windows for at in (w["start"], finish(w))}):
            ax.axvline(x, color=FAINT, lw=0.8, zorder=0)
    notes = _bars(upper, record, rows, green)
    drawn = _losses(lower, record, green)
    shown = [Patch(color=CUT, label="went on into the answer"), Patch(color=ASIDE, label="trained, and left aside")]
    fig.legend(handles=shown[: 1 + (len(green) < len(windows))], loc="outside lower center", ncols=2)
    _fit(fig, upper, notes)
    _name_losses(lower, record, green, *drawn)
    return fig


def _bars(ax: Axes, record: Record, rows: Sequence[int], green: set[int]) -> list[tuple[Annotation, float]]:
    """One bar a window, in the row of its depth; returns what was written at bars, with the widths of these."""
    grown = record["growth"]
    windows, unit = grown["windows"], grown["updates"]
    notes = []
    for i, w in enumerate(windows):
        row, x, wide = rows.index(len(w["steps"])), w["start"] / unit, w["updates"] / unit
        colour, front = (CUT, 3) if i in green else (ASIDE, 2)
        ax.barh(row, wide, left=x, height=BAR, color=colour, ec="white", lw=0.8, zorder=front,
                gid=f"window {w['name']}")  # fmt: skip
        if (j := before(windows, i)) is not None and (rise := row - rows.index(len(windows[j]["steps"]))):
            inset = float(np.sign(rise)) * BAR / 2
            ax.plot([x, x], [row - rise + inset, row - inset], color=colour, lw=2 if i in green else 1.4,
                    zorder=front, solid_capstyle="butt", gid=f"from {windows[j]['name']} to {w['name']}")  # fmt: skip
        said = verdict(windows, i, green, grown["refitted"])
        notes.append((ax.annotate(said, (x + wide / 2, row), ha="center", va="center", fontsize=9, zorder=4,
                                  color="white" if i in green else INK,
                                  weight="bold" if i in green else "normal"), wide))  # fmt: skip
        for line, remark in enumerate(remarks(windows, i, float(record["budget"]["limit"]))):
            notes.append((ax.annotate(remark, (x, row - BAR / 2), xytext=(4, -2 - 10 * line), va="top", fontsize=8.5,
                                      textcoords="offset points", color=CUT if i in green else MUTED,
                                      zorder=4), wide))  # fmt: skip
    ax.set_ylim(-0.85, len(rows) - 0.55)
    ax.set_yticks(range(len(rows)), [layer_count(depth) for depth in rows], color=INK)
    ax.tick_params(axis="both", length=0)
    ax.tick_params(axis="x", labelbottom=False)
    ax.spines["bottom"].set_visible(False)
    ax.set_title(f"layers awake, room for {grown['limit']}; {STOPPED[grown['stopped']]}", pad=20)
    for words, start, stop in phases(windows, grown["price"]):
        ax.annotate(words, ((start + stop) / 2 / unit, 1), xycoords=("data", "axes fraction"), xytext=(0, 4),
                    ha="center", textcoords="offset points", color=MUTED, fontsize=9)  # fmt: skip
    return notes


def _fit(fig: Figure, ax: Axes, notes: Iterable[tuple[Annotation, float]]) -> None:
    """Makes smaller what is wider than its bar."""
    canvas = FigureCanvasAgg(fig)
    fig.draw_without_rendering()
    for note, wide in notes:
        have = 0.94 * float(np.diff(ax.transData.transform([(0, 0), (wide, 0)])[:, 0])[0])
        need = note.get_window_extent(canvas.get_renderer()).width
        if need > have:
            note.set_fontsize(float(note.get_fontsize()) * have / need)


def _losses(ax: Axes, record: Record, green: set[int]) -> tuple[Array, list[Line]]:
    """The loss at the end of every window, joined to that of the window that it continues.

    Returns:
        The points (updates in whole trainings, loss), one for each window, and all lines, as they are drawn.
    """
    windows, budget, classify = record["growth"]["windows"], record["budget"], _classify(record)
    loss = values(w["loss"] for w in windows)
    reference = float(loss[deepest(windows)])
    allowed = reference + budget["limit"] if classify else reference * (1 + budget["budget"])
    low, (solid, dashed) = log_axis(ax, [loss, np.array([reference, allowed])], "no error" if classify else "exactly 0")
    points = np.stack([values(finish(w) / record["growth"]["updates"] for w in windows), low], 1)
    unit = "points" if classify else "%"
    # At a fixed price steps may have fallen asleep again: then it is not the deepest.
    tried, it = ("network that grew", "that") if record["growth"]["fixed"] else ("deepest network tried", "the deepest")
    tried = f"{tried},\n{layer_count(record['depth']['N'])}: {_said(reference, classify)}"
    ax.axhline(solid, color=NETWORKS["full"], lw=1, zorder=1, gid="reference")
    ax.axhline(dashed, color=BUDGET, lw=1.6, ls=(0, (5, 2)), zorder=1, gid="budget")
    _beside(ax, solid, tried, NETWORKS["full"], above=False)
    _beside(ax, dashed, f"budget: {100 * budget['budget']:g} {unit}\nabove {it}", BUDGET, above=True)
    left, right = ax.get_xlim()
    lines: list[Line] = [[(left, y), (right, y)] for y in (solid, dashed)]
    for i, w in enumerate(windows):
        look, front = (CUT, 1.8, 7.0) if i in green else (ASIDE, 1.1, 6.0), 3 if i in green else 2
        if (j := before(windows, i)) is not None:
            lines.append([tuple(points[j]), tuple(points[i])])
            ax.plot(*points[[j, i]].T, color=look[0], lw=look[1], zorder=front, gid=f"way {w['name']}")
        ax.plot(*points[i], "o", color=look[0], ms=look[2], zorder=front + 1, gid=f"loss {w['name']}")
    zeros = low[loss <= 0]
    _ticks(ax, classify, float(zeros[0]) if len(zeros) else None)
    half = f"on the selecting half, {budget['selecting']:,} samples"
    ax.set_title(f"{'error' if classify else 'loss'} {half}, at the end of each window")
    return points, lines


def _beside(ax: Axes, height: float, words: str, colour: str, above: bool) -> None:
    """Words to the right of the frame, at a horizontal line."""
    ax.annotate(words, (1, height), xycoords=("axes fraction", "data"), xytext=(5, 3 if above else -3), color=colour,
                textcoords="offset points", va="bottom" if above else "top", fontsize=9.5)  # fmt: skip


def _ticks(ax: Axes, classify: bool, floor: float | None) -> None:
    """Room for words over and under the points; some ticks however short the axis is, and 0 at the floor of zeros."""
    bottom, top = ax.get_ylim()
    room = (top / bottom) ** 0.08
    ax.set_ylim(bottom / room, top * room)
    few = LogLocator(subs=(1, 2, 3, 5) if top / bottom < 30 else (1, 3))
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]) if top / bottom < 4 else few)
    ax.yaxis.set_minor_locator(NullLocator())
    ticks = {float(y): _said(y, classify) for y in ax.get_yticks() if bottom / room <= y <= top * room}
    if floor is not None:
        ticks = {floor: _said(0.0, classify)} | {y: said for y, said in ticks.items() if y > 1.5 * floor}
    ax.set_yticks(list(ticks), list(ticks.values()))
    ax.grid(axis="y", color=FAINT, lw=0.6)


def _classify(record: Record) -> bool:
    return bool(record["data"]["task"] == "classification")


def _said(loss: float, classify: bool) -> str:
    """A loss as it is written: a share of wrong classes in percent."""
    return f"{100 * loss:.3g} %" if classify else f"{loss:.3g}"


def _name_losses(ax: Axes, record: Record, green: set[int], points: Array, lines: Sequence[Line]) -> None:
    """The depth at every point, and the loss at the answer.

    Points that lie on each other share a label, and a twin that is the reference is named at its line.
    """
    windows = record["growth"]["windows"]
    place = ax.transData.transform(points)
    named = {deepest(windows)} - green
    at, texts, colours = [], [], []
    for i in [*sorted(green), *range(len(windows))]:
        if i not in named:
            close = np.abs(place - place[i]).max(1) < ax.figure.dpi / 12
            near = {int(j) for j in np.flatnonzero(close)} - named | {i}
            named |= near
            *few, most = sorted({len(windows[j]["steps"]) for j in near})
            said = "".join(f"{depth}, " for depth in few) + layer_count(most)
            loss = _said(float(windows[i]["loss"]), _classify(record))
            at.append(points[i])
            texts.append(f"{said}: {loss}" if i == max(green) else said)
            colours.append(CUT if i in green else MUTED)
    place_labels(ax, [tuple(each) for each in at], texts, colours, [tuple(each) for each in points], lines)
