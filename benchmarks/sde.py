"""node_oc's Euler-Maruyama loop and torchsde's, in turns in one run: batch 256, state 64, 50 steps.

    python -m benchmarks.sde [--rounds 30] [--out FOLDER]

Both sides get the same equation; forward alone, and forward and backward. One thread, and processor time in place of
time, so that a busy neighbour does not count. Bars: at most 0.5 of torchsde's forward, 0.65 forward and backward.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
import torchsde
from torch import Tensor, nn

from benchmarks import positive
from benchmarks.machine import machine
from benchmarks.turns import paired
from node_oc import DenseSystem, DepthGrid, LimitSDE, Network, branch_dropout, limit_sde, solve_sde, stochastic_depth

BATCH, STATE, STEPS = 256, 64, 50
BARS = {"forward": 0.5, "forward and backward": 0.65}


class Affine(nn.Module):
    """tanh and sigmoid of an affine map each, as one writes a first neural SDE."""

    noise_type, sde_type = "diagonal", "ito"

    def __init__(self) -> None:
        super().__init__()
        self.drift, self.diffusion = nn.Linear(STATE, STATE), nn.Linear(STATE, STATE)

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        """Drift."""
        return torch.tanh(self.drift(y))

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        """Diffusion."""
        return 0.1 * torch.sigmoid(self.diffusion(y))


class Entries(nn.Module):
    """Entry by entry, without matrix products: what is left is what a solver costs."""

    noise_type, sde_type = "diagonal", "ito"

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(STATE)), nn.Parameter(torch.randn(STATE))

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        """Drift."""
        return torch.tanh(y) * self.a

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        """Diffusion."""
        return 0.1 * y * self.b


def equations() -> dict[str, nn.Module]:
    """By name."""
    torch.manual_seed(0)
    network = Network(DenseSystem(STATE, 10, depth=STEPS, width=STATE, hidden=STATE, lift="pad", row_norm=0.0),
                      DepthGrid.uniform(STEPS, 1 / STEPS))  # fmt: skip
    return {"affine drift and diffusion": Affine(), "entry by entry": Entries(),
            "limit of branch dropout": limit_sde(network, branch_dropout(0.8)),
            "limit of stochastic depth": limit_sde(network, stochastic_depth(0.8))}  # fmt: skip


def ours(sde: nn.Module, y: Tensor, generator: torch.Generator) -> Tensor:
    """The state at the end."""
    if isinstance(sde, LimitSDE):
        return solve_sde(sde, y, generator)[-1]
    return solve_sde(sde, y, generator, ts=(0.0, 1.0), substeps=STEPS)[-1]  # type: ignore[arg-type]


def theirs(sde: nn.Module, y: Tensor, generator: torch.Generator) -> Tensor:
    """The state at the end."""
    return torchsde.sdeint(sde, y, torch.tensor([0.0, 1.0]), method="euler", dt=1 / STEPS)[-1]


def burst(solve: Callable[..., Tensor], sde: nn.Module, y: Tensor, generator: torch.Generator, back: bool) -> float:
    """Milliseconds of processor time of a solve, the median of three."""
    taken = []
    for _ in range(3):
        start = time.process_time()
        with torch.set_grad_enabled(back):
            end = solve(sde, y, generator)
            if back:
                end.square().mean().backward()
        taken.append(1e3 * (time.process_time() - start))
        sde.zero_grad()
    return statistics.median(taken)


def main() -> None:
    """Print the table, write JSON and table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=30)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    load, y, generator = [os.getloadavg()[0]], torch.randn(BATCH, STATE), torch.Generator().manual_seed(0)
    lines = ["| equation | what | node_oc, ms | torchsde, ms | ratio | quartiles | at most |", "|" + "---|" * 7]
    rows = []
    for name, sde in equations().items():
        for what, bar in BARS.items():
            times: dict[str, list[float]] = {"node_oc": [], "torchsde": []}
            for turn in range(args.rounds + 1):
                order = ((ours, "node_oc"), (theirs, "torchsde"))
                for solve, who in order if turn % 2 else order[::-1]:
                    took = burst(solve, sde, y, generator, what != "forward")
                    if turn:
                        times[who].append(took)
            ratio = paired(times["node_oc"], times["torchsde"])
            rows.append({"equation": name, "what": what, "ms": times, "ratio": ratio.median, "bar": bar})
            mine, other = (statistics.median(times[who]) for who in times)
            lines.append(f"| {name} | {what} | {mine:.1f} | {other:.1f} | {ratio.median:.2f} | {ratio.low:.2f} to "
                         f"{ratio.high:.2f} | {bar} |")  # fmt: skip
            print("\n".join(lines if len(lines) == 3 else lines[-1:]), flush=True)
    load.append(os.getloadavg()[0])
    task = {"batch": BATCH, "state": STATE, "steps": STEPS, "threads": 1, "rounds": args.rounds}
    args.out.mkdir(parents=True, exist_ok=True)
    found = {"task": task, "machine": machine() | {"torchsde": version("torchsde")}, "load": load, "rows": rows}
    (args.out / "sde.json").write_text(json.dumps(found, indent=1) + "\n")
    said = (f"Batch {BATCH}, state {STATE}, {STEPS} steps, one thread, processor time; medians and quartiles of "
            f"{args.rounds} turns. Load of the machine before and after: {load[0]:.1f}, {load[1]:.1f}.")  # fmt: skip
    (args.out / "sde.md").write_text("\n".join([*lines, "", said]) + "\n")


if __name__ == "__main__":
    main()
