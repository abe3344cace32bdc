"""Pictures: drawn from the record alone, with its numbers, for every kind of record."""

from __future__ import annotations

import math
import warnings
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from records import adaptive, bare, record, three_classes

from node_oc.errors import ConfigError, StoreError
from node_oc.plots import FIGURES, applies, draw, draw_all
from node_oc.plots.style import figure, log_axis, plain_log, values


def lines(fig: Figure, gid: str) -> list[Line2D]:
    return [line for ax in fig.axes for line in ax.lines if line.get_gid() == gid]


def words(fig: Figure) -> str:
    return " | ".join(text.get_text() for text in fig.findobj(matplotlib.text.Text) if text.get_visible())


RECORDS = {
    "ten classes": record(classes=10), "regression": record("regression"),
    "three classes": three_classes(), "bare": bare(), "bare regression": bare("regression"),
    "no step kept": record(classes=10, N=4, M=0), "deep": record(classes=10, N=120, M=100),
}  # fmt: skip


@cache
def drawn(name: str) -> Figure:
    """The picture of the usual record, drawn once for all tests."""
    return draw(name, record())


def test_names() -> None:
    assert list(FIGURES) == ["growth", "trajectories", "portrait", "profile", "comparison", "price_curve", "minimisers",
                             "reliability", "evaluations"]  # fmt: skip


CASES = [(kind, name) for kind, names in (
    ("ten classes", ("profile", "price_curve")), ("regression", ("profile", "comparison", "price_curve")),
    ("three classes", ("trajectories",)), ("bare", ("profile", "comparison", "price_curve")),
    ("bare regression", ("price_curve",)), ("no step kept", ("profile",)), ("deep", ("profile",)),
) for name in names]  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_every_kind_of_record_is_drawn_without_a_warning(kind: str, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig = draw(name, RECORDS[kind])
        fig.draw_without_rendering()
    assert RECORDS[kind]["name"] in words(fig)


def test_what_applies() -> None:
    assert [name for name in FIGURES if not applies(name, record())] == ["growth", "evaluations"]
    assert [name for name in FIGURES if applies(name, record(classes=10))] == [
        "profile", "comparison", "price_curve", "reliability"
    ]  # fmt: skip
    assert not applies("reliability", record("regression"))
    assert [name for name in FIGURES if not applies(name, three_classes())] == ["growth", "minimisers", "evaluations"]
    nothing = {**bare(), "candidates": []}
    assert not applies("price_curve", nothing)
    with pytest.raises(ConfigError, match="price_curve"):
        draw("price_curve", nothing)
    with pytest.raises(ConfigError, match="trajektories"):
        applies("trajektories", nothing)


def test_reliability_has_a_panel_a_network_and_a_curve_a_prediction() -> None:
    out = record()
    fig = draw("reliability", out)
    assert [ax.get_title(loc="left") for ax in fig.axes[:2]] == ["full", "cropped"]
    for ax, entries in zip(fig.axes[:2], (out["calibration"][:2], out["calibration"][2:]), strict=True):
        drawn = {line.get_gid(): line for line in ax.lines}
        for gid, entry in zip(("mean", "passes"), entries, strict=True):
            assert list(drawn[gid].get_xdata()) == [b["confidence"] for b in entry["bins"]]
            assert list(drawn[gid].get_ydata()) == [b["accuracy"] for b in entry["bins"]]
        assert list(drawn["aim"].get_xdata()) == [1 - out["config"]["problem"]["eps"]] * 2
        assert all(low >= ax.get_ylim()[0] for low in (b["low"] for e in entries for b in e["bins"]))


@pytest.mark.parametrize(
    ("low", "high", "shown"), [(0.8, 6, "1 2 5"), (15, 38, "15 20 30"), (1, 3000, "1 10 100 1,000")]
)
def test_a_log_axis_in_plain_numbers(low: float, high: float, shown: str) -> None:
    ax = figure(4, 3, "").subplots()
    ax.plot([low, high])
    plain_log(ax)
    bottom, top = ax.get_ylim()
    ax.figure.draw_without_rendering()
    inside = [t.get_text() for y, t in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True) if bottom <= y <= top]
    assert " ".join(inside) == shown
    assert not len(ax.yaxis.get_minorticklocs())


