"""Questions put to a trained network; each answers with numbers, a verdict and one sentence."""

from node_oc.diagnosis.certificate import Certificate, certify, upper_limit
from node_oc.diagnosis.diagnose import Diagnosis, diagnose
from node_oc.diagnosis.loss import Budget, disagreement, outputs, sample_losses
from node_oc.diagnosis.profile import Profile, profile
from node_oc.diagnosis.turnpike import Turnpike, entry_by_accuracy, turnpike

__all__ = [
    "Budget", "Certificate", "Diagnosis", "Profile", "Turnpike", "certify", "diagnose", "disagreement",
    "entry_by_accuracy", "outputs", "profile", "sample_losses", "turnpike", "upper_limit",
]  # fmt: skip
