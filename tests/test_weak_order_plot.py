"""The picture of weak orders: every error, hollow where it is not resolved, and the slopes of the orders."""

from __future__ import annotations

from node_oc.diagnosis.weak_order import judged
from node_oc.plots.weak_order import weak_order


def test_errors_and_slopes_are_drawn() -> None:
    h = [0.4, 0.2, 0.1, 0.05]
    clear = judged(h, [x**2 for x in h], [1e-6] * 4, [0.0] * 4, order=2)
    lost = judged(h, h, [1.0] * 4, [0.0] * 4)
    curves = [{"name": "clear", **clear.to_dict()}, {"name": "lost", **lost.to_dict()}]
    fig = weak_order({"name": "orders", "panels": [{"title": "one", "orders": (1, 2), "curves": curves}]})
    lines = {line.get_gid(): line for line in fig.axes[0].lines if line.get_gid()}
    assert len(lines["unresolved 0"].get_xdata()) == 0
    assert list(lines["unresolved 1"].get_xdata()) == h
    x, y = (lines["order 2"].get_xdata(), lines["order 2"].get_ydata())
    assert abs(y[1] / y[0] - (x[1] / x[0]) ** 2) < 1e-9
    said = [text.get_text() for text in fig.axes[0].get_legend().get_texts()]
    assert said == ["clear: slope 2.00", "lost: not resolved"]
    assert lines["unresolved 0"].get_markeredgecolor() != lines["unresolved 1"].get_markeredgecolor()
    grouped = [{**curve, "group": "one noise"} for curve in curves]
    fig = weak_order({"name": "orders", "panels": [{"title": "one", "orders": (1, 2), "curves": grouped}]})
    assert len({line.get_markeredgecolor() for line in fig.axes[0].lines if "un" in (line.get_gid() or "")}) == 1