@pytest.mark.parametrize("trainings", [1, 2, 9])
def test_evaluations_shows_every_training(trainings: int) -> None:
    out = adaptive(trainings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig = draw("evaluations", out)
        fig.draw_without_rendering()
    lines = fig.axes[0].lines[::-1]
    for line, curve in zip(lines, out["solver"]["curves"], strict=True):
        assert list(line.get_ydata()) == curve["evaluations"]
        assert list(line.get_xdata()) == curve["epoch"]
    named = [text.get_text() for text in fig.axes[0].get_legend().get_texts()]
    assert named == [f"price-{i}" for i in range(min(5, trainings))] + ["other trainings"] * (trainings > 5)


def test_files(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paths = draw_all(record(), tmp_path / "new")
    assert paths == {name: tmp_path / "new" / f"{name}.png" for name in FIGURES if applies(name, record())}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths.values())
    assert dict(matplotlib.rcParams) == before
    with pytest.raises(StoreError):
        draw_all(record(), paths["profile"])


def test_price_curve_shows_the_record() -> None:
    for out, fig in ((record(), drawn("price_curve")), (record(N=9, M=4), draw("price_curve", record(N=9, M=4)))):
        reference = 1 - (out["prices"][0]["loss"] - out["prices"][0]["excess"])
        assert len(lines(fig, "priced")) == 2  # all, and enlarged
        for line in lines(fig, "priced"):
            np.testing.assert_array_equal(line.get_xdata(), [len(p["awake"]) for p in out["prices"]])
            np.testing.assert_allclose(line.get_ydata(), [1 - p["loss"] for p in out["prices"]])
        for gid, key in (("raw", "raw"), ("healed", "excess")):
            for line in lines(fig, gid):
                np.testing.assert_array_equal(line.get_xdata(), [c["depth"] for c in out["candidates"]])
                np.testing.assert_allclose(line.get_ydata(), [reference - c[key] for c in out["candidates"]])
        for line in lines(fig, "budget"):
            np.testing.assert_allclose(line.get_ydata(), reference - out["budget"]["limit"])
        assert f"depth {out['depth']['depth']}, selected and certified" in words(fig)


def test_price_curve_of_regression_shows_paired_losses() -> None:
    out = record("regression")
    fig = draw("price_curve", out)
    np.testing.assert_array_equal(lines(fig, "priced")[0].get_ydata(), [p["excess"] for p in out["prices"]])
    np.testing.assert_array_equal(lines(fig, "healed")[0].get_ydata(), [c["excess"] for c in out["candidates"]])
    np.testing.assert_array_equal(lines(fig, "budget")[0].get_ydata(), [0, 0])


def test_every_price_is_named_once_and_labels_do_not_cover_each_other() -> None:
    fig = drawn("price_curve")
    for price in record()["prices"]:
        seen = [text for ax in fig.axes for text in ax.texts if text.get_text() == f"λ = {price['price']:g}"]
        assert len(seen) == 1
    for ax in fig.axes:
        boxes = [text.get_window_extent() for text in ax.texts]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_profile_shows_the_record() -> None:
    out = record()
    fig = drawn("profile")
    top, bottom = fig.axes[:4], fig.axes[4:8]
    for ax, key in zip(top, ("stage", "metric", "distance")):
        found = {line.get_gid(): line for line in ax.lines}
        for part in ("train", "test", "cropped_test"):
            np.testing.assert_array_equal(found[part].get_ydata(), out["profile"][part][key])
    assert [ax.get_yscale() for ax in fig.axes] == ["linear"] * 4 + ["log"] * 4
    assert [bar.get_height() for bar in top[3].patches] == out["profile"]["control"]
    test = next(line for line in bottom[0].lines if line.get_gid() == "test")
    np.testing.assert_allclose(
        test.get_ydata(), np.array(out["profile"]["test"]["stage"]) - out["profile"]["test"]["least"]
    )
    error = next(line for line in bottom[1].lines if line.get_gid() == "test").get_ydata()
    right = np.array(out["profile"]["test"]["metric"])
    np.testing.assert_allclose(np.array(error)[right < 1], (1 - right)[right < 1])


def test_profile_marks_cut_and_entry() -> None:
    fig = drawn("profile")
    assert [line.get_xdata()[0] for line in lines(fig, "cut")] == [3, 3, 3, 2.5] * 2  # steps lie between states
    assert {line.get_xdata()[0] for line in lines(fig, "entry_accuracy")} == {4}
    assert {line.get_xdata()[0] for line in lines(fig, "entry_distance")} == {5}
    for told in ("cut, k = 3", "steps 0 to 2 kept", "entry, k = 4", "entry, k = 5", "state distance"):
        assert told in words(fig)
    apart = record()
    apart["depth"]["steps"] = [0, 3, 5]
    fig = draw("profile", apart)
    assert [line.get_xdata()[0] for line in lines(fig, "cut")] == [3, 3, 3] * 2  # no line parts these steps
    assert "kept: 0, 3, 5" in words(fig)
    whole = draw("profile", bare())
    assert not lines(whole, "cut")
    assert "cut" not in words(whole)
    assert "movement of the state" in words(whole)


def test_zeros_on_a_logarithmic_axis_stand_on_a_floor_that_says_so() -> None:
    ax: Axes = Figure().subplots()
    shown = log_axis(ax, [np.array([1.0, 1e-3, 0.0]), np.array([0.0, np.nan])], "asleep")
    assert shown[0][:2].tolist() == [1.0, 1e-3]
    floor = shown[0][2]
    assert 0 < ax.get_ylim()[0] < floor < 1e-3
    assert shown[1][0] == floor
    assert math.isnan(shown[1][1])
    assert [text.get_text() for text in ax.texts] == ["on this line: asleep"]
    rounded: Axes = Figure().subplots()
    log_axis(rounded, [np.array([1.0, -1e-9])])
    assert "by rounding" in rounded.texts[0].get_text()
    silent: Axes = Figure().subplots()
    assert np.isfinite(log_axis(silent, [np.zeros(3)])[0]).all()


def test_comparison_shows_the_table() -> None:
    out = record()
    fig = drawn("comparison")
    by_title = {ax.get_title(loc="left"): ax for ax in fig.axes}
    for title, key in (("layers", "layers"), ("parameters", "parameters"), ("FLOPs", "flops")):
        assert [bar.get_width() for bar in by_title[title].patches] == [model[key] for model in out["models"]]
        assert [text.get_text() for text in by_title[title].texts] == [f"{model[key]:,}" for model in out["models"]]
    for batch in ("1", "256"):
        ax = by_title[f"latency in ms, batch of {batch}: p50 / p95"]
        times = [model["latency_ms"][batch] for model in out["models"]]
        assert [bar.get_width() for bar in ax.patches] == [t["p50"] for t in times]
        ends = [line.get_xdata()[1] for line in ax.lines if line.get_gid() == f"p95 {batch}"]
        assert ends == [t["p95"] for t in times]
    for model in out["models"]:
        at = lines(fig, f"metric {model['name']}")[0].get_xdata()
        np.testing.assert_allclose(at, 100 * model["metric"]["value"])


def test_trajectories_show_the_record() -> None:
    out = record()
    fig = drawn("trajectories")
    titles = [ax.get_title(loc="left") for ax in fig.axes]
    for k in out["plane"]["depths"]:
        assert (f"k = {k}, the cut" if k == 3 else f"k = {k}") in titles
    for label, sign in ((0, -1), (1, 1)):
        line = lines(fig, f"set {label}")[0]
        assert line.get_xy1() == (0, sign * out["plane"]["gap"])
        assert line.get_slope() == 1
    cut = np.array([path[3] for path in out["plane"]["trajectories"]])
    np.testing.assert_array_equal(np.transpose(lines(fig, "cut")[0].get_data()), cut)
    image = next(ax for ax in fig.axes if ax.get_title(loc="left") == "k = 0").images[0]
    assert image.origin == "lower"
    assert image.get_extent() == [-1.1, 1.1, -1.1, 1.1]
    first = np.asarray(image.get_array())[0, 0]  # lowest left: class 0 or 1, by its hue
    assert (first[2] > first[0]) == (out["plane"]["regions"][0][0] == 0)
    out["plane"]["coordinates"] = False
    assert not lines(draw("trajectories", out), "set 0")
    out["plane"].update(coordinates=True, gap=None)  # another stage cost than soft cross-entropy
    assert not lines(draw("trajectories", out), "set 0")
    out["plane"]["trajectories"] = []  # states that are no logits are not drawn
    assert len(draw("trajectories", out).axes) == 6 - 1


def test_minimisers_lie_where_soft_cross_entropy_is_least() -> None:
    out = record()
    fig = drawn("minimisers")
    gap, eps = out["minimisers"]["gap"], out["minimisers"]["eps"]
    entropy = -(1 - eps) * math.log(1 - eps) - eps * math.log(eps)
    for label, sign in ((0, -1), (1, 1)):
        at, least = (float(x[0]) for x in lines(fig, f"minimum {label}")[0].get_data())
        assert (at, least) == (sign * gap, pytest.approx(entropy))
        m, soft = lines(fig, f"soft {label}")[0].get_data()
        assert m[np.argmin(soft)] == pytest.approx(at, abs=0.05)
        assert min(soft) == pytest.approx(entropy, abs=1e-4)
        plain = np.diff(lines(fig, f"plain {label}")[0].get_ydata())
        assert (sign * plain < 0).all()  # falls for ever
        assert len(lines(fig, f"set {label}")) == 2
    shown = np.concatenate(
        [np.transpose(line.get_data()) for gid in ("class 0", "class 1") for line in lines(fig, gid)]
    )
    kept = np.array(out["minimisers"]["logits"] + out["minimisers"]["depth_logits"])
    np.testing.assert_array_equal(np.sort(shown, axis=0), np.sort(kept, axis=0))


def test_names_are_never_formulas() -> None:
    out = record()
    out["name"], out["data"]["classes"] = "costs $5 and $6", ["$x_{", "a\nvery long name, longer than any axis likes"]
    fig = draw("minimisers", out)
    fig.draw_without_rendering()
    assert all(name in words(fig) for name in (r"costs \$5 and \$6", r"\$x_{"))


def test_values_of_a_report_read_back_from_json() -> None:
    np.testing.assert_array_equal(values([1, None, "inf", "nan"]), [1, np.nan, np.inf, np.nan])
    assert len(values(None)) == 0
    out = record()
    out["profile"]["test"]["stage"][3] = "nan"
    out["prices"][-1].update(loss="nan", excess="nan")
    for name in ("profile", "price_curve"):
        draw(name, out)
