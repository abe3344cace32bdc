"""Discrete weights in few bits, and networks that leave their zeros out."""

from node_oc.packing.files import PACKED, load_packed, packed_weights, save_packed, unpacked
from node_oc.packing.sparse import Sparse, Speed, sparse_model
from node_oc.packing.table import Row, Summary, summarise

__all__ = [
    "PACKED", "Row", "Sparse", "Speed", "Summary", "load_packed", "packed_weights", "save_packed", "sparse_model",
    "summarise", "unpacked",
]  # fmt: skip
