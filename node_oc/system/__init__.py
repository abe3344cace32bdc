"""What is controlled."""

from node_oc.system.base import System
from node_oc.system.dense import DenseSystem

SYSTEMS: dict[str, type[System]] = {"dense": DenseSystem}

__all__ = ["SYSTEMS", "DenseSystem", "System"]
