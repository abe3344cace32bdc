"""The documentation runs, says what there is, and nothing public is undocumented."""

from __future__ import annotations

import inspect
import json
import pkgutil
import re
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pydantic
import pytest
import typer

import node_oc
from node_oc.cli import app
from node_oc.config import KEYS
from node_oc.discretization import TABLEAUS
from node_oc.errors import NodeOCError

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<body>.*?)^(?P=indent)```$", re.M | re.S)
SHORTER = {"epochs=60": "epochs=1, min_updates=0"}  # what a test changes in a block that a reader runs in full
TAKES_ARGUMENTS = 3  # from so many parameters on, each is explained


def title(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    found = FENCE.finditer(page.read_text())
    return [match["body"] for match in found if match["language"] == language and not match["indent"]]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=title)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}  # shared by the blocks of a page, as a reader would do
    for body in blocks(page, "python"):
        for long, short in SHORTER.items():
            body = body.replace(long, short)
        exec(compile(body, title(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_every_fence_says_what_it_is(page: Path) -> None:
    languages = {match["language"] for match in FENCE.finditer(page.read_text())}
    assert languages <= {"python", "bash", "text", "toml"}
    assert all(not match["indent"] for match in FENCE.finditer(page.read_text()) if match["language"] == "python")


def test_the_readme_does_a_search_in_fifteen_lines() -> None:
    body = blocks(ROOT / "README.md", "python")[0]
    assert "DepthSearch" in body
    assert len([line for line in body.splitlines() if line.strip()]) <= 15


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", (ROOT / name).read_text())
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert [page for page in PAGES[1:] if str(page.relative_to(ROOT / "docs")) not in navigation] == []


# -- the configuration and the command line ------------------------------------------------------------------


def allowed(key: str) -> str:
    """Values of a key: a list of words, or bounds."""
    section, name = key.split(".")
    schema = node_oc.Config.model_fields[section].annotation.model_json_schema()["properties"][name]  # type: ignore[union-attr]
    told = []
    for kind in schema.get("anyOf", [schema]):
        signs = (("≥", "minimum"), (">", "exclusiveMinimum"), ("≤", "maximum"), ("<", "exclusiveMaximum"))
        bounds = ", ".join(f"{sign} {kind[limit]:.15g}" for sign, limit in signs if limit in kind)
        words = kind.get("enum", [kind["const"]] if "const" in kind else [])
        of = {"string": "text", "integer": "integers ≥ 1"}[kind.get("items", {}).get("type", "string")]
        nature = {"string": "text", "array": f"list of {of}", "boolean": "true, false", "integer": "integer",
                  "object": "table"}  # fmt: skip
        told.append(", ".join(words) or f"{nature.get(kind['type'], kind['type'])} {bounds}".strip())
    return " or ".join(one for one in told if one != "null")


def row(key: str) -> str:
    default = KEYS[key].default
    shown = "–" if default is None else f"`{json.dumps(default)}`"
    return f"| `{key}` | {shown} | {allowed(key)} | {KEYS[key].description} |"


def test_every_configuration_key_is_documented() -> None:
    lines = (ROOT / "docs/configuration.md").read_text().splitlines()
    missing = [row(key) for key in KEYS if row(key) not in lines]
    assert not missing, "put these rows into docs/configuration.md:\n" + "\n".join(missing)
    known = {line.split("`")[1] for line in lines if re.match(r"\| `\w+\.", line)}
    assert known == set(KEYS), "docs/configuration.md has rows of keys that do not exist"


def test_every_command_and_option_is_documented() -> None:
    page = (ROOT / "docs/cli.md").read_text()
    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", page, re.M | re.S)
        assert section, f"docs/cli.md has no section {name}"
        assert f"node-oc {name}" in section[1], f"docs/cli.md has no example of {name}"
        options = [option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)]
        missing = [o for o in options if o.startswith("--") and o != "--help" and f"`{o}" not in section[1]]
        assert not missing, f"docs/cli.md, {name}, lacks {missing}"


# -- docstrings ----------------------------------------------------------------------------------------------


