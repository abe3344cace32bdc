"""How a problem is solved."""

from node_oc.training.active import Sparse, sparsify
from node_oc.training.heal import heal
from node_oc.training.loop import Plan, fit

__all__ = ["Plan", "Sparse", "fit", "heal", "sparsify"]
