"""Networks and neural ODEs as scikit-learn estimators."""

from node_oc.estimator.neural_ode import NeuralODEClassifier, NeuralODERegressor
from node_oc.estimator.residual import ResidualClassifier, ResidualRegressor

__all__ = ["NeuralODEClassifier", "NeuralODERegressor", "ResidualClassifier", "ResidualRegressor"]
