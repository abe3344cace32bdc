"""Systems whose weights are discrete."""

from node_oc.system.discrete.chain import DiscreteSystem
from node_oc.system.discrete.layers import DiscreteConv2d, DiscreteLayer, DiscreteLinear, check_values
from node_oc.system.discrete.residual import DiscreteResidualSystem

__all__ = [
    "DiscreteConv2d", "DiscreteLayer", "DiscreteLinear", "DiscreteResidualSystem", "DiscreteSystem", "check_values",
]  # fmt: skip
