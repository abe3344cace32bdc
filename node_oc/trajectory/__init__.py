"""One pass through the awake steps."""

from node_oc.trajectory.rollout import Trajectory, rollout
from node_oc.trajectory.segments import Segmented, cuts_of
from node_oc.trajectory.solution import Solution, Solver

__all__ = ["Segmented", "Solution", "Solver", "Trajectory", "cuts_of", "rollout"]
