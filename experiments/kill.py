"""Kill a run with signal 9 at random moments, resume it each time: the final weights must be equal to the bit.

    python -m experiments.kill [--kills 10] [--seed 0]

An uninterrupted run is made first; then runs that are killed once each, at moments drawn uniformly from the
uninterrupted run's duration, and resumed to the end. Half of them grow, half train a deep network and cut it.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETTINGS = (
    "system.depth=8", "data.turns=3", "data.val=2000", "data.test=1000", "training.min_updates=0",
    "training.checkpoint_seconds=0.2", "export.onnx=false", "export.torch_export=false",
)  # fmt: skip


def command(verb: str, *arguments: str) -> list[str]:
    """A call of the command line in this environment."""
    return [sys.executable, "-c", "from node_oc.cli import main; main()", verb, *arguments]


WAYS = {"grow": 3000, "cut": 400}
"""Way of searching and its epochs, so that both take some seconds."""


def run(folder: Path, way: str) -> list[str]:
    """A small run of the spirals; whatever a killed one left in the folder is replaced."""
    settings = (*SETTINGS, f"training.epochs={WAYS[way]}")
    sets = [word for setting in settings for word in ("--set", setting)]
    return command("run", "spirals", "--search", way, "--out", str(folder), "--overwrite", *sets)


def fingerprint(folder: Path) -> dict[str, str]:
    """Hash of every network that the run left."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.safetensors"))}


def compare(root: Path, way: str, kills: int, draw: random.Random) -> int:
    """How many of these killed and resumed runs differ from an uninterrupted one."""
    root.mkdir()
    clock = time.monotonic()
    if subprocess.run(run(root / "whole", way), stdout=subprocess.DEVNULL, check=False).returncode != 0:
        sys.exit("the uninterrupted run failed")
    seconds = time.monotonic() - clock
    want, wrong = fingerprint(root / "whole"), 0
    print(f"{way}, uninterrupted: {seconds:.1f} s, {len(want)} networks")
    for kill in range(kills):
        folder = root / f"killed-{kill}"
        process = subprocess.Popen(run(folder, way), stdout=subprocess.DEVNULL)
        moment = draw.uniform(0, seconds)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        trainings = len(list(folder.glob("trainings/*/history.jsonl")))
        begun = (folder / "config.toml").exists()  # killed before that there is nothing to resume
        again = command("resume", str(folder)) if begun else run(folder, way)
        resumed = subprocess.run(again, stdout=subprocess.DEVNULL, check=False)
        same = resumed.returncode == 0 and fingerprint(folder) == want
        wrong += not same
        told = "equal to the bit" if same else "DIFFERENT"
        print(f"killed after {moment:5.1f} s, in training {trainings}: {told}", flush=True)
    return wrong


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        for way, kills in zip(WAYS, (arguments.kills - arguments.kills // 2, arguments.kills // 2), strict=True):
            wrong += compare(Path(temporary) / way, way, kills, draw)
    if wrong:
        sys.exit(f"{wrong} of {arguments.kills} resumed runs differ")
    print(f"{arguments.kills} of {arguments.kills} resumed runs are equal to the bit")


if __name__ == "__main__":
    main()
