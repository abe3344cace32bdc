"""Ternary layers without their zeros beside dense float32, in turns in one run, on the CPU.

    python -m benchmarks.sparse [--turns 31] [--threads 1 2] [--out FOLDER]

A layer of 2048 x 2048 weights, and the whole network 784-2048-2048-2048-10 from raw features to outputs, at 10, 5, 2
and 1 % non-zero weights and batches of 1 and 256. Bar: at least twice as fast as dense at 5 % and below. One thread is
measured in processor time, several in time: those want a machine of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from pathlib import Path
from typing import Any

import scipy.sparse
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks import positive
from benchmarks.machine import machine
from benchmarks.turns import paired
from node_oc import DiscreteSystem, Model, Network, Scale, sparse_model
from node_oc.packing.files import discrete_layers
from node_oc.packing.sparse import DENSE, in_turns
from node_oc.packing.ways import WAYS, Way

SHARES, BATCHES, SIZE, FEATURES = (0.1, 0.05, 0.02, 0.01), (1, 256), 2048, 784
BAR, UP_TO = 2.0, 0.05  # times as fast as dense, at that share of non-zero weights and below


class Scipy(Way):
    """scipy's CSR times the transposed batch; for comparison."""

    def hold(self, weight: Tensor) -> None:
        """Keep it as scipy does."""
        self.matrix = scipy.sparse.csr_matrix(weight.numpy())

    def forward(self, x: Tensor) -> Tensor:
        """W x + b."""
        return torch.from_numpy((self.matrix @ x.numpy().T).T) + self.shift


class SignsApart(Way):
    """Two bags without factors, of the weights above 0 and of those below, for weights of one size; for comparison."""

    def hold(self, weight: Tensor) -> None:
        """Keep the indices alone."""
        for name, part in (("above", weight > 0), ("below", weight < 0)):
            self.register_buffer(f"{name}_columns", part.nonzero()[:, 1].int())
            ends = torch.cat([torch.zeros(1, dtype=torch.int32), part.sum(1).cumsum(0).int()])
            self.register_buffer(f"{name}_bounds", ends)

    def forward(self, x: Tensor) -> Tensor:
        """W x + b."""
        rows = x.t().contiguous()
        above, below = (
            F.embedding_bag(getattr(self, f"{name}_columns"), rows, getattr(self, f"{name}_bounds"), mode="sum",
                            include_last_offset=True) for name in ("above", "below")
        )  # fmt: skip
        return above.sub_(below).add_(self.shift[:, None]).t()


def weights(shape: tuple[int, ...], share: float, generator: torch.Generator) -> Tensor:
    """Ternary weights of which that share is not 0."""
    signs = 2 * torch.randint(2, shape, generator=generator) - 1
    return signs * (torch.rand(shape, generator=generator) < share)


def network(share: float) -> Model:
    """784-2048-2048-2048-10 with that share of non-zero weights, on raw features."""
    generator = torch.Generator().manual_seed(0)
    model = Model(Network(DiscreteSystem(FEATURES, 10)), Scale(torch.zeros(FEATURES), torch.ones(FEATURES)), None, {
        "task": "classification", "classes": [str(i) for i in range(10)],
        "features": [f"pixel {i}" for i in range(FEATURES)]})  # fmt: skip
    for _, layer in discrete_layers(model):
        layer.weight.copy_(weights(tuple(layer.weight.shape), share, generator))
    model.train()
    with torch.no_grad():
        model(torch.rand(512, FEATURES, generator=generator))  # batch norms see something
    return model.eval()


def layer(share: float, batch: int, turns: int) -> dict[str, Any]:
    """One layer: every way, and the two that are only compared with."""
    generator = torch.Generator().manual_seed(0)
    weight, shift = weights((SIZE, SIZE), share, generator).float(), torch.randn(SIZE, generator=generator)
    ways: dict[str, type[Way]] = {**WAYS, "scipy": Scipy, "signs apart": SignsApart}
    x = torch.randn(batch, SIZE, generator=generator)
    made = {name: way(weight, shift) for name, way in ways.items()}
    exact = x.double() @ weight.double().t() + shift.double()
    error = max(float((module(x) - exact).abs().max() / exact.abs().max()) for module in made.values())
    times = in_turns(made, x, turns)
    best = min(list(WAYS)[1:], key=lambda name: statistics.median(times[name]))
    return {"what": f"layer {SIZE} x {SIZE}", "way": best, "ms": times, "error": error}


