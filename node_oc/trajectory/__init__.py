"""One pass through the awake steps."""

from node_oc.trajectory.brownian import brownian, solve_by_torchsde
from node_oc.trajectory.dense import DenseOutput, dense_output
from node_oc.trajectory.neural_sde import NeuralSDE
from node_oc.trajectory.rollout import Trajectory, rollout
from node_oc.trajectory.sde import solve_sde
from node_oc.trajectory.segments import Segmented, cuts_of
from node_oc.trajectory.solution import Solution
from node_oc.trajectory.solved import Solved
from node_oc.trajectory.solver import Solver

__all__ = ["DenseOutput", "NeuralSDE", "Segmented", "Solution", "Solved", "Solver", "Trajectory", "brownian", "cuts_of",
           "dense_output", "rollout", "solve_by_torchsde", "solve_sde"]  # fmt: skip
