"""How much an adaptive solver works while a network is trained."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from node_oc.plots.style import CLASSES, INK, MUTED, Record, figure, styled, text

NAMED = 5  # trainings with a colour of their own, the first ones; the rest are grey


@styled
def evaluations(record: Record) -> Figure:
    """Evaluations of the field in one update against the epoch, one line a training."""
    fig = figure(7.2, 3.6, f"{text(record['name'])}: evaluations of the field while training")
    ax = fig.subplots()
    curves = record["solver"]["curves"]
    for i, curve in reversed(list(enumerate(curves))):
        known = i < NAMED
        label = curve["training"] if known else ("other trainings" if i == NAMED else None)
        ax.plot(curve["epoch"], curve["evaluations"], color=CLASSES[i] if known else MUTED, alpha=1 if known else 0.5,
                lw=1.4 + 1.1 * i if known else 0.9,  # the first on top: those that agree show at its sides
                marker="o" if len(curve["epoch"]) == 1 else None, label=label)  # fmt: skip
    ax.set_xlabel("epoch of each training")
    ax.set_ylabel("evaluations in one update")
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    handles, names = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], names[::-1], loc="center left", bbox_to_anchor=(1.01, 0.5), labelcolor=INK)
    return fig
