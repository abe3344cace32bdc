"""What is optimised."""

from node_oc.problem.cost import Cost, CrossEntropy, SoftCrossEntropy, SquaredError, TorchLoss
from node_oc.problem.ocp import Objective, Problem, group_norms
from node_oc.problem.optimality import group_gradients, optimality_ratios, shrink_

__all__ = [
    "Cost", "CrossEntropy", "Objective", "Problem", "SoftCrossEntropy", "SquaredError", "TorchLoss",
    "group_gradients", "group_norms", "optimality_ratios", "shrink_",
]  # fmt: skip
