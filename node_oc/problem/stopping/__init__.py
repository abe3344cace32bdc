"""Depth as optimal stopping: at each layer, stop and predict, or continue."""

from node_oc.problem.stopping.depth_cost import DepthCost
from node_oc.problem.stopping.envelope import (
    Envelope,
    layer_costs,
    oracle,
    rule_value,
    snell_envelope,
    stopping_costs,
    tree,
)
from node_oc.problem.stopping.features import CHANGE_FEATURES, FEATURES, readout_features, sureness
from node_oc.problem.stopping.law import stopping_chances, stopping_gain, stopping_law
from node_oc.problem.stopping.returns import DiminishingReturns, ReturnsBound, loss_lipschitz, returns_bound

__all__ = [
    "CHANGE_FEATURES", "FEATURES", "DepthCost", "DiminishingReturns", "Envelope", "ReturnsBound", "layer_costs",
    "loss_lipschitz", "oracle", "readout_features", "returns_bound", "rule_value", "snell_envelope", "stopping_chances",
    "stopping_costs", "stopping_gain", "stopping_law", "sureness", "tree",
]  # fmt: skip
