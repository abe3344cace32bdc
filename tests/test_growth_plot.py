"""The picture of a network that grew: every window where its record says, and the way to the answer."""

from __future__ import annotations

import json
import warnings
from functools import cache
from typing import Any

import matplotlib
import numpy as np
import pytest
from grown_records import KINDS, UPDATES, grown_record
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation, Text

from node_oc.plots.growth import ASIDE, growth
from node_oc.plots.style import CUT
from node_oc.plots.way import said_steps, way

WAYS = {
    "spirals": ["grow-0-start", "grow-1-deep", "grow-2-deep", "grow-3-shallow", "refit-4"],
    "three": ["grow-0-start", "grow-1-deep", "grow-2-deep", "grow-3-shallow", "cut-3", "refit-3"],
    "second": ["grow-0-start", "grow-1-deep", "grow-2-deep", "grow-3-deep", "refit-8"],
    "one layer": ["grow-0-start", "grow-1-shallow", "refit-1"],
    "no layer": ["grow-0-start", "grow-1-shallow", "cut-0", "refit-0"],
    "sixteen": ["grow-0-start", "grow-1-deep", "grow-2-deep", "grow-3-deep", "grow-4-deep", "grow-5-shallow", "cut-13",
                "refit-13"],
    "no room": ["grow-0-start", "grow-1-deep", "grow-2-deep", "refit-4"],
    "regression": ["grow-0-start", "grow-1-deep", "grow-2-shallow", "refit-2"],
    "at a price": ["grow-0", "grow-1", "grow-2", "grow-3", "cut-4", "refit-4"],
    "asleep": ["grow-0", "refit-0"],
    "in stages": ["grow-0-start", "grow-1-deep", "grow-2-deep", "grow-3-shallow", "cut-3", "refit-3"],
    "deepened": ["grow-1-shallow", "refit-3"],
}  # fmt: skip


@cache
def drawn(kind: str) -> Figure:
    """The picture of a kind of growth, laid out, without a warning, once for all tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig = growth(grown_record(kind))
        fig.draw_without_rendering()
    return fig


def line(fig: Figure, gid: str) -> Line2D:
    (found,) = [line for ax in fig.axes for line in ax.lines if line.get_gid() == gid]
    return found


def bar(fig: Figure, name: str) -> Rectangle:
    (found,) = [patch for patch in fig.axes[0].patches if patch.get_gid() == f"window {name}"]
    assert isinstance(found, Rectangle)
    return found


def words(fig: Figure) -> list[str]:
    return [text.get_text() for text in fig.findobj(Text) if text.get_visible()]


def in_bar(fig: Figure, name: str) -> str:
    """What is written in the middle of a window's bar."""
    box = bar(fig, name)
    at = (box.get_x() + box.get_width() / 2, box.get_y() + box.get_height() / 2)
    (found,) = [text for text in fig.axes[0].texts
                if isinstance(text, Annotation) and text.xycoords == "data" and np.allclose(text.xy, at)]  # fmt: skip
    return found.get_text()


