"""The backward Kolmogorov equation of a noisy network, in one and two state dimensions."""

from node_oc.diagnosis.kolmogorov.solve import value_function
from node_oc.diagnosis.kolmogorov.value import ValueFunction

__all__ = ["ValueFunction", "value_function"]
