"""Files that someone can use: safetensors + JSON, torch.export, ONNX with a parity check, ONNX with exits."""

from node_oc.exporting.exits import export_exits
from node_oc.exporting.files import (
    Exported,
    check_onnx,
    export,
    export_onnx,
    export_program,
    load_model,
    save_model,
)

__all__ = [
    "Exported", "check_onnx", "export", "export_exits", "export_onnx", "export_program", "load_model", "save_model",
]  # fmt: skip
