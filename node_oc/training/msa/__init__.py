"""Training by the maximum principle: propose by the Hamiltonian, accept by inertia."""

from node_oc.training.msa.acceptance import Inertia, MovingAverage
from node_oc.training.msa.emsa import EMSA
from node_oc.training.msa.method import MSA
from node_oc.training.msa.proposal import Binary, Proposal, Ternary

__all__ = ["EMSA", "MSA", "Binary", "Inertia", "MovingAverage", "Proposal", "Ternary"]
