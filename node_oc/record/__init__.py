"""What a search found, as one JSON-able record, and the verdict in words."""

from node_oc.record.record import interval, make_record
from node_oc.record.rivals import make_comparison
from node_oc.record.verdict import sweep_work, verdict

__all__ = ["interval", "make_comparison", "make_record", "sweep_work", "verdict"]
