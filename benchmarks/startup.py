"""How long a start takes: importing node_oc on top of torch, and `node-oc --help`. Fresh processes, in turns.

    python -m benchmarks.startup [--rounds 20] [--out FILE]

Each round starts every process once, each round from another one on. Differences to `import torch` are medians of the
differences within a round. What the first use of a name loads is shown too. Writes startup.json beside this file.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import positive
from benchmarks.machine import machine
from node_oc import store

TORCH, BOTH = "import torch", "import torch, node_oc"
HELP, RUN_HELP = "node-oc --help", "node-oc run --help"
PROCESSES = {
    "python alone": "pass",
    TORCH: TORCH,
    BOTH: BOTH,
    HELP: "--help",
    RUN_HELP: "run --help",
    "first use of oc.Network": f"{BOTH}; node_oc.Network",
    "first use of oc.run": f"{BOTH}; node_oc.run",
}
BARS = {BOTH: 0.3, HELP: 1.0, RUN_HELP: 1.0}  # seconds over import torch, at most


def command(code: str) -> list[str]:
    """A line of Python, or the arguments of `node-oc`, as a command of its own."""
    if "help" not in code:
        return [sys.executable, "-c", code]
    script = Path(sys.executable).with_name("node-oc")
    return [*([str(script)] if script.exists() else [sys.executable, "-m", "node_oc.cli"]), *code.split()]


def seconds(code: str) -> float:
    """From before the start of the process to after its end."""
    start = time.perf_counter()
    subprocess.run(command(code), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of every process, one for each round; the files are in the cache of the system before the first."""
    for code in PROCESSES.values():
        seconds(code)
    times: dict[str, list[float]] = {name: [] for name in PROCESSES}
    names = list(PROCESSES)
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            times[name].append(seconds(PROCESSES[name]))
    return times


def main() -> None:
    """Measure, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=20, help="processes of each kind")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds wants at least 1")
    times = measure(args.rounds)
    rows = []
    for name, taken in times.items():
        over = statistics.median(a - b for a, b in zip(taken, times[TORCH], strict=True))
        bar = BARS.get(name)
        rows.append({"process": name, "seconds": statistics.median(taken), "least": min(taken), "most": max(taken),
                     "over_torch": over, "bar": bar, "kept": None if bar is None else over <= bar})  # fmt: skip
    store.write_json(args.out, {"machine": machine(), "rounds": args.rounds, "rows": rows})
    print(table(rows))


def table(rows: list[dict[str, object]]) -> str:
    """In Markdown, seconds."""
    lines = ["| process | median, s | least to most | over import torch | at most | |", "|---|---|---|---|---|---|"]
    for r in rows:
        told = ("", "") if r["bar"] is None else (f"{r['bar']:g}", "kept" if r["kept"] else "missed")
        lines.append(f"| `{r['process']}` | {r['seconds']:.2f} | {r['least']:.2f} to {r['most']:.2f} | "
                     f"{r['over_torch']:+.2f} | {told[0]} | {told[1]} |")  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main()
