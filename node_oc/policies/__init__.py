"""When a sample stops: policies without labels, fitted to a target, with a guarantee."""

from node_oc.policies.fixed import FixedDepth
from node_oc.policies.policy import Policy, all_exits, check_exits, exit_features, first_stop, stopping_depths
from node_oc.policies.reading import policy_from
from node_oc.policies.threshold import Threshold

__all__ = [
    "FixedDepth", "Policy", "Threshold", "all_exits", "check_exits", "exit_features", "first_stop", "policy_from",
    "stopping_depths",
]  # fmt: skip
