"""What is lost when layers are given up: prices tried, and cropped networks before and after healing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from node_oc.plots.style import (
    CLASSES,
    CUT,
    FAINT,
    NETWORKS,
    WHITE,
    Array,
    Record,
    figure,
    layers,
    place_labels,
    styled,
    text,
    values,
)  # fmt: skip

BUDGET = CLASSES[1]


@dataclass(frozen=True)
class _Scale:
    """The vertical axis: accuracy, or the mean paired loss against the full network.

    Attributes:
        reference: accuracy of the full network on the selecting half; None for paired losses.
        limit: what the mean paired loss has to stay within.
    """

    reference: float | None
    limit: float

    def __call__(self, excess: Sequence[object] | Array) -> Array:
        """Heights of mean paired losses."""
        return values(excess) if self.reference is None else self.reference - values(excess)


@styled
def price_curve(record: Record) -> Figure:
    """The metric on the selecting half against the layers kept, over the prices tried and the candidates.

    In classification the metric is accuracy; the budget line lies ``limit`` under the full network. In
    regression, and where no price was tried (then the record has no accuracy of the full network on this
    half), it is the mean paired loss against the full network, less being better. A second panel enlarges
    the neighbourhood of the budget line where the whole range would hide it.
    """
    prices, limit = record["prices"], float(record["budget"]["limit"])
    known = prices and record["data"]["task"] == "classification"
    scale = _Scale(1 - (float(prices[0]["loss"]) - float(prices[0]["excess"])) if known else None, limit)
    excess = values([p["excess"] for p in prices]
                    + [c[key] for c in record["candidates"] for key in ("raw", "excess")])  # fmt: skip
    excess = excess[np.isfinite(excess)]
    near = _near(excess, limit)
    wide = bool((excess > 3 * near[1] - 2 * near[0]).any())
    fig = figure(13.4 if wide else 8.4, 5.2, f"{text(record['name'])}: what giving up layers costs")
    axes = fig.subplots(1, 2 if wide else 1, squeeze=False).ravel()
    for ax in axes:
        _series(ax, record, scale)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    low, high = sorted(scale(near))
    if wide:
        axes[0].set_title("everything tried")
        axes[0].axhspan(low, high, color=FAINT, alpha=0.45, lw=0, zorder=0)
        axes[1].set_title("the shaded part, enlarged")
        axes[1].set_ylim(low, high)
    _name_lines(axes[-1], record["depth"]["N"], scale)
    for ax in axes:
        if scale.reference is not None:
            bottom, top = ax.get_ylim()
            ax.set_yticks([tick for tick in ax.get_yticks() if bottom <= tick <= min(top, 1 + 1e-9)])
        _name_points(ax, record, scale, (low, high) if wide and ax is axes[0] else None)
    return fig


def _near(excess: Array, limit: float) -> tuple[float, float]:
    """The range of paired losses in which the budget line and what was decided there can be told apart."""
    low, high = min([0.0, *excess[excess <= limit]]), limit
    over = excess[excess > limit]
    if low == high:
        high = min(over, default=1e-3)
    high = max([high, *over[over < high + 2 * (high - low)]])
    return low - 0.35 * (high - low), high + 0.35 * (high - low)


def _priced(record: Record, scale: _Scale) -> tuple[list[int], Array]:
    prices = record["prices"]
    high = values(p["excess"] for p in prices) if scale.reference is None else 1 - values(p["loss"] for p in prices)
    return [len(p["awake"]) for p in prices], high


def _series(ax: Axes, record: Record, scale: _Scale) -> None:
    candidates = record["candidates"]
    budget, full = scale([scale.limit, 0.0])
    ax.axhline(budget, color=BUDGET, lw=1.6, ls=(0, (5, 2)), zorder=1, gid="budget")
    ax.axhline(full, color=NETWORKS["full"], lw=1, zorder=1, gid="reference")
    if record["prices"]:
        ax.plot(*_priced(record, scale), "-o", color=NETWORKS["full"], lw=1, ms=8.5, gid="priced", zorder=3,
                label="full network trained at a price λ, not healed")  # fmt: skip
    if candidates:
        depths = [c["depth"] for c in candidates]
        raw, healed = scale([c["raw"] for c in candidates]), scale([c["excess"] for c in candidates])
        done = "cropped and healed" if record["config"]["search"]["heal"] else "cropped, not healed"
        ax.vlines(depths, np.minimum(raw, healed), np.maximum(raw, healed), color=CUT, lw=1, zorder=2)
        ax.plot(depths, raw, "D", mfc="white", mec=CUT, mew=1.3, ms=5.5, gid="raw", zorder=3,
                label="cropped, before healing")  # fmt: skip
        ax.plot(
            depths,
            healed,
            "D",
            color=CUT,
            ms=7.5,
            gid="healed",
            zorder=4,
            label=done,
        )
    layers(ax, record["depth"]["N"], "layers kept")
    half = f"on the selecting half, {record['budget']['selecting']:,} samples"
    ax.set_ylabel(f"accuracy {half}" if scale.reference is not None else f"paired loss, less is better,\n{half}")
    if scale.reference is not None:
        ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    ax.grid(axis="y", color=FAINT, lw=0.6)
    ax.margins(y=0.1)


def _name_lines(ax: Axes, N: int, scale: _Scale) -> None:
    budget, full = scale([scale.limit, 0.0])
    below = f"{100 * scale.limit:g} points below it" if scale.reference is not None else f"at most {scale.limit:g}"
    for height, words, colour, above in (
        (full, f"full network, {N} layers", NETWORKS["full"], scale.reference is not None),
        (budget, f"budget: {below}", BUDGET, scale.reference is None),
    ):
        ax.annotate(words, (1, height), xycoords=("axes fraction", "data"), xytext=(-2, 4 if above else -4),
                    textcoords="offset points", ha="right", va="bottom" if above else "top", color=colour,
                    fontsize=9.5, bbox=WHITE)  # fmt: skip


def _name_points(ax: Axes, record: Record, scale: _Scale, hidden: tuple[float, float] | None = None) -> None:
    """Every price at its point, and the depths selected and certified; none with a height in ``hidden``."""
    depth, candidates = record["depth"], record["candidates"]
    healed, raw = ([(c["depth"], scale([c[key]])[0]) for c in candidates] for key in ("excess", "raw"))
    priced = [(x, y) for x, y in zip(*_priced(record, scale))]
    named = []
    for at in healed:
        roles = [role for role in ("selected", "certified") if depth[role] == at[0]]
        if roles:
            named.append((at, f"depth {at[0]}, {' and '.join(roles)}", CUT))
    named += [(at, f"λ = {float(p['price']):g}", NETWORKS["full"]) for p, at in zip(record["prices"], priced)]
    named = [one for one in named if not (hidden and hidden[0] <= one[0][1] <= hidden[1])]
    across = [[(x, y) for x in (0.0, record["depth"]["N"])] for y in scale([scale.limit, 0.0])]
    lines = [priced, *zip(healed, raw), *across]
    points, texts, colours = [at for at, _, _ in named], [name for _, name, _ in named], [c for _, _, c in named]
    place_labels(ax, points, texts, colours, [*priced, *healed, *raw], lines)
