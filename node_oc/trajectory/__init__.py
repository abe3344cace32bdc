"""One pass through the awake steps."""

from node_oc.trajectory.rollout import Trajectory, rollout

__all__ = ["Trajectory", "rollout"]