def whole(share: float, batch: int, turns: int) -> dict[str, Any]:
    """The network as sparse_model makes it, beside the same with every layer dense."""
    model = network(share)
    found = sparse_model(model, batch, turns=max(5, turns // 3))
    dense = sparse_model(model, batch, turns=1, least=float("inf"))
    x = torch.rand(batch, FEATURES, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        exact = model.double()(x.double())
        error = float((found.model(x) - exact).abs().max() / exact.abs().max())
    chosen = ", ".join(dict.fromkeys(each.way for each in found.layers))
    return {"what": "784-2048-2048-2048-10", "way": chosen, "error": error,
            "ms": in_turns({DENSE: dense.model, chosen: found.model}, x, turns)}  # fmt: skip


def main() -> None:
    """Print the table, write JSON and table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=positive, default=31)
    parser.add_argument("--threads", type=positive, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    load, rows = [os.getloadavg()[0]], []
    head = ("what", "threads", "not 0", "batch", "dense, ms", "sparse, ms", "way", "times as fast", "quartiles",
            "at least")  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    print("\n".join(lines), flush=True)
    for threads in args.threads:
        torch.set_num_threads(threads)
        for ask in (layer, whole):
            for share in SHARES:
                for batch in BATCHES:
                    found = ask(share, batch, args.turns)
                    ratio = paired(found["ms"][DENSE], found["ms"][found["way"]])
                    bar = BAR if share <= UP_TO else None
                    rows.append({**found, "threads": threads, "share": share, "batch": batch, "bar": bar,
                                 "ratio": ratio.median, "met": bar is None or ratio.median >= bar})  # fmt: skip
                    mine, other = (statistics.median(found["ms"][name]) for name in (found["way"], DENSE))
                    cells = (found["what"], threads, f"{100 * share:g} %", batch, f"{other:.3g}", f"{mine:.3g}",
                             found["way"], f"{ratio.median:.1f}", f"{ratio.low:.1f} to {ratio.high:.1f}",
                             "" if bar is None else f"{bar:g}, {'met' if ratio.median >= bar else 'missed'}"
                             )  # fmt: skip
                    lines.append(f"| {' | '.join(map(str, cells))} |")
                    print(lines[-1], flush=True)
    load.append(os.getloadavg()[0])
    args.out.mkdir(parents=True, exist_ok=True)
    task = {"size": SIZE, "shares": SHARES, "batches": BATCHES, "threads": args.threads, "turns": args.turns}
    found = {"task": task, "machine": machine(), "load": load, "rows": rows}
    (args.out / "sparse.json").write_text(json.dumps(found, indent=1) + "\n")
    (args.out / "sparse.md").write_text(
        "\n".join([*lines, "", *ways_table(rows), "", said(rows, args.turns, load)]) + "\n"
    )


def ways_table(rows: list[dict[str, Any]]) -> list[str]:
    """How many times as fast as dense every way is, for the layer alone."""
    layers = [row for row in rows if row["what"].startswith("layer")]
    names = [name for name in layers[0]["ms"] if name != DENSE]
    lines = [f"| layer alone, times as fast | {' | '.join(names)} |", "|" + "---|" * (1 + len(names))]
    for row in layers:
        ratios = [paired(row["ms"][DENSE], row["ms"][name]).median for name in names]
        where = f"{row['threads']} thread{'s' * (row['threads'] > 1)}, {100 * row['share']:g} %, batch {row['batch']}"
        lines.append(f"| {where} | {' | '.join(f'{ratio:.1f}' for ratio in ratios)} |")
    return lines


def said(rows: list[dict[str, Any]], turns: int, load: list[float]) -> str:
    """How it was measured, and how exact the results are."""
    worst = max(row["error"] for row in rows)
    return (f"Medians of {turns} turns, ratios of times of the same turn. One thread: processor time; several: time. "
            f"Largest difference to float64, of the largest output: {worst:.1e}. Load of the machine before and after: "
            f"{load[0]:.1f}, {load[1]:.1f}.")  # fmt: skip


if __name__ == "__main__":
    main()
