"""When a sample stops: policies without labels, fitted to a target, with a guarantee."""

from node_oc.policies.continuation import continuation, continuations
from node_oc.policies.family import FAMILIES, family
from node_oc.policies.fit import fit_policy
from node_oc.policies.fixed import FixedDepth
from node_oc.policies.guarantee import Guarantee, guarantee, needed, rehearse
from node_oc.policies.hinges import Hinges, fit_hinges
from node_oc.policies.lookahead import look_ahead, look_aheads, one_step_rule
from node_oc.policies.outcome import Outcome, follow, follow_oracle
from node_oc.policies.policy import Policy, all_exits, check_exits, exit_features, first_stop, stopping_depths
from node_oc.policies.reading import policy_from
from node_oc.policies.readings import Readings, read_exits
from node_oc.policies.regressed import Regressed
from node_oc.policies.threshold import Threshold

__all__ = [
    "FAMILIES", "FixedDepth", "Guarantee", "Hinges", "Outcome", "Policy", "Readings", "Regressed", "Threshold",
    "all_exits", "check_exits", "continuation", "continuations", "exit_features", "family", "first_stop", "fit_hinges",
    "fit_policy", "follow", "follow_oracle", "guarantee", "look_ahead", "look_aheads", "needed", "one_step_rule",
    "policy_from", "read_exits", "rehearse", "stopping_depths",
]  # fmt: skip
