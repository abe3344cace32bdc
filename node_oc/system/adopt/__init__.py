"""Any PyTorch network with residual additions, seen as a system: graph, trunk, pieces."""

from node_oc.system.adopt.adopted import AdoptedSystem
from node_oc.system.adopt.adoption import adopt
from node_oc.system.adopt.files import load_system, save_system
from node_oc.system.adopt.plan import Branch
from node_oc.system.adopt.source import adopted_from, make_model, register_model, source_of

__all__ = [
    "AdoptedSystem", "Branch", "adopt", "adopted_from", "load_system", "make_model", "register_model", "save_system",
    "source_of",
]  # fmt: skip
