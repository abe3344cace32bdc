"""One pass through the awake steps."""

from node_oc.trajectory.dense import DenseOutput, dense_output
from node_oc.trajectory.rollout import Trajectory, rollout
from node_oc.trajectory.segments import Segmented, cuts_of
from node_oc.trajectory.solution import Solution
from node_oc.trajectory.solved import Solved
from node_oc.trajectory.solver import Solver

__all__ = ["DenseOutput", "Segmented", "Solution", "Solved", "Solver", "Trajectory", "cuts_of", "dense_output",
           "rollout"]  # fmt: skip
