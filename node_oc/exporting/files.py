"""Files that someone can use: safetensors + JSON, torch.export, ONNX with a parity check."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from node_oc import store
from node_oc.discretization.network import Network
from node_oc.errors import StoreError
from node_oc.inference import Model
from node_oc.packing import unpacked
from node_oc.system.adopt import AdoptedSystem

PARITY = 1e-5  # largest difference allowed, as a share of the largest logit
BATCHES = (1, 7, 256)


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        files: path -> what it is for.
        parity: largest difference of the ONNX file to torch as a share of the largest logit, by batch size;
            empty where no ONNX file was asked for.
    """

    files: dict[Path, str]
    parity: dict[str, float]


def export(model: Model, stem: str | Path, x: Tensor, *, onnx: bool = True, torch_export: bool = True) -> Exported:
    """Write a model in every form: ``stem.safetensors`` + ``stem.json``, ``stem.onnx``, ``stem.pt2``.

    Args:
        model: raw features to outputs; moved to the CPU.
        stem: path without ending.
        x: some raw feature rows (n, D), for tracing and for the parity check. The ONNX file takes float32:
            a feature such as a time stamp of 1e9 seconds loses its digits there; subtract an offset first.
        onnx: whether to write the ONNX file.
        torch_export: whether to write the torch.export program.

    Raises:
        StoreError: a file cannot be written, or ONNX disagrees with torch.
    """
    stem, x = Path(stem), x.float().cpu()
    model = model.cpu().eval()
    weights, description = save_model(model, stem)
    files = {
        weights: "weights and standardisation",
        description: f"everything else; read both with node_oc.load_model({stem.name!r})",
    }
    parity = {}
    if onnx:
        path = Path(f"{stem}.onnx")
        parity = export_onnx(model, x, path)
        files[path] = "raw features (batch, D) to outputs, for onnxruntime"
    if torch_export:
        path = Path(f"{stem}.pt2")
        export_program(model, x, path)
        files[path] = f"the same for someone who has only torch: torch.export.load({path.name!r}).module()"
    return Exported(files, parity)


def save_model(model: Model, stem: Path) -> list[Path]:
    """Write ``stem.safetensors`` (weights, standardisation) and ``stem.json`` (everything else).

    Raises:
        StoreError: a file cannot be written, or could not be read again: a field, lift or head that it cannot describe.
    """
    store.save_model(stem, model.state_dict(), model.description())
    return [Path(f"{stem}.safetensors"), Path(f"{stem}.json")]


def load_model(stem: Path) -> Model:
    """Read a model back, packed or not; nothing in the files is ever executed.

    Raises:
        StoreError: a file that is missing, truncated, altered, or of a newer version; packed bits without meaning.
    """
    tensors, description = store.load_model(stem)
    return Model.restored(unpacked(tensors, description, stem), description, stem)


def export_onnx(
    model: nn.Module, x: Tensor, path: Path, *, batches: Sequence[int] = BATCHES, tolerance: float | None = None
) -> dict[str, float]:
    """Write an ONNX file with dynamic batch size and check it against torch in onnxruntime.

    Args:
        model: inputs (B, ..) to outputs (B, ..): features, images, token ids. Of an adopted model, its readout.
        x: samples for tracing and for the check, (n, ..).
        path: of the file.
        batches: sizes for the check.
        tolerance: largest difference allowed, as a share of the largest logit; 1e-5 if None.

    Returns:
        Largest difference as a share of the largest logit, by batch size.

    Raises:
        StoreError: the file disagrees with torch by more than that; it is removed.
    """
    model = Network(model) if isinstance(model, AdoptedSystem) else model
    model.eval()
    batch = torch.export.Dim("batch", min=1)
    with quiet():
        program = torch.onnx.export(
            model, (rows(x, 2),), dynamo=True, dynamic_shapes={"x": {0: batch}}, input_names=["x"],
            output_names=["y"], verbose=False,
        )  # fmt: skip
    if program is None:
        raise StoreError(str(path), got="nothing from torch.onnx.export", expected="a program",
                         do="Set export.onnx = false, and report this.")  # fmt: skip
    store.write_atomic(path, program.model_proto.SerializeToString())
    parity = check_onnx(model, x, path, batches)
    worst, tolerance = max(parity.values()), PARITY if tolerance is None else tolerance
    if not worst <= tolerance:
        path.unlink()
        raise StoreError(str(path), got=f"a relative difference of {worst:.1e} to torch",
                         expected=f"at most {tolerance}",
                         do="Set export.onnx = false, and report this.")  # fmt: skip
    return parity


@torch.no_grad()
def check_onnx(model: nn.Module, x: Tensor, path: Path, batches: Sequence[int] = BATCHES) -> dict[str, float]:
    """Largest difference between an ONNX file and a module, as a share of the largest logit, by batch size."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    parity = {}
    for size in batches:
        given = rows(x, size)
        ours = model(given)
        theirs = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: given.numpy()})[0])
        difference = float((ours - theirs).abs().max())
        parity[str(size)] = difference / float(ours.abs().max()) if difference else 0.0  # logits may all be zero
    return parity


def export_program(model: nn.Module, x: Tensor, path: Path) -> None:
    """Write a ``.pt2`` program with dynamic batch size for someone who has only torch, without sample inputs.

    Read it with ``torch.export.load(path).module()``.
    """
    model.eval()
    batch = torch.export.Dim("batch", min=1)
    with quiet():
        program = torch.export.export(model, (rows(x, 2),), dynamic_shapes={"x": {0: batch}})
        program.example_inputs = None  # they would be written as a pickle
        part = path.with_name(f".{path.name}")  # torch.export.save wants the ending .pt2
        torch.export.save(program, part)
    try:
        store.write_atomic(path, part.read_bytes())
    finally:
        part.unlink(missing_ok=True)


def rows(x: Tensor, size: int) -> Tensor:
    """So many samples, the given ones again and again."""
    return x.repeat(-(-size // len(x)), *(1,) * (x.dim() - 1))[:size].contiguous()


@contextmanager
def quiet() -> Iterator[None]:
    """Exporters warn and log at length about themselves; what matters is checked afterwards."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
