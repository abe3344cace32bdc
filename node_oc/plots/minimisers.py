"""Two classes: why soft cross-entropy has minimisers and plain cross-entropy has none, and who reaches them."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from node_oc.plots.sets import draw_sets
from node_oc.plots.style import FAINT, INK, MUTED, Record, class_colour, figure, full_name, styled, text


@styled
def minimisers(record: Record) -> Figure:
    """The stage cost of two classes over z_1 - z_0, and the last logits of the full and the cropped network.

    Soft cross-entropy is least, with the entropy of its target, where the true logit leads by
    gap = log((1 - eps)/eps) (arXiv 2405.19013, Lemma 3); plain cross-entropy falls for ever (Lemma 2).
    Needs ``record["minimisers"]``.
    """
    part, depth = record["minimisers"], record["depth"]
    classes = record["data"]["classes"]
    fig = figure(15, 5.3, f"{text(record['name'])}: the states at which the stage cost is least")
    cost, full, cropped = fig.subplots(1, 3, width_ratios=(1.15, 1, 1))
    _cost(cost, float(part["eps"]), float(part["gap"]), classes)
    both = np.array([*part["logits"], *part["depth_logits"]], dtype=float).reshape(-1, 2)
    answer = "depth found" if record.get("growth") else "cropped network"
    for ax, points, title in (
        (full, part["logits"], f"{full_name(record)}, {depth['N']} layers"),
        (cropped, part["depth_logits"], f"{answer}, {depth['depth']} layers"),
    ):
        draw_sets(ax, float(part["gap"]), classes, both)
        z, y = np.array(points, dtype=float).reshape(-1, 2), np.array(part["labels"], dtype=int)
        for label in (0, 1):
            mine = z[y[: len(z)] == label]
            ax.plot(*mine.T, "o", ms=4.2, color=class_colour(label), mec="white", mew=0.4, alpha=0.8,
                    gid=f"class {label}")  # fmt: skip
        ax.set_title(f"{title}: last logits")
        ax.set(xlabel=f"logit $z_0$ of class {text(classes[0], 12)}",
               ylabel=f"logit $z_1$ of class {text(classes[1], 12)}")  # fmt: skip
    return fig


def _cost(ax: Axes, eps: float, gap: float, classes: list[str]) -> None:
    reach = 2.1 * gap
    m = np.linspace(-reach, reach, 401)
    for label, lead in ((0, -m), (1, m)):  # by how much the true logit leads
        colour = class_colour(label)
        soft = (1 - eps) * np.logaddexp(0, -lead) + eps * np.logaddexp(0, lead)
        ax.plot(m, soft, color=colour, gid=f"soft {label}")
        ax.plot(m, np.logaddexp(0, -lead), color=colour, lw=1.3, ls=(0, (2, 2)), gid=f"plain {label}")
        at = gap if label else -gap
        least = -(1 - eps) * np.log(1 - eps) - eps * np.log(eps)
        ax.plot([at, at], [-1, least], color=colour, lw=1.4, ls=(0, (5, 2)), zorder=0.5)
        ax.plot(at, least, "o", color=colour, mec="white", ms=9, zorder=5, gid=f"minimum {label}")
        ax.annotate(f"class {text(classes[label], 12)}: least,\n{least:.3g} nats, at {at:+.3g}".replace("-", "−"),
                    (at, least), xytext=(12 if label else -12, 17), textcoords="offset points", ha="center",
                    color=colour)  # fmt: skip
    ax.axhline(0, color=MUTED, lw=0.8)
    ax.set(xlim=(-reach, reach), ylim=(-0.12, 1.45 * gap), xlabel="lead of class 1, $z_1 - z_0$, in nats",
           ylabel=r"stage cost $\ell$ in nats", box_aspect=1 / 1.15)  # fmt: skip
    ax.plot([], [], color=INK, label=f"soft cross-entropy, ε = {eps:g}")
    ax.plot([], [], color=INK, lw=1.3, ls=(0, (2, 2)), label="plain: falls for ever")
    ax.legend(loc="upper center", fontsize=9, borderaxespad=0.1)
    ax.grid(axis="y", color=FAINT, lw=0.6)
    ax.set_title("stage cost of one sample")
