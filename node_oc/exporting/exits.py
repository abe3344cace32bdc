"""Early exit for someone who has no node_oc: one ONNX file in which stopped rows leave the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from node_oc import store
from node_oc.errors import ConfigError, StoreError
from node_oc.exporting.blocks import Block
from node_oc.exporting.files import BATCHES, PARITY, quiet, rows
from node_oc.exporting.one_graph import in_one_graph
from node_oc.inference import EarlyExit


def export_exits(early: EarlyExit, x: Tensor, path: Path) -> dict[str, float]:
    """Write an ONNX file with inputs x (batch, ..) and outputs y (batch, K) and depth (batch,), checked against torch.

    One graph: a block from each exit to the next, in an If of its own that asks whether any rows are left. In
    onnxruntime it is faster at batch 256 and 4,096 than one file a block with a loop around them, a little slower at
    batch 1 (benchmarks/early_exit.py). Exporting takes about two seconds an exit.

    Args:
        early: model and policy; moved to the CPU.
        x: samples for tracing and for the check, (n, ..), float32.
        path: of the file.

    Returns:
        Largest difference as a share of the largest output, by batch size.

    Raises:
        ConfigError: a system whose branches read the inputs beside the state.
        StoreError: the file stops a row elsewhere, or disagrees with torch by more than 1e-5 of the largest output; it
            is removed.
    """
    early, x = early.cpu().eval(), x.float().cpu()
    store.write_atomic(path, in_one_graph(onnx_blocks(early, x), early.exits).SerializeToString())
    parity = check_exits_file(early, x, path)
    if not max(parity.values()) <= PARITY:
        path.unlink()
        raise StoreError(str(path), got=f"a relative difference of {max(parity.values()):.1e} to torch",
                         expected=f"at most {PARITY}", do="Keep the model as it is, and report this.")  # fmt: skip
    return parity


def onnx_blocks(early: EarlyExit, x: Tensor) -> list[Any]:
    """An ONNX model of each block, see :class:`Block`.

    Raises:
        ConfigError: a system whose branches read the inputs beside the state.
    """
    import onnx

    if early.network.given(x[:2]) is not early.network:
        raise ConfigError("early exit in ONNX", got="branches that read the inputs beside the state",
                          expected="branches of the state alone", do="Run it in torch: EarlyExit.")  # fmt: skip
    batch = torch.export.Dim("batch", min=1)
    given: tuple[Tensor, ...] = (rows(x, 5),)
    found = []
    for place in range(len(early.exits)):
        block = Block(early, place).eval()
        with quiet(), torch.no_grad():
            out = block(*given)
            program = torch.onnx.export(
                block, given, dynamo=True, dynamic_shapes=({0: batch},) * len(given), verbose=False,
                input_names=["x", "seen"][: len(given)], output_names=["y", "stop", "state", "now"][: len(out)],
            )  # fmt: skip
        if program is None:
            raise StoreError("early exit in ONNX", got="nothing from torch.onnx.export", expected="a program",
                             do="Run it in torch: EarlyExit; and report this.")  # fmt: skip
        found.append(onnx.load_from_string(program.model_proto.SerializeToString()))
        given = out[2:]
    return found


def check_exits_file(early: EarlyExit, x: Tensor, path: Path) -> dict[str, float]:
    """Largest difference between such a file and torch, as a share of the largest output, by batch size; inf where a
    row stops at another depth."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    parity = {}
    for size in BATCHES:
        given = rows(x, size)
        ours, depths = early(given)
        y, depth = session.run(None, {"x": given.numpy()})
        difference = float((ours - torch.from_numpy(y)).abs().max())
        same = torch.equal(torch.from_numpy(depth), depths)
        parity[str(size)] = (difference / max(float(ours.abs().max()), 1e-30)) if same else float("inf")
    return parity
