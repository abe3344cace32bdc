"""One virtual environment for each peer, in benchmarks/.envs, made when it is first needed.

A peer's requirements name every package that it needs, with its version, and are installed without looking any
further: some peers ask for much more than they import. torch comes first, so that nothing replaces the build that pip
was told to find (an index of CPU builds: PIP_EXTRA_INDEX_URL). node_oc and the floor run where the benchmark runs.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE / ".envs"
REQUIREMENTS = HERE / "requirements"
HOME = ("node_oc", "floor")
"""Peers without an environment of their own."""
IMPORTS = {"torchdiffeq": ("torchdiffeq",), "torchdyn": ("torchdyn",), "torchode": ("torchode",),
           "jax": ("jax", "diffrax")}  # fmt: skip
"""What a peer imports."""


def interpreter(peer: str, here: bool = False, say: Callable[[str], None] = print) -> Path:
    """The Python that runs a peer; its environment is made, or made again where the requirements have changed.

    Args:
        peer: one of :data:`IMPORTS` or :data:`HOME`.
        here: take the running interpreter for a peer that it can import.
        say: told what is being installed, and how large it is.

    Raises:
        OSError: the environment could not be made.
    """
    if peer in HOME or (here and all(find_spec(name) for name in IMPORTS[peer])):
        return Path(sys.executable)
    folder, files = FOLDER / peer, files_of(peer)
    python, stamp = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python", folder / "installed"
    wanted = digest(files)
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    start = time.perf_counter()
    say(f"installing {peer} into {folder.relative_to(HERE.parent)} ..")
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    for file in files:
        # torch's own dependencies differ from build to build; all others are listed.
        options = ["-c", HERE.parent / "constraints.txt"] if file.stem == "torch" else ["--no-deps"]
        done = subprocess.run([python, "-m", "pip", "install", "--quiet", *options, "-r", file], check=False,
                              capture_output=True, text=True)  # fmt: skip
        if done.returncode:
            raise OSError(f"pip could not install {file.name} for {peer}: {done.stderr.strip()[-600:]}")
    stamp.write_text(wanted)
    say(f"installed {peer}: {megabytes(folder):.0f} MB, {time.perf_counter() - start:.0f} s")
    return python


def files_of(peer: str) -> list[Path]:
    """Requirement files in the order in which they are installed."""
    return [REQUIREMENTS / f"{name}.txt" for name in (("torch", peer) if peer != "jax" else (peer,))]


def digest(files: list[Path]) -> str:
    """Changes when a requirement or the interpreter does."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in files) + sys.version.encode()).hexdigest()


def megabytes(folder: Path) -> float:
    """Size of all files in a folder."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20
