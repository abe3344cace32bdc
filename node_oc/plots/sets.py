"""The minimiser sets of two classes in the plane of the two logits: lines z_y - z_other = gap."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from node_oc.plots.style import Array, class_colour, text


def draw_sets(ax: Axes, gap: float, classes: list[str], points: Array) -> None:
    """Draws X*_0 and X*_1 with their names, and fixes the limits of the axes.

    Args:
        ax: axes of equal aspect, horizontally z_0 and vertically z_1.
        gap: true logit less the other one on the set (arXiv 2405.19013, Lemma 3), in nats.
        classes: the two names.
        points: (n, 2), what the axes have to show.
    """
    shown = points[np.isfinite(points).all(1)]
    shown = np.concatenate([shown, [[0.0, gap], [gap, 0.0]]])
    low, high = shown.min(0), shown.max(0)
    centre, half = (low + high) / 2, 0.56 * max(*(high - low))
    (x0, y0), (x1, y1) = centre - half, centre + half
    ax.set(xlim=(x0, x1), ylim=(y0, y1), aspect="equal")
    for label, shift in enumerate((-gap, gap)):  # z_1 = z_0 + shift
        colour = class_colour(label)
        ax.axline((0, shift), slope=1, color=colour, lw=2, ls=(0, (5, 2)), zorder=3, gid=f"set {label}")
        corner, ha, va = ((0.02, 0.98), "left", "top") if label else ((0.98, 0.02), "right", "bottom")
        sign = "z_1 - z_0" if label else "z_0 - z_1"
        ax.annotate(f"minimisers of class {text(classes[label], 12)}:\n${sign}$ = {gap:.3g}", corner, ha=ha, va=va,
                    xycoords="axes fraction", color=colour, fontsize=9.5, zorder=7)  # fmt: skip
