"""The picture of the phase portrait shows its record, of every kind."""

from __future__ import annotations

import copy
import warnings
from functools import cache
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver
from records import record

from node_oc.errors import ConfigError
from node_oc.plots import applies, draw
from node_oc.report import captions, write_report


def changed(**changes: Any) -> dict[str, Any]:
    out = copy.deepcopy(record())
    out["portrait"].update(changes)
    return out


def one(**changes: Any) -> dict[str, Any]:
    """Every step has the same field."""
    part = record()["portrait"]
    return changed(constant=True, layers=[0], t=[0.0], arrows=part["arrows"][:1], **changes)


def stars() -> dict[str, Any]:
    """Ten classes: their minimiser sets are points."""
    out = changed(
        labels=[i % 10 for i in range(12)],
        sets=[{"label": c, "point": [c / 4 - 1, 1.0], "direction": None} for c in range(10)],
    )
    out["data"]["classes"] = [f"class number {c}" for c in range(10)]
    return out


def regression() -> dict[str, Any]:
    out = changed(labels=[], sets=[], plane="state", share=1.0)
    out["data"].update(task="regression", classes=[])
    return out


KINDS = {
    "usual": record(), "one field": one(), "ten classes": stars(), "regression": regression(),
    "in time": changed(units=False, t=[0.25 * k for k in record()["portrait"]["layers"]]),
    "two layers": changed(layers=[0, 7], t=[0.0, 7.0], arrows=record()["portrait"]["arrows"][:2]),
    "one layer": changed(layers=[4], t=[4.0], arrows=record()["portrait"]["arrows"][:1]),
    "no class in the plane": changed(sets=[], plane="states"),
    "everything at rest": changed(arrows=[np.zeros((81, 2)).tolist()] * 6),
}  # fmt: skip


def words(fig: Figure) -> str:
    return " | ".join(text.get_text() for text in fig.findobj(matplotlib.text.Text) if text.get_visible())


@cache
def drawn(kind: str) -> Figure:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig = draw("portrait", KINDS[kind])
        fig.draw_without_rendering()
    return fig


def found(fig: Figure, gid: str) -> list[Any]:
    return [item for ax in fig.findobj(matplotlib.axes.Axes) for item in ax.get_children() if item.get_gid() == gid]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn_without_a_warning(kind: str) -> None:
    fig = drawn(kind)
    assert KINDS[kind]["name"] in words(fig)
    boxes = [text.get_window_extent() for ax in fig.axes for text in (ax.title, ax._left_title) if text.get_text()]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_arrows_point_where_the_record_says() -> None:
    part = record()["portrait"]
    fig = drawn("usual")
    for k, arrows in zip(part["layers"][:-1], part["arrows"]):
        (quiver,) = found(fig, f"field {k}")
        assert isinstance(quiver, Quiver)
        v = np.array(arrows)
        v = v[np.hypot(*v.T) > 0]
        np.testing.assert_allclose(quiver.get_array(), np.hypot(*v.T))
        np.testing.assert_array_equal(np.sign([quiver.U, quiver.V]), np.sign(v.T))
        np.testing.assert_allclose(quiver.V * v[:, 0], quiver.U * v[:, 1], atol=1e-12)
        cells = np.hypot(quiver.U / (6 / 8), quiver.V / (12 / 8))  # one length on paper
        np.testing.assert_allclose(cells, cells[0])
    assert not found(fig, f"field {part['layers'][-1]}")  # exactly zero there
    shades = {(q.norm.vmin, q.norm.vmax) for k in part["layers"][:-1] for q in found(fig, f"field {k}")}
    assert len(shades) == 1  # one scale for all layers


def test_points_are_the_states() -> None:
    part = record()["portrait"]
    paths, labels = np.array(part["paths"]), np.array(part["labels"])
    fig = drawn("usual")
    for y in (0, 1):
        np.testing.assert_array_equal(np.transpose(found(fig, f"start {y}")[0].get_data()), paths[labels == y, 0])
        np.testing.assert_array_equal(np.transpose(found(fig, f"end {y}")[0].get_data()), paths[labels == y, -1])
        for k in part["layers"]:
            (at,) = found(fig, f"at {k} {y}")
            np.testing.assert_array_equal(np.transpose(at.get_data()), paths[labels == y, k])
    for ax in fig.axes[:7]:
        assert (ax.get_xlim(), ax.get_ylim()) == ((-3, 3), (-6, 6))


def test_sets_are_lines_or_stars() -> None:
    for line in found(drawn("usual"), "set 1"):
        assert (line.get_xy1(), line.get_xy2()) == ((2.0, 0.0), (2.0, 1.0))
    assert len(found(drawn("usual"), "set 1")) == 7
    assert [float(x[0]) for x in found(drawn("ten classes"), "set 5")[0].get_data()] == [0.25, 1.0]
    assert "minimisers" in words(drawn("ten classes"))
    assert "minimisers" not in words(drawn("regression"))


def test_words() -> None:
    usual, time = words(drawn("usual")), words(drawn("in time"))
    for told in (
        "k = 0 |",
        "state per layer",
        "93.1 % of the variance",
        "principal direction of the readout",
        "projected",
    ):
        assert told in usual
    assert "k = 19, t = 4.75" in time
    assert "state per unit of time" in time
    assert "first entry of the state" in words(drawn("regression"))
    assert "projected" not in words(drawn("regression"))
    assert "the field of every step" in words(drawn("one field"))
    assert "field of step k = 4" in words(drawn("one layer"))
    assert "principal direction of the states" in words(drawn("no class in the plane"))


def test_captions_say_what_plane_it_is() -> None:
    assert "93.1 % of their variance" in captions(record())["portrait"]
    assert "slice through the mean state" in captions(record())["portrait"]
    assert "minimisers" in captions(record())["portrait"]
    plain = captions(KINDS["regression"])["portrait"]
    assert "variance" not in plain
    assert "minimisers" not in plain


def test_what_is_left_out_is_explained_in_the_report(tmp_path: Any) -> None:
    out = record(classes=10)
    assert not applies("portrait", out)
    with pytest.raises(ConfigError, match="vectors"):
        draw("portrait", out)
    picture = tmp_path / "a.png"
    draw("profile", out).savefig(picture)
    write_report(out, tmp_path, {"profile": picture})
    assert "No portrait is shown. The states are maps" in (tmp_path / "report.html").read_text()
    write_report(record(), tmp_path, {"profile": picture})
    assert "No portrait is shown" not in (tmp_path / "report.html").read_text()