def names(record: dict[str, Any]) -> list[str]:
    return [record["growth"]["windows"][i]["name"] for i in way(record)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_way_to_the_answer_is_green_and_the_rest_grey(kind: str) -> None:
    out, fig = grown_record(kind), drawn(kind)
    assert names(out) == WAYS[kind]
    for w in out["growth"]["windows"]:
        colour = CUT if w["name"] in WAYS[kind] else ASIDE
        assert to_hex(bar(fig, w["name"]).get_facecolor()) == colour.lower()
        assert line(fig, f"loss {w['name']}").get_color() == colour


def test_every_role_is_among_the_kinds() -> None:
    roles = {w["role"] for kind in KINDS for w in grown_record(kind)["growth"]["windows"]}
    assert roles == {"start", "shallow", "deep", "grown", "cut", "refit"}
    assert {stopped for _, stopped, _ in KINDS.values()} == {"enough", "no room", "price"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_window_is_a_bar_of_its_updates_in_the_row_of_its_layers(kind: str) -> None:
    out, fig = grown_record(kind), drawn(kind)
    windows = out["growth"]["windows"]
    assert len([patch for patch in fig.axes[0].patches if patch.get_gid()]) == len(windows)
    rows = [text.get_text() for text in fig.axes[0].get_yticklabels()]
    depths = [int(row.split()[0]) for row in rows]
    assert depths == sorted(set(depths))
    for w in windows:
        box = bar(fig, w["name"])
        assert (box.get_x(), box.get_width()) == pytest.approx((w["start"] / UPDATES, w["updates"] / UPDATES))
        assert depths[round(box.get_y() + box.get_height() / 2)] == len(w["steps"])
    assert rows == [f"{depth} layer{'' if depth == 1 else 's'}" for depth in depths]


@pytest.mark.parametrize("kind", KINDS)
def test_every_loss_stands_at_the_end_of_its_window(kind: str) -> None:
    out, fig = grown_record(kind), drawn(kind)
    lower = fig.axes[1]
    floor = [each.get_ydata()[0] for each in lower.lines if each.get_gid() == "floor"]
    assert lower.get_yscale() == "log"
    for w in out["growth"]["windows"]:
        x, y = (float(np.ravel(each)[0]) for each in line(fig, f"loss {w['name']}").get_data())
        assert x == pytest.approx((w["start"] + w["updates"]) / UPDATES)
        assert y == pytest.approx(w["loss"] or floor[0])
        high = lower.transAxes.inverted().transform(lower.transData.transform((x, y)))[1]
        assert 0.09 < high < 0.91  # there is room for words
    assert bool(floor) == (kind == "no layer")
    ticks = {text.get_text(): float(y) for text, y in zip(lower.get_yticklabels(), lower.get_yticks())}
    assert list(ticks.values()) == sorted(ticks.values())
    for said, y in ticks.items():  # nothing but 0 at the floor of zeros, and nothing under it
        share = 100 if out["data"]["task"] == "classification" else 1
        assert y == (pytest.approx(float(said.split()[0]) / share) if float(said.split()[0]) else floor[0])
    assert not floor or min(ticks.values()) == floor[0]
    assert 3 <= len(ticks) <= 9


def test_the_budget_lies_above_the_deepest_network() -> None:
    for kind, reference, budget in (("spirals", 0.0044, 0.0044 + 0.005), ("at a price", 0.0118, 0.0118 + 0.005),
                                    ("regression", 0.211, 1.005 * 0.211)):  # fmt: skip
        for gid, height in (("reference", reference), ("budget", budget)):
            np.testing.assert_allclose(line(drawn(kind), gid).get_ydata(), height)
    assert "deepest network tried,\n8 layers: 0.44 %" in words(drawn("spirals"))
    assert "budget: 0.5 points\nabove the deepest" in words(drawn("spirals"))
    assert "network that grew,\n5 layers: 1.18 %" in words(drawn("at a price"))  # 6 were awake before
    assert "deepest network tried,\n4 layers: 0.211" in words(drawn("regression"))
    assert "budget: 0.5 %\nabove the deepest" in words(drawn("regression"))


def test_losses_are_joined_to_those_of_the_windows_that_they_continue() -> None:
    fig = drawn("three")
    pairs = {"grow-1-shallow": "grow-0-start", "grow-2-shallow": "grow-1-deep", "grow-3-deep": "grow-2-deep",
             "cut-3": "grow-3-shallow", "refit-3": "cut-3"}  # fmt: skip
    for later, earlier in pairs.items():
        ends = [line(fig, f"loss {name}").get_data() for name in (earlier, later)]
        np.testing.assert_array_equal(np.transpose(line(fig, f"way {later}").get_data()), np.reshape(ends, (2, 2)))
    assert not [each for each in fig.axes[1].lines if each.get_gid() == "way grow-0-start"]
    down = line(fig, "from grow-3-shallow to cut-3")  # from the foot of the one bar to the head of the other
    np.testing.assert_allclose(down.get_xdata(), 1200 / UPDATES)
    head = bar(fig, "cut-3").get_y() + bar(fig, "cut-3").get_height()
    np.testing.assert_allclose(down.get_ydata(), [bar(fig, "grow-3-shallow").get_y(), head])


def test_bars_say_what_became_of_their_windows() -> None:
    said = {"grow-0-start": "start", "grow-1-shallow": "too few", "grow-1-deep": "goes on",
            "grow-3-shallow": "enough", "grow-3-deep": "not needed", "cut-3": "too few",
            "refit-4": "trained on: the answer"}  # fmt: skip
    assert {name: in_bar(drawn("spirals"), name) for name in said} == said
    assert in_bar(drawn("no room"), "refit-3") == "trained on: over the budget"
    assert in_bar(drawn("sixteen"), "cut-14") == "enough"
    assert in_bar(drawn("at a price"), "grow-0") == "start"


def test_steps_that_wake_and_sleep_and_what_growth_did_are_told() -> None:
    told = {
        "spirals": ["spirals: how the network grew", "steps 0, 1", "wakes 2, 3", "wakes 4 to 7", "trial 3",
                    "fewer layers?", "trained on", "updates, in whole trainings", "went on into the answer",
                    "trained, and left aside", "4 layers: 0.5 %",
                    "error on the selecting half, 5,000 samples, at the end of each window",
                    "layers awake, room for 20; growth stopped: twice the layers gain no more than the budget"],
        "at a price": ["price λ = 0.03", "wakes 4 to 6", "sleeps: 1", "sleeps: 6",
                       "layers awake, room for 7; growth stopped: there is no room for more"],
        "asleep": ["sleeps: 0, 1", "layers awake, room for 2; growth stopped: no sleeping layer pays at the price"],
        "sixteen": ["wakes 8 to 15", "13, 14 layers"], "no layer": ["0 layers: 0.04 %", "on this line: no error"],
        "in stages": ["steps 5, 10", "wakes 1, 6, 7, 12"], "deepened": ["steps 0, 2, 4", "wakes 1, 3, 5"],
        "regression": ["loss on the selecting half, 5,000 samples, at the end of each window", "within its error"],
    }  # fmt: skip
    for kind, expected in told.items():
        assert not set(expected) - set(words(drawn(kind))), kind
    assert not [text for text in drawn("spirals").axes[1].texts if text.get_text() == "8 layers"]  # named at its line
    assert "within its error" not in words(drawn("spirals"))
    assert "trained, and left aside" not in words(drawn("asleep"))  # there nothing was


def test_steps_are_said_shortly() -> None:
    assert [said_steps(steps) for steps in ((5,), (1, 0), (6, 4, 5), (3, 8, 4, 12), range(0, 20, 2))] == [
        "5", "0, 1", "4 to 6", "3, 4, 8, 12", "10 steps"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_words_stay_in_their_bars_and_apart(kind: str) -> None:
    fig = drawn(kind)
    for ax in fig.axes:
        boxes = [(text.get_text(), text.get_window_extent()) for text in ax.texts]
        for i, (one, a) in enumerate(boxes):
            for other, b in boxes[:i]:
                assert not a.overlaps(b), f"{one!r} covers {other!r}"
    for w in grown_record(kind)["growth"]["windows"]:
        box = bar(fig, w["name"]).get_window_extent()
        (text,) = [text for text in fig.axes[0].texts if box.contains(*centre(text))]
        inner = text.get_window_extent()
        assert box.x0 <= inner.x0
        assert inner.x1 <= box.x1
    everything = fig.get_tightbbox(fig.canvas.get_renderer())  # in inches
    assert min(everything.min) >= 0
    assert (everything.max <= fig.get_size_inches()).all()
    assert all(fig.bbox.contains(*corner) for ax in fig.axes for text in ax.texts
               for corner in text.get_window_extent().get_points())  # fmt: skip


def centre(text: Text) -> tuple[float, float]:
    box = text.get_window_extent()
    return (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2


def test_words_are_made_smaller_for_short_windows() -> None:
    out = grown_record()
    out["growth"]["windows"][-1]["updates"] = 5 * UPDATES
    fig = growth(out)
    fig.draw_without_rendering()
    for w in out["growth"]["windows"]:
        box = bar(fig, w["name"]).get_window_extent()
        (text,) = [text for text in fig.axes[0].texts if box.contains(*centre(text))]
        assert text.get_window_extent().width < box.width + 2  # whole pixels


def test_without_healing_the_last_cut_that_was_enough_is_the_answer() -> None:
    out = grown_record("three")
    out["growth"]["windows"] = [w for w in out["growth"]["windows"] if w["role"] != "refit"]
    assert names(out) == WAYS["three"][:-1]
    assert in_bar(growth(out), "cut-3") == "the answer"


def test_where_nothing_is_certified_or_enough_the_deepest_network_is_the_answer() -> None:
    deepest = ["grow-0-start", "grow-1-deep", "grow-2-deep", "grow-3-deep"]
    out = grown_record()
    out["config"]["search"]["certify"] = True
    assert names(out) == WAYS["spirals"]
    out["depth"].update(certified=None, depth=8)
    assert names(out) == deepest
    fig = growth(out)
    assert in_bar(fig, "grow-3-deep") == "the answer"
    assert in_bar(fig, "refit-4") == "trained on: not certified"
    alone = grown_record("no room")  # the only candidate has the depth of the reference
    alone["config"]["search"]["certify"] = True
    alone["depth"]["certified"] = None
    assert names(alone) == WAYS["no room"][:-1]
    over = grown_record()
    over["growth"]["windows"] += [{**over["growth"]["windows"][-1], "name": "refit-8", "steps": list(range(8))}]
    for w in over["growth"]["windows"][-2:]:
        w.update(lost=0.006, enough=False)
    over["depth"]["depth"] = 8
    assert names(over) == deepest
    assert in_bar(growth(over), "refit-4") == "trained on: over the budget"


def test_a_report_read_back_from_json_and_a_name_that_is_no_formula() -> None:
    out = json.loads(json.dumps(grown_record()))
    out["name"] = "costs $5 and $6"
    for i in (1, -1):
        out["growth"]["windows"][i]["loss"] = "nan"  # as a report writes a loss that is not a number
    before = dict(matplotlib.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig = growth(out)
        fig.draw_without_rendering()
    assert dict(matplotlib.rcParams) == before
    assert r"costs \$5 and \$6: how the network grew" in words(fig)
    assert np.isnan(line(fig, "loss refit-4").get_ydata()).all()


def test_a_refit_that_was_worse_is_left_aside() -> None:
    out = grown_record()
    refit = next(w for w in out["growth"]["windows"] if w["role"] == "refit")
    on = way(out)
    assert out["growth"]["windows"][on[-1]] is refit
    out["growth"]["refitted"], refit["loss"] = False, 0.5
    assert way(out) == on[:-1]
    assert "trained on: worse" in [words.get_text() for words in growth(out).findobj(Text)]
