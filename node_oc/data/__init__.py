"""Data: readers that check what they read and return a Split of three standardised parts."""

from __future__ import annotations

from node_oc.data.digits import digits
from node_oc.data.idx import idx, read_idx
from node_oc.data.labels import Labels, encode_labels
from node_oc.data.partition import Partition, partition
from node_oc.data.prepare import Rows, prepare, prepare_rows
from node_oc.data.spirals import spirals, two_spirals
from node_oc.data.split import Part, Scale, Split, Task
from node_oc.data.standardise import Standardise, fit_scale, standardised
from node_oc.data.table import RawTable, read_features, read_table, table

__all__ = [
    "Labels",
    "Part",
    "Partition",
    "RawTable",
    "Rows",
    "Scale",
    "Split",
    "Standardise",
    "Task",
    "digits",
    "encode_labels",
    "fit_scale",
    "idx",
    "partition",
    "prepare",
    "prepare_rows",
    "read_features",
    "read_idx",
    "read_table",
    "spirals",
    "standardised",
    "table",
    "two_spirals",
]
