"""What is controlled."""

from collections.abc import Callable

from node_oc.system.adopt import AdoptedSystem, adopted_from
from node_oc.system.base import System
from node_oc.system.build import make_system
from node_oc.system.conv import ConvSystem
from node_oc.system.dense import DenseSystem
from node_oc.system.discrete import DiscreteResidualSystem, DiscreteSystem
from node_oc.system.ode import NeuralODE, UnrolledSystem, ode_from, unrolled_from
from node_oc.system.paired import PairedSystem, paired_from
from node_oc.system.transformer import Patches, TokenIds, TokenVectors, TransformerSystem

SYSTEMS: dict[str, Callable[..., System]] = {
    "dense": DenseSystem, "conv": ConvSystem, "ode": ode_from, "unrolled": unrolled_from,
    "adopted": adopted_from, "paired": paired_from, "discrete": DiscreteSystem,
    "discrete_residual": DiscreteResidualSystem, "transformer": TransformerSystem,
}  # fmt: skip

__all__ = [
    "SYSTEMS", "AdoptedSystem", "ConvSystem", "DenseSystem", "DiscreteResidualSystem", "DiscreteSystem", "NeuralODE",
    "PairedSystem", "Patches", "System", "TokenIds", "TokenVectors", "TransformerSystem", "UnrolledSystem",
    "make_system",
]  # fmt: skip
