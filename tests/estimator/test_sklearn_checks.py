"""scikit-learn's own checks, on small settings; `make estimators` runs them on the defaults of all four."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import node_oc as oc

SMALL: dict[str, Any] = {"width": 8, "hidden": 8, "min_updates": 30, "learning_rate": 6e-2}


@parametrize_with_checks(
    [oc.ResidualClassifier(depth=2, **SMALL), oc.NeuralODERegressor(steps=2, solver="midpoint", **SMALL)]
)
def test_what_scikit_learn_asks_of_an_estimator(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


@pytest.mark.parametrize("kind", [oc.ResidualClassifier, oc.NeuralODEClassifier, oc.ResidualRegressor])
def test_constructors_keep_what_they_are_given(kind: Any) -> None:
    given = kind().get_params()
    assert all(getattr(kind(**given), name) is value for name, value in given.items())
