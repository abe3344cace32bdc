"""What regressors share: one number a row."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin

from node_oc.data.split import Task
from node_oc.estimator.base import Estimator
from node_oc.estimator.checks import check_parameters
from node_oc.estimator.inputs import Array, Rows, sample_weights
from node_oc.problem.cost import Cost, SquaredError


class Regressor(RegressorMixin, Estimator):
    """A network that predicts a number, trained in units of its standard deviation."""

    _task: ClassVar[Task] = "regression"

    def predict(self, X: Any) -> Array:
        """The target of each row, in its own units, (n,)."""
        return self._outputs(X)[:, 0].numpy()

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on with one pass over these rows, at a constant learning rate and without a price.

        The first call, unless ``fit`` came before, learns the standardisation of features and target, for good: give it
        rows that look like the rest.

        Args:
            X: features, (n, D).
            y: targets, (n,).
            sample_weight: how much each row counts, (n,).

        Raises:
            NodeOCError: weights that are all zero, a parameter that one pass has no use for.
        """
        check_parameters(self, partial=True)
        x, y = self._validated(X, y, reset=not hasattr(self, "model_"))
        self._pass(x, y, sample_weights(sample_weight, x), 1)
        return self

    def _targets(self, y: NDArray[Any]) -> tuple[Array, int]:
        return y.astype(np.float64), 1

    def _counted(self, rows: Rows) -> Rows:
        return rows

    def _cost(self, outputs: int) -> Cost:
        return SquaredError()
