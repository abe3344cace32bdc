"""Errors of means against step sizes, with the slopes that orders have."""

from __future__ import annotations

import math

import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure

from node_oc.plots.style import MUTED, Record, class_colour, figure, styled, text, values

MARKS = "osD^vP"


@styled
def weak_order(record: Record) -> Figure:
    """Log-log, one panel a group of measurements; errors within their noise are hollow.

    Needs ``record["panels"]``: each with a ``title``, ``orders`` whose slopes are drawn in grey, and ``curves``: a
    ``name`` and the fields of a :class:`node_oc.diagnosis.weak_order.WeakOrder`. Curves of one ``group`` have one
    colour. An error bar is the noise times 2.58, and the bias.
    """
    panels = record["panels"]
    fig = figure(4.6 * len(panels) + 0.4, 5.4, text(record["name"], 90))
    for ax, panel in zip(fig.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        whole: list[float] = []
        groups = list(dict.fromkeys(curve.get("group", curve["name"]) for curve in panel["curves"]))
        for i, curve in enumerate(panel["curves"]):
            h, errors = values(curve["h"]), values(curve["errors"])
            size = 2.58 * values(curve["noise"]) + values(curve["bias"])
            seen = np.array(curve["resolved"], dtype=bool)
            slope = "not resolved" if curve["slope"] is None else f"slope {curve['slope']:.2f}"
            of = groups.index(curve.get("group", curve["name"]))
            colour, mark = class_colour(of), MARKS[of % len(MARKS)]
            ax.errorbar(h, errors, np.minimum(size, 0.9 * errors), color=colour, marker=mark, ms=4.5, lw=1.2,
                        ls=curve.get("line", "-"), capsize=2, label=f"{text(curve['name'], 40)}: {slope}",
                        gid=f"curve {i}")  # fmt: skip
            ax.plot(h[~seen], errors[~seen], mark, ms=4.5, mfc="white", mec=colour, zorder=4, gid=f"unresolved {i}")
            whole += [float(e) for e in errors if e > 0]
        _slopes(panel, ax, whole)
        ax.set(xscale="log", yscale="log", xlabel="largest step size h", title=text(panel["title"], 48))
        ax.xaxis.set_major_locator(matplotlib.ticker.LogLocator(base=2, numticks=8))
        ax.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        ax.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(_power))
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=8.5)
    fig.axes[0].set_ylabel("error of a mean")
    return fig


def _power(h: float, _: int) -> str:
    return f"{h:g}" if h >= 1 else f"1/{round(1 / h):,}"


def _slopes(panel: Record, ax: matplotlib.axes.Axes, whole: list[float]) -> None:
    """A grey line for each order, under the errors."""
    h = np.array([min(min(c["h"]) for c in panel["curves"]), max(max(c["h"]) for c in panel["curves"])])
    low = min(whole, default=1e-3) / 3
    for order in panel["orders"]:
        ends = low * (h / h[0]) ** order
        ax.plot(h, ends, color=MUTED, lw=1, ls=(0, (4, 2)), zorder=0, gid=f"order {order}")
        middle = math.sqrt(h[0] * h[1])
        ax.annotate(f"order {order:g}", (middle, low * (middle / h[0]) ** order), xytext=(3, -3), va="top",
                    textcoords="offset points", color=MUTED, fontsize=8.5)  # fmt: skip
