"""What classifiers share: labels to class indices and back, weights of classes, probabilities."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets

from node_oc.data.split import Task
from node_oc.errors import ConfigError, DataError
from node_oc.estimator.base import Estimator
from node_oc.estimator.checks import check_parameters
from node_oc.estimator.inputs import Array, Rows, class_weights, sample_weights
from node_oc.problem.cost import Cost, CrossEntropy, SoftCrossEntropy


class Classifier(ClassifierMixin, Estimator):
    """A network that tells classes apart."""

    _task: ClassVar[Task] = "classification"
    eps: float
    class_weight: Any
    classes_: NDArray[Any]

    def predict(self, X: Any) -> NDArray[Any]:
        """The likeliest label of each row, (n,)."""
        out = self._outputs(X)
        return self.classes_[out.argmax(1).numpy()]

    def predict_proba(self, X: Any) -> Array:
        """Probability of each class, (n, K), in the order of ``classes_``.

        Soft targets hold them back: a network that is sure of a class says 1 - eps.
        """
        return self._outputs(X).softmax(1).numpy()

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train on with one pass over these rows, at a constant learning rate and without a price.

        The first call, unless ``fit`` came before, learns the standardisation, for good: give it rows
        that look like the rest.

        Args:
            X: features, (n, D).
            y: labels, (n,).
            classes: all labels there will be; wanted at the first call.
            sample_weight: how much each row counts, (n,).

        Raises:
            NodeOCError: no classes at the first call, other ones later, a label that is not among them, a parameter
                that one pass has no use for.
        """
        check_parameters(self, partial=True)
        first = not hasattr(self, "model_")
        if first and classes is None:
            raise DataError("classes", got="None at the first call of partial_fit", expected="all labels there will be",
                            do="Give them: classes=np.unique(all_labels).")  # fmt: skip
        x, y = self._validated(X, y, reset=first)
        check_classification_targets(y)
        weight = sample_weights(sample_weight, x)
        known = self.classes_ if classes is None else np.unique(classes)
        if not first and not np.array_equal(known, self.classes_):
            raise DataError("classes", got=known.tolist(), expected=self.classes_.tolist(),
                            do="They are fixed at the first call.")  # fmt: skip
        _several(known)
        if not np.isin(y, known).all():
            raise DataError("y", got=f"labels {np.setdiff1d(y, known)[:5].tolist()}",
                            expected=f"some of {known.tolist()}", do="Name all classes at the first call.")  # fmt: skip
        if self.class_weight == "balanced":
            raise ConfigError("class_weight", got="balanced in partial_fit", expected="None or a mapping",
                              do="The share of a class is not known before all rows are: give numbers.")  # fmt: skip
        self.classes_ = known
        index = np.searchsorted(known, y)
        weight = weight * class_weights(self.class_weight, known, index, weight)[index]
        self._pass(x, index, weight, len(known))
        return self

    def _targets(self, y: NDArray[Any]) -> tuple[Array, int]:
        check_classification_targets(y)
        self.classes_, index = np.unique(y, return_inverse=True)
        _several(self.classes_)
        return index.astype(np.float64), len(self.classes_)

    def _counted(self, rows: Rows) -> Rows:
        index = rows.y.astype(np.int64)
        weight = rows.weight * class_weights(self.class_weight, self.classes_, index, rows.weight)[index]
        return Rows(rows.x, rows.y, sample_weights(weight, rows.x)).take(np.flatnonzero(weight))

    def _cost(self, outputs: int) -> Cost:
        return SoftCrossEntropy(outputs, float(self.eps)) if self.eps else CrossEntropy()


def _several(classes: NDArray[Any]) -> None:
    if len(classes) < 2:
        raise DataError("classes", got=f"1 class, {classes.tolist()}", expected="2 classes at least",
                        do="A single class needs no classifier.")  # fmt: skip
