"""scikit-learn's own checks, on small settings; `make estimators` runs them on the defaults of all four."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import node_oc as oc

SMALL: dict[str, Any] = {"width": 8, "hidden": 8, "min_updates": 60, "learning_rate": 3e-2}


@parametrize_with_checks(
    [oc.ResidualClassifier(depth=2, **SMALL), oc.NeuralODERegressor(steps=2, solver="midpoint", **SMALL)]
)
def test_what_scikit_learn_asks_of_an_estimator(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


def test_the_complete_checks_read_the_array_api_before_scipy() -> None:
    """With the variable set too late scikit-learn would skip its array-API check, and nobody would notice."""
    code = (
        "import experiments.estimators.checks as c, os, scipy._lib._array_api as a; "
        "print(os.environ['SCIPY_ARRAY_API'], bool(a.SCIPY_ARRAY_API), len(c.ESTIMATORS))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["1", "True", "4"], done.stderr


@pytest.mark.parametrize("kind", [oc.ResidualClassifier, oc.NeuralODEClassifier, oc.ResidualRegressor])
def test_constructors_keep_what_they_are_given(kind: Any) -> None:
    given = kind().get_params()
    assert all(getattr(kind(**given), name) is value for name, value in given.items())
