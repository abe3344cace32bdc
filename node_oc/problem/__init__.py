"""What is optimised."""

from node_oc.problem.cost import Cost, CrossEntropy, Distillation, SoftCrossEntropy, SquaredError
from node_oc.problem.costate import Costates, costate_sweep, step_hamiltonian
from node_oc.problem.error_estimate import ErrorEstimate, ErrorTerms
from node_oc.problem.group_minimum import GroupHamiltonian
from node_oc.problem.hamiltonian import Hamiltonians, hamiltonians
from node_oc.problem.hinge import SquaredHinge
from node_oc.problem.ocp import Objective, Problem, group_norms
from node_oc.problem.optimality import group_gradients, optimality_ratios, shrink_
from node_oc.problem.path_cost import PathCost
from node_oc.problem.refinement import Adapted, Indicators, Round, adapt, indicators
from node_oc.problem.regulariser import Regulariser, explicit_regulariser
from node_oc.problem.slopes import discrete_slopes
from node_oc.problem.torch_loss import TorchLoss

__all__ = [
    "Adapted", "Cost", "Costates", "CrossEntropy", "Distillation", "ErrorEstimate", "ErrorTerms", "GroupHamiltonian",
    "Hamiltonians", "Indicators", "Objective", "PathCost", "Problem", "Regulariser", "Round", "SoftCrossEntropy",
    "SquaredError", "SquaredHinge", "TorchLoss", "adapt", "costate_sweep", "discrete_slopes", "explicit_regulariser",
    "group_gradients", "group_norms", "hamiltonians", "indicators", "optimality_ratios", "shrink_", "step_hamiltonian",
]  # fmt: skip
