"""Questions put to a trained network; each answers with numbers, a verdict and one sentence."""

from node_oc.diagnosis.arrival import Arrival, arrival
from node_oc.diagnosis.calibration import Calibration, calibration
from node_oc.diagnosis.certificate import Certificate, certify, upper_limit
from node_oc.diagnosis.counting import Control, Counting, Level, control_costs, counting, cuts
from node_oc.diagnosis.curvature import Curvature, largest_curvature
from node_oc.diagnosis.decay import Decay, decay
from node_oc.diagnosis.diagnose import Diagnosis, diagnose
from node_oc.diagnosis.dissipativity import Dissipation, dissipation, nearness, rotated_cost
from node_oc.diagnosis.equilibria import Preservation, preserves_equilibria
from node_oc.diagnosis.fixed_points import FixedPoint, FixedPoints, fixed_points
from node_oc.diagnosis.kolmogorov import ValueFunction, value_function
from node_oc.diagnosis.landscape import Landscape, filter_normalised, loss_landscape
from node_oc.diagnosis.loss import Budget, disagreement, outputs, sample_losses
from node_oc.diagnosis.portrait import Portrait, no_portrait, portrait
from node_oc.diagnosis.profile import Observation, Profile, observe, profile
from node_oc.diagnosis.turnpike import Turnpike, entry_by_accuracy, turnpike
from node_oc.diagnosis.uncertainty import Predictive, monte_carlo
from node_oc.diagnosis.weak_order import WeakOrder, weak_order

__all__ = [
    "Arrival", "Budget", "Calibration", "Certificate", "Control", "Counting", "Curvature", "Decay", "Diagnosis",
    "Dissipation", "FixedPoint", "FixedPoints", "Landscape", "Level", "Observation", "Portrait", "Predictive",
    "Preservation", "Profile", "Turnpike", "ValueFunction", "WeakOrder", "arrival", "calibration", "certify",
    "control_costs", "counting", "cuts", "decay", "diagnose", "disagreement", "dissipation", "entry_by_accuracy",
    "filter_normalised", "fixed_points", "largest_curvature", "loss_landscape", "monte_carlo", "nearness",
    "no_portrait", "observe", "outputs", "portrait", "preserves_equilibria", "profile", "rotated_cost",
    "sample_losses", "turnpike", "upper_limit", "value_function", "weak_order",
]  # fmt: skip
