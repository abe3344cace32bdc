"""Depth as optimal stopping: at each layer, stop and predict, or continue."""

from node_oc.problem.stopping.features import CHANGE_FEATURES, FEATURES, readout_features

__all__ = ["CHANGE_FEATURES", "FEATURES", "readout_features"]
