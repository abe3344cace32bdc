"""Early exit in onnxruntime: one graph with an If around each block, or one graph a block with a loop around them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from node_oc.exporting import export_onnx
from node_oc.exporting.exits import onnx_blocks
from node_oc.exporting.one_graph import in_one_graph
from node_oc.inference import EarlyExit
from node_oc.inference.paying import BURST, SINGLES
from node_oc.inference.turns import Clock, Spread, in_turns


class Blocks:
    """One session a block; what stopped leaves between them."""

    def __init__(self, models: Sequence[bytes], exits: Sequence[int], options: Any) -> None:
        self.exits, self.blocks = exits, [session(model, options) for model in models]
        self.names = [[given.name for given in block.get_inputs()] for block in self.blocks]

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows to outputs (n, K) and depths (n,)."""
        rows, held, depths = np.arange(len(x)), [x], np.empty(len(x), np.int64)
        for k, block, names in zip(self.exits, self.blocks, self.names, strict=True):
            out, stop, *held = block.run(None, dict(zip(names, held, strict=True)))
            if k == self.exits[0]:
                y = np.empty_like(out)
            gone = rows[stop]
            y[gone], depths[gone] = out[stop], k
            if len(gone) == len(rows):
                break
            rows, held = rows[~stop], [part[~stop] for part in held]
        return y, depths


def session(model: bytes, options: Any) -> Any:
    """In onnxruntime, on the CPU."""
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def compared(
    early: EarlyExit, x: Tensor, batches: Sequence[int], rounds: int, threads: int, clock: Clock
) -> list[dict[str, Any]]:  # fmt: skip
    """Times of each way, in turns, and the largest difference of its outputs and depths to torch."""
    blocks = onnx_blocks(early, x)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "full.onnx"
        export_onnx(early.model, x, path)
        full = session(path.read_bytes(), options)
    one = session(in_one_graph(blocks, early.exits).SerializeToString(), options)
    several = Blocks([block.SerializeToString() for block in blocks], early.exits, options)
    ways = {
        "full": lambda rows: full.run(None, {"x": rows}),
        "one graph with Ifs": lambda rows: one.run(None, {"x": rows}),
        "a graph a block, loop in Python": several,
        "torch": lambda rows: early(torch.from_numpy(rows)),
    }
    given = x.numpy()
    expected, depths = early(x)
    found = []
    for batch in batches:
        calls = [given[i : i + 1] for i in range(SINGLES)] if batch == 1 else [given[:batch]] * -(-BURST // batch)
        times = in_turns({name: partial(_all, way, calls) for name, way in ways.items()}, rounds, clock)
        for name, way in ways.items():
            y, *depth = way(given[: max(batch, 64)])
            row = {
                "batch": batch, "way": name, "ms": asdict(Spread.of([ms / len(calls) for ms in times[name]])),
                "gain": asdict(Spread.of([a / b for a, b in zip(times["full"], times[name], strict=True)])),
            }  # fmt: skip
            if depth:
                row["difference"] = float(np.abs(np.asarray(y) - expected[: len(y)].numpy()).max())
                row["other_depths"] = int((np.asarray(depth[0]) != depths[: len(y)].numpy()).sum())
            found.append(row)
    return found


def _all(way: Any, calls: Sequence[np.ndarray], _: int) -> None:
    for call in calls:
        way(call)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """In Markdown."""
    lines = ["| batch | way | ms, quartiles | times as fast as full, quartiles | difference to torch | other depths |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for row in rows:
        told = (f"{row['difference']:.1e}", str(row["other_depths"])) if "difference" in row else ("", "")
        ms, gain = Spread(**row["ms"]), Spread(**row["gain"])
        lines.append(f"| {row['batch']} | {row['way']} | {ms} | {gain} | {' | '.join(told)} |")
    return "\n".join(lines)
