"""Pictures of E-MSA's error terms and of the free boundary, from records alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from node_oc.errors import ConfigError, StoreError
from node_oc.plots import draw_error_terms
from node_oc.plots.error_terms import error_terms, terms_of
from node_oc.plots.free_boundary import free_boundary


def line(update: int) -> dict[str, object]:
    terms = {"decrease": [0.1 * update, -0.2, 0.0, 0.3], "state": [0.1, 0.2, 0.0, 0.0], "costate": [0.0, 0.1, 0.4, 0.2],
             "residual": [1.0] * 4, "gap": [0.0] * 4, "before": 2.0, "after": 2.0 - 0.05 * update}  # fmt: skip
    return {"training": "fit", "update": update, "error_terms": terms}


def test_error_terms_are_read_from_a_history_and_drawn_layer_by_layer(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    other = {"training": "fit", "update": 1, "objective": 2.0}
    history.write_text("".join(json.dumps(each) + "\n" for each in (other, line(10), other, line(20))))
    terms = terms_of(history)
    assert [each["update"] for each in terms] == [10, 20]
    gain, moved, both = error_terms({"name": "a training", "error_terms": terms}).axes[:3]
    for ax, wanted in ((gain, [[1.0, 2.0], [-0.2, -0.2], [0.0, 0.0], [0.3, 0.3]]),
                       (moved, [[0.1] * 2, [0.3] * 2, [0.4] * 2, [0.2] * 2])):  # fmt: skip
        np.testing.assert_allclose(np.asarray(ax.collections[0].get_array()).reshape(4, 2), wanted)  # type: ignore[attr-defined]
        assert [label.get_text() for label in ax.get_yticklabels()] == ["lift", "0", "1", "head"]
    promised, fell = (curve.get_ydata() for curve in both.lines[:2])
    np.testing.assert_allclose(promised, [1.1, 2.1])
    np.testing.assert_allclose(fell, [0.5, 1.0])
    draw_error_terms(history, tmp_path / "terms.png")
    assert (tmp_path / "terms.png").read_bytes().startswith(b"\x89PNG")
    history.write_text(json.dumps(other) + "\n")
    with pytest.raises(ConfigError, match="no error terms"):
        draw_error_terms(history, tmp_path / "none.png")
    with pytest.raises(StoreError, match="no file"):
        terms_of(tmp_path / "absent.jsonl")


def test_the_map_of_stopping_times_lies_as_the_plane_does() -> None:
    times = [[0.0, 1.0], [2.0, 3.0]]
    part = {"maps": [{"cost": 0.1, "times": times}], "x": [-1, 1], "y": [-2, 2], "horizon": 3.0,
            "samples": [[0, 0, 1]], "curve": [[2, 90], [1, 80]], "fixed": [[0, 50], [3, 95]]}  # fmt: skip
    fig = free_boundary({"name": "a plane", "free_boundary": part})
    plane, curves = fig.axes[:2]
    image = plane.images[0]
    np.testing.assert_allclose(np.asarray(image.get_array()), times)
    assert image.origin == "lower"
    assert list(image.get_extent()) == [-1, 1, -2, 2]
    assert list(curves.lines[0].get_xdata()) == [1.0, 2.0]