def public() -> Iterator[tuple[str, Any]]:
    """Every module, function, class and method whose name has no underscore in front, where it is defined."""
    for info in pkgutil.walk_packages(node_oc.__path__, "node_oc."):
        if info.name.rpartition(".")[2].startswith("_"):  # __main__ runs when it is imported
            continue
        module = import_module(info.name)
        yield info.name, module
        for name, item in vars(module).items():
            mine = getattr(item, "__module__", None) == info.name
            if name.startswith("_") or not mine or not (inspect.isclass(item) or inspect.isfunction(item)):
                continue
            yield f"{info.name}.{name}", item
            if inspect.isclass(item):
                yield from methods(f"{info.name}.{name}", item)


def methods(place: str, kind: type) -> Iterator[tuple[str, Any]]:
    for name, item in vars(kind).items():
        # Functions, properties, cached properties, class methods; data descriptors of tuples are fields.
        if not name.startswith("_") and (callable(item) or hasattr(item, "func") or isinstance(item, WRAPPED)):
            yield f"{place}.{name}", getattr(kind, name)


WRAPPED = (property, classmethod, staticmethod)


def told(item: Any) -> str:
    """The docstring, of a base class where there is none, but not one that a decorator made up."""
    doc = inspect.getdoc(item) or ""
    return "" if inspect.isclass(item) and doc.startswith(f"{item.__name__}(") else doc


@pytest.mark.parametrize(("place", "item"), list(public()), ids=lambda value: value if isinstance(value, str) else "")
def test_every_public_name_is_documented(place: str, item: Any) -> None:
    assert told(item), f"{place} has no docstring: say what it is, with shapes, units, errors and source"


def parameters(item: Any) -> list[str]:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [name for name, p in inspect.signature(item).parameters.items() if name != "self" and p.kind not in kinds]


def errors_of(item: Any) -> bool:
    """Whether the item itself, or what makes an instance of it, raises."""
    makers: list[Any] = [item]
    if inspect.isclass(item):
        makers = [vars(item)[name] for name in ("__init__", "__post_init__") if name in vars(item)]
    written = [m for m in makers if hasattr(m, "__code__") and m.__code__.co_filename != "<string>"]  # no dataclass
    bodies = [inspect.getsource(maker) for maker in written]
    return any(re.search(r"^\s+raise \w+Error\(", body, re.M) for body in bodies)


OFFERED: list[tuple[str, Callable[..., Any]]] = [
    (name, getattr(node_oc, name)) for name in node_oc.__all__ if callable(getattr(node_oc, name))
]


@pytest.mark.parametrize(("name", "item"), OFFERED, ids=lambda value: value if isinstance(value, str) else "")
def test_arguments_and_errors_of_what_the_package_offers(name: str, item: Any) -> None:
    doc = told(item)
    if inspect.isclass(item) and issubclass(item, NodeOCError) and item is not NodeOCError:
        return  # the base explains the arguments
    if inspect.isclass(item) and issubclass(item, Warning):
        return  # it takes a sentence
    if inspect.isclass(item) and issubclass(item, pydantic.BaseModel):
        fields = item.model_fields
        assert all(field.description or f"{key}:" in doc for key, field in fields.items()), f"{name} has a bare field"
        return
    if errors_of(item):
        assert "Raises" in doc, f"{name} raises: say when"
    if len(parameters(item)) >= TAKES_ARGUMENTS:
        assert "Args:" in doc or "Attributes:" in doc, f"{name} takes {parameters(item)}: explain them"
        unnamed = [p for p in parameters(item) if not re.search(rf"\b{p}\b", doc)]
        assert not unnamed, f"{name} does not explain {unnamed}"


def test_the_table_of_errors_names_every_kind() -> None:
    page = (ROOT / "docs/errors.md").read_text()
    kinds = [kind.__name__ for kind in NodeOCError.__subclasses__()]
    assert kinds
    assert [kind for kind in kinds if kind not in page] == []


def test_every_table_is_documented() -> None:
    page = (ROOT / "docs/floors/discretization.md").read_text()
    assert [name for name in TABLEAUS if f"`{name}`" not in page] == []


# -- the environment of make ---------------------------------------------------------------------------------


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][^+\s]*", line) for line in lines)  # no +cpu: any build will do
    pinned = {line.partition("==")[0] for line in lines}
    assert {re.split(r"[\[<>=]", one)[0].lower() for one in wanted} <= pinned
    assert "torch==2.13.0" in lines
