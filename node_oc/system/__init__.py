"""What is controlled."""

from node_oc.system.base import System
from node_oc.system.build import make_system
from node_oc.system.conv import ConvSystem
from node_oc.system.dense import DenseSystem

SYSTEMS: dict[str, type[System]] = {"dense": DenseSystem, "conv": ConvSystem}

__all__ = ["SYSTEMS", "ConvSystem", "DenseSystem", "System", "make_system"]
