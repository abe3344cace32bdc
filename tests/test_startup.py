"""A start is quick because little is loaded: which modules a fresh process has, not how long it took."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from node_oc.cli import app

LOADED = "import json, sys; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
HEAVY = {"torch", "numpy", "scipy", "sklearn", "matplotlib", "pandas", "onnx", "onnxscript", "onnxruntime",
         "lightning_fabric", "safetensors", "pydantic", "jinja2"}  # fmt: skip
COMMANDS = [str(command.callback.__name__) for command in app.registered_commands if command.callback]


def loaded(code: str) -> tuple[str, set[str]]:
    """What a fresh process prints, and the packages outside the standard library that it has in the end."""
    done = subprocess.run([sys.executable, "-c", f"{code}\n{LOADED}"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    printed, _, names = done.stdout.rstrip().rpartition("\n")
    return printed, set(json.loads(names)) - sys.stdlib_module_names


def asked(*arguments: str) -> str:
    """A call of the command line that has to end with exit code 0."""
    return f"""
import sys
from node_oc.cli import main
sys.argv = {["node-oc", *arguments]!r}
try:
    main()
except SystemExit as end:
    if end.code:
        raise
"""


def test_the_import_loads_nothing_else() -> None:
    assert loaded("import node_oc; node_oc.__version__; dir(node_oc)")[1] <= loaded("")[1] | {"node_oc"}


def test_a_name_loads_what_it_needs() -> None:
    """The first name costs what it stands for: an exception is not torch, a configuration is not a picture."""
    assert not loaded("import node_oc; node_oc.ConfigError")[1] & (HEAVY | {"typer", "rich"})
    assert loaded("import node_oc; node_oc.Config")[1] & HEAVY == {"pydantic"}


def test_help_loads_no_torch() -> None:
    printed, names = loaded(asked("--help"))
    assert all(command in printed for command in COMMANDS)
    assert names & HEAVY <= {"pydantic"}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_loads_no_torch(command: str) -> None:
    printed, names = loaded(asked(command, "--help"))
    assert f"node-oc {command}" in printed
    assert names & HEAVY <= {"pydantic"}  # newer versions of typer read options with it


def test_a_configuration_is_shown_without_torch() -> None:
    printed, names = loaded(asked("config", "digits"))
    assert "[search]" in printed
    assert names & HEAVY == {"pydantic"}
