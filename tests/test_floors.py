"""The house has floors: a unit imports only from floors below its own, a folder has no circles (docs: design).

A unit is a top-level file or folder of node_oc. Imports count wherever they stand: in functions and under
TYPE_CHECKING too. The version number belongs to everyone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "node_oc"
FLOORS = [
    "errors seeds",
    "config store",
    "data system",
    "discretization",
    "trajectory",
    "problem",
    "training diagnosis",
    "policies",
    "cropping measuring inference",
    "packing",
    "search exporting plots",
    "record report",
    "pipeline",
    "cli estimator",
]
FLOOR = {unit: floor for floor, units in enumerate(FLOORS) for unit in units.split()}


def modules(root: Path) -> dict[str, Path]:
    """Dotted name below the root -> file; a folder goes by its own name, the root's __init__ by "__init__"."""
    names = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return names


def imports(root: Path, name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules below the root that a file imports; "__init__" for public names of the package itself."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]

    def module(dotted: str) -> str | None:
        head, _, rest = dotted.partition(".")
        return (rest or "__init__") if head == root.name else None

    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (found for alias in node.names if (found := module(alias.name)))
        elif isinstance(node, ast.ImportFrom):
            above = [root.name, *package][: len(package) + 2 - node.level] if node.level else []
            base = module(".".join(above + ([node.module] if node.module else [])))
            for alias in (alias for alias in node.names if base and alias.name != "__version__"):
                inner = alias.name if base == "__init__" else f"{base}.{alias.name}"
                yield inner if inner in known else base


def violations(root: Path, floor: dict[str, int]) -> list[str]:
    """What is wrong with the imports of a package, one sentence each."""
    known = modules(root)
    wrong = [f"{unit} has no floor" for unit in sorted({name.split(".")[0] for name in known}) if
             unit not in floor and unit != "__init__"]  # fmt: skip
    inside: dict[str, set[str]] = {}
    for name, path in known.items():
        unit = name.split(".")[0]
        for target in imports(root, name, path, known):
            other = target.split(".")[0]
            if other == unit:
                inside.setdefault(name, set()).add(target)
            elif name != "__init__" and floor.get(other, len(FLOORS)) >= floor.get(unit, -1):
                wrong.append(f"{name} imports {target}")
    try:
        TopologicalSorter(inside).prepare()
    except CycleError as error:
        wrong.append("circle: " + " <- ".join(error.args[1]))
    return wrong


def test_every_import_goes_down() -> None:
    assert violations(ROOT, FLOOR) == []


def test_every_floor_is_inhabited() -> None:
    assert {name.split(".")[0] for name in modules(ROOT)} - {"__init__"} == set(FLOOR)


@pytest.mark.parametrize(
    ("file", "text", "wrong"),
    [
        ("a.py", "from pkg.b import x", ["a imports b"]),
        ("a.py", "import pkg.b.c as d", ["a imports b.c"]),
        ("a.py", "from pkg import b", ["a imports b"]),
        ("a.py", "from . import b", ["a imports b"]),
        ("a.py", "from .b import x", ["a imports b"]),
        ("a.py", "from pkg import Thing", ["a imports __init__"]),
        ("a.py", "import pkg", ["a imports __init__"]),
        ("a.py", "def f():\n    from pkg.b import x", ["a imports b"]),
        ("a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pkg.b import x", ["a imports b"]),
        ("z.py", "from pkg.a import x", ["z imports a"]),
        ("b/c.py", "from pkg.z import x", []),
        ("b/c.py", "from ..z import x\nfrom ..a import y", []),
        ("b/c.py", "from .d import x", []),
        ("b/e.py", "from pkg.b.c import x", ["circle: b.c <- b.e <- b.c"]),
        ("b/e.py", "from . import c", ["circle: b.c <- b.e <- b.c"]),
        ("b/c.py", "from pkg.b import x\nfrom pkg.b.e import y", ["circle: b <- b.c <- b"]),
        ("y.py", "", ["y has no floor"]),
        ("y.py", "from pkg.a import x", ["y has no floor", "y imports a"]),
        ("__init__.py", "from pkg.b import x", []),
    ],
)
def test_the_rule_sees_what_breaks_it(tmp_path: Path, file: str, text: str, wrong: list[str]) -> None:
    root = tmp_path / "pkg"
    (root / "b").mkdir(parents=True)
    clean = {"__init__.py": "", "a.py": "import ast", "z.py": "", "b/__init__.py": "from pkg.b.c import x",
             "b/c.py": "from pkg.b.e import x", "b/d.py": "", "b/e.py": ""}  # fmt: skip
    for name, content in clean.items():
        (root / name).write_text(content)
    floor = {"a": 0, "z": 0, "b": 1}
    assert violations(root, floor) == []
    (root / file).write_text(text)
    found = violations(root, floor)
    assert len(found) == len(wrong)
    for sentence, expected in zip(found, wrong, strict=True):
        assert set(sentence.split()) == set(expected.split())  # a circle may start anywhere
