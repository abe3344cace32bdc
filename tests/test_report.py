"""Table, report.json and report.html: one record, the same numbers everywhere, and one page that needs nothing else."""

from __future__ import annotations

import copy
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from records import record
from rich.console import Console

from node_oc.errors import StoreError
from node_oc.report import answers, certified, metric, neighbour, number, ranges, rows, table, write_report

VOID = {"meta", "img", "br", "hr", "link", "input"}
PNG = b"\x89PNG made up"


class Page(HTMLParser):
    """Checks that tags nest, and keeps what a test asks for."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.cells: dict[str, list[tuple[str, Any]]] = {}
        self.text = ""
        self.table = ""
        self.feed(html)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        self.tags.append(tag)
        self.attributes += [(tag, key, value) for key, value in found.items()]
        if tag == "table":
            self.table = found["id"]
        if tag == "td":
            self.cells.setdefault(self.table, []).append(("", json.loads(found.get("data-values", "null"))))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data
        if "td" in self.open:
            text, values = self.cells[self.table][-1]
            self.cells[self.table][-1] = (text + data, values)


def page(folder: Path, content: dict[str, Any], names: tuple[str, ...] = ("profile", "minimisers")) -> Page:
    figures = {name: folder / f"{name}.png" for name in names}
    for path in figures.values():
        path.write_bytes(PNG)
    paths = write_report(content, folder, figures)
    assert paths == {"json": folder / "report.json", "html": folder / "report.html"}
    return Page(paths["html"].read_text(encoding="utf-8"))


def squeezed(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_page_is_well_formed_and_stands_alone(tmp_path: Path, task: str) -> None:
    found = page(tmp_path, record(task))
    assert "script" not in found.tags
    assert "link" not in found.tags
    sources = [value for _, key, value in found.attributes if key in ("src", "href", "srcset", "action", "data")]
    assert len(sources) == 2
    assert all(value.startswith("data:image/png;base64,") for value in sources)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(", html)
    assert ("meta", "name", "viewport") in found.attributes
    assert "prefers-color-scheme: dark" in html
    assert all(("img", "alt") in {(tag, key) for tag, key, _ in found.attributes} for _ in sources)


def test_json_is_the_record(tmp_path: Path) -> None:
    page(tmp_path, record())
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == record()


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_page_and_terminal_show_every_number_of_the_table_as_the_json_has_it(tmp_path: Path, task: str) -> None:
    cells = page(tmp_path, record(task)).cells["networks"]
    saved = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    expected = []
    for model in saved["models"]:
        expected += [[model["name"]], [model["layers"]], [model["parameters"]], [model["flops"]]]
        expected += [[model["latency_ms"][batch][q] for q in ("p50", "p95")] for batch in ("1", "256")]
        expected.append([model["metric"][key] for key in ("value", "low", "high")])
    assert [values for _, values in cells] == expected
    percent = 100 if task == "classification" else 1
    for text, values in cells:
        if isinstance(values[0], str):
            continue
        scale = percent if "(" in text else 1
        shown = [float(word) for word in re.findall(r"[-\d.]+", text.replace(",", "").replace("−", "-"))]
        assert shown == pytest.approx([scale * value for value in values], rel=5e-3)
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table(record(task)))
    terminal = console.export_text()
    assert max(map(len, terminal.splitlines())) <= 80
    for row in rows(record(task)):
        for i in (1, 2, 3, 4):
            assert row[i].text in terminal
        assert all(part in terminal for part in row[6].text.split(" (")[0].split())
    assert "…" not in terminal


def test_page_tells_everything_that_was_asked(tmp_path: Path) -> None:
    out = {**record(), "effort": {"ours": 28.0, "sweep": 11}}
    out["verdict"] += " Not certified."
    text = squeezed(page(tmp_path, out).text)
    order = [out["verdict"], "parameters", "upper limit 0.00231", out["turnpike"]["sentence"], "by accuracy from k = 4",
             "The honest neighbour", "Pictures", "Prices of a layer", "Candidates", "Work", "20.13", "took 28 without",
             "about 11.", "Configuration", "problem.eps", "0.05", "Files", "cropped.onnx"]  # fmt: skip
    places = [text.index(part) for part in order if part != "0.05"]
    assert places == sorted(places)
    for price in out["prices"]:
        assert number(price["excess"]) in text
    for section, fields in out["config"].items():
        assert all(f"{section}.{key}" in text for key in fields)
    assert "0.17 % of the test samples" in text
    assert "largest difference 3.1e−07" in text


def test_user_text_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert('&\")</script>"
    out = record()
    out.update(name=evil, verdict=evil, files={evil: evil}, turnpike={"found": False, "sentence": evil})
    out["data"]["classes"] = [evil, "</td>{{ 7 * 7 }}"]
    out["config"]["data"].update(source=evil, drop=[evil], path=None)
    out["config"][evil] = {evil: evil}
    out["models"][2]["name"] = evil
    out["work"][0]["training"] = evil
    found = page(tmp_path, out, ("profile",))
    assert "script" not in found.tags
    assert found.text.count(evil) > 8
    assert "{{ 7 * 7 }}" in found.text
    assert [evil] in [values for _, values in found.cells["networks"]]
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    out["models"][2]["name"] = "[bold]x[/bold]"
    console.print(table(out))
    assert "[bold]x[/bold]" in console.export_text()


def test_optional_parts_may_be_missing(tmp_path: Path) -> None:
    out = record(classes=10)
    out.update(prices=[], candidates=[], parity={}, disagreement=None, work=[], files={})
    out["depth"].update(depth=20, selected=20, certified=None, entry_accuracy=None, entry_distance=None)
    out["models"] = out["models"][:1]
    out["models"][0].update(flops=None, latency_ms={"1": {"p50": None, "p95": None}})
    out["models"][0]["metric"].update(value="nan", low=None, high=None)
    found = page(tmp_path, out, ())
    text = squeezed(found.text)
    for part in ("all 20 layers kept", "Entry none found.", "No price was tried.", "No cropped network was tried."):
        assert part in text
    assert "Pictures" not in text
    assert [cell for cell, _ in found.cells["networks"]] == ["full", "20", "5,600", "–", "– / –", "nan"]


def test_a_missing_picture_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="profile"):
        write_report(record(), tmp_path, {"profile": tmp_path / "profile.png"})
    assert not (tmp_path / "report.html").exists()


def test_certificate_says_what_is_missing() -> None:
    out = record()
    assert certified(out).startswith("3 of 20 layers certified: upper limit 0.00231.")
    deep = copy.deepcopy(out["candidates"][1])
    deep["depth"] = 5
    out["candidates"][1]["certificate"].update(limit=0.0061, needed=7311, holds=False)
    out["candidates"].append(deep)
    out["depth"]["certified"] = 5
    told = certified(out)
    assert told.startswith("5 of 20 layers certified: upper limit 0.00231; 3 layers not certified: upper limit 0.0061")
    assert "about 7,311 samples needed" in told
    assert told.endswith("The budget is 0.005, the confidence 95 %, on 5,000 samples.")
    out["depth"]["certified"] = None
    out["candidates"] = out["candidates"][:2]
    assert certified(out).startswith("3 layers not certified: upper limit 0.0061, about 7,311 samples needed.")
    out["candidates"][1]["certificate"]["needed"] = None
    assert "no number of samples would do" in certified(out)
    out["candidates"][1]["certificate"] = None
    assert certified(out) == "not certified: no cropped network was within the budget."
    out["budget"]["certifying"] = 0
    assert "too few" in certified(out)


@pytest.mark.parametrize(
    ("difference", "word"),
    [(-0.0051, "did not pay"), (-0.0049, "no more than"), (0.0049, "no more than"), (0.0051, "cropped one is better")],
)
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_honest_neighbour(task: str, difference: float, word: str) -> None:
    out = record(task)
    out["neighbour"] = difference
    assert word in neighbour(out)
    out["neighbour"] = "nan"  # as report.json has it
    assert "cannot be compared" in neighbour(out)
    del out["models"][2]
    assert "is open" in neighbour(out)


def test_answers_without_accuracy() -> None:
    told = dict(answers(record("regression")))
    assert "Disagreement" not in told
    assert told["Entry"] == "by distance to the minimisers from k = 5 on."


def test_numbers() -> None:
    assert [number(x) for x in (None, 12345, 0.00012345, -2.0, 1e-7, "inf", math.inf, True)] == [
        "–", "12,345", "0.0001234", "−2", "1e−07", "inf", "inf", "True"]  # fmt: skip
    assert metric({"name": "accuracy", "value": 0.98766, "low": 0.9, "high": 1.0}) == "98.77 % (90.00 to 100.00)"
    assert metric({"name": "loss", "value": 0.0131, "low": None, "high": None}) == "0.0131"
    assert ranges([0, 1, 2, 5, 7, 8]) == "0 to 2, 5, 7 to 8"
    assert ranges([]) == "none"
