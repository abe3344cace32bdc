"""One pass through the awake steps."""

from node_oc.trajectory.rollout import Trajectory, rollout
from node_oc.trajectory.segments import Segmented, cuts_of

__all__ = ["Segmented", "Trajectory", "cuts_of", "rollout"]
