"""Pictures of a value function show their record."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from node_oc.plots.value_function import value_in_plane, value_over_depth

AXIS = np.linspace(-1, 1, 9)


def value(d: int) -> dict[str, Any]:
    """v = (t + 1) x^2, or x^2 + y."""
    t = [0.0, 0.5, 2.0]
    values = [((s + 1) * AXIS**2).tolist() for s in t] if d == 1 else [(AXIS[:, None] ** 2 + AXIS).tolist()]
    return {
        "t": t, "axes": [AXIS.tolist()] * d, "values": values, "region": [[-0.5, 0.5]] * d, "path_t": [0.0, 1.0, 2.0],
        "paths": [[[0.1 * i] * d, [0.0] * d, [-0.1 * i] * d] for i in range(3)],
    }  # fmt: skip


def drawn(fig: Figure) -> list[Any]:
    fig.canvas.draw()
    return fig.axes


@pytest.mark.parametrize("points", [None, {"x": [0.0, 0.25], "mean": [0.0, 0.06], "error": [0.01, 0.02]}])
def test_over_depth(points: dict[str, list[float]] | None) -> None:
    fig = value_over_depth({"name": "a net of 3 $", "value": value(1), "cost": "E φ", "points": points})
    left, right, bar = drawn(fig)
    paths = next(c for c in left.collections if c.get_gid() == "paths")
    assert np.allclose(paths.get_segments()[2], [[0, 0.2], [1, 0], [2, -0.2]])
    assert (left.get_xlim(), left.get_ylim()) == ((0, 2), (-1, 1))
    lines = {line.get_gid(): line for line in right.lines}
    assert np.allclose(lines["value"].get_xydata(), np.stack([AXIS, AXIS**2], 1))
    assert np.allclose(lines["terminal"].get_ydata(), 3 * AXIS**2)
    assert right.get_xlim() == pytest.approx((-0.53, 0.53))
    assert len(right.containers) == (points is not None)
    assert bar.get_ylabel() == "E φ"


def test_in_the_plane() -> None:
    panels = [{"title": title, "value": value(2)} for title in ("without noise", "with noise")]
    fig = value_in_plane({"name": "spirals", "cost": "probability", "panels": panels,
                          "samples": [[0.1, 0.2], [0.3, -0.4]], "labels": [1, 0]})  # fmt: skip
    left, right, _ = drawn(fig)
    for ax in (left, right):
        marks = {line.get_gid(): line.get_xydata().tolist() for line in ax.lines}
        assert marks == {"class 1": [[0.1, 0.2]], "class 0": [[0.3, -0.4]]}
    assert right.get_title(loc="left") == "with noise"
    bare = value_in_plane({"name": "spirals", "cost": "probability", "panels": panels[:1]})
    assert not drawn(bare)[0].lines
