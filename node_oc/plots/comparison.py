"""The full network against the cropped one and its plain neighbour: what each costs, what each is worth."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from node_oc.plots.style import FAINT, INK, NETWORKS, Record, called, figure, styled, text, values


@styled
def comparison(record: Record) -> Figure:
    """Layers, parameters, FLOPs, latency and metric of every network, as bars with their values."""
    models = record["models"]
    batches = sorted({batch for model in models for batch in model["latency_ms"] or {}}, key=int)
    panels = 4 + len(batches)
    rows, columns = math.ceil(panels / 3), 3
    fig = figure(12.5, 0.5 + rows * (0.75 + 0.42 * max(2, len(models))),
                 f"{text(record['name'])}: the networks side by side")  # fmt: skip
    grid = fig.subplots(rows, columns, squeeze=False).ravel()
    for ax in grid[panels:]:
        ax.set_axis_off()
    for ax, key, title in zip(grid, ("layers", "parameters", "flops"), ("layers", "parameters", "FLOPs")):
        _bars(ax, models, [model[key] for model in models], title)
    for ax, batch in zip(grid[3:], batches):
        _latency(ax, models, batch)
    _metric(grid[panels - 1], models)
    for ax in grid[:panels]:
        names = [text(called(record, model["name"])) for model in models]
        ax.set_yticks(range(len(models)), names, color=INK, fontsize=10)
        ax.set_ylim(len(models) - 0.45, -0.55)
        ax.tick_params(axis="y", length=0)
    return fig


def _colour(model: Record) -> str:
    return NETWORKS.get(model["name"], NETWORKS["plain"])


def _bars(ax: Axes, models: list[Any], lengths: list[Any], title: str, notes: list[str] | None = None) -> None:
    """Horizontal bars from zero with their values behind them."""
    ax.set_title(title)
    known = values(lengths)
    ax.barh(range(len(models)), known, height=0.62, color=[_colour(model) for model in models])
    top = max([x for x in known if math.isfinite(x)], default=1.0) or 1.0
    for i, x in enumerate(known):
        note = notes[i] if notes else ("not known" if math.isnan(x) else f"{x:,.0f}")
        ax.annotate(note, (x if math.isfinite(x) else 0, i), xytext=(5, 0), textcoords="offset points",
                    va="center", fontsize=10)  # fmt: skip
    ax.set_xlim(0, 1.42 * top)
    ax.set_xticks([])
    ax.spines["bottom"].set_visible(False)


def _latency(ax: Axes, models: list[Any], batch: str) -> None:
    """Median as a bar, 95 % quantile as a tick behind it, both in milliseconds."""
    times = [(model["latency_ms"] or {}).get(batch) or {} for model in models]
    p50, p95 = values(t.get("p50") for t in times), values(t.get("p95") for t in times)
    notes = ["not measured" if math.isnan(a) else f"{a:.3g} / {b:.3g}" for a, b in zip(p50, p95)]
    unit = f"latency in ms, batch of {batch}: p50 / p95"
    _bars(ax, models, list(p50), unit, [""] * len(models))
    top = max([x for x in p95 if math.isfinite(x)], default=1.0) or 1.0
    ax.set_xlim(0, 1.55 * top)
    for i, (a, b) in enumerate(zip(p50, p95)):
        if math.isfinite(b):
            ax.plot([a, b], [i, i], color=INK, lw=1, gid=f"p95 {batch}")
            ax.plot([b, b], [i - 0.2, i + 0.2], color=INK, lw=1.4)
        end = max(x for x in (a, b, 0.0) if not math.isnan(x))
        ax.annotate(notes[i], (end, i), xytext=(5, 0), textcoords="offset points", va="center")


def _metric(ax: Axes, models: list[Any]) -> None:
    """Test metric as a point with its 95 % interval; the axis does not start at zero, hence no bars."""
    name = models[0]["metric"]["name"] if models else "metric"
    scale, unit = (100, "%") if name == "accuracy" else (1, "")
    ax.set_title(f"test {name}{' in %' if unit else ''}, 95 % interval")
    for i, model in enumerate(models):
        value, low, high = scale * values(model["metric"][key] for key in ("value", "low", "high"))
        low, high = (value if math.isnan(low) else low), (value if math.isnan(high) else high)
        ax.plot([low, high], [i, i], color=_colour(model), lw=5, solid_capstyle="butt", alpha=0.55)
        ax.plot(value, i, "o", color=_colour(model), mec=INK, mew=0.8, ms=8, gid=f"metric {model['name']}")
        ax.annotate(f"{value:.2f}" if unit else f"{value:.4g}", (high, i), xytext=(8, 0),
                    textcoords="offset points", va="center")  # fmt: skip
    low, high = ax.get_xlim()
    ax.set_xlim(low - 0.05 * (high - low), high + 0.3 * (high - low))
    ticks = MaxNLocator(nbins=4).tick_values(low, high)
    ax.set_xticks([t for t in ticks if low <= t <= (min(high, 100) if unit else high)])
    ax.grid(axis="x", color=FAINT, lw=0.6)
