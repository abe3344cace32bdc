"""Atomic, checksummed safetensors + JSON: checkpoints, exports; never pickle."""

from node_oc.store.files import output_directory, read_json, write_atomic, write_json
from node_oc.store.tensors import FORMAT, load, load_model, read_tensors, save, save_model
from node_oc.store.tree import flatten, unflatten

__all__ = [
    "FORMAT", "flatten", "load", "load_model", "output_directory", "read_json", "read_tensors", "save", "save_model",
    "unflatten", "write_atomic", "write_json",
]  # fmt: skip
