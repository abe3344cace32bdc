"""Estimators trained with noise: predictions in the mean, the noise in the model, weights as copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import make_moons

import node_oc as oc
from node_oc.errors import ConfigError

X, Y = make_moons(60, noise=0.1, random_state=0)
SHORT: dict[str, Any] = {"min_updates": 25, "epochs": 1, "random_state": 0, "width": 4, "hidden": 5}


def test_noise_trains_and_predictions_are_in_the_mean() -> None:
    made = [oc.ResidualClassifier(depth=2, driver=name, keep=0.6, **SHORT) for name in ("stochastic_depth", "time")]
    noisy, quiet = (each.fit(X, Y) for each in made)
    assert not np.allclose(noisy.predict_proba(X), quiet.predict_proba(X))
    np.testing.assert_array_equal(noisy.predict_proba(X), made[0].fit(X, Y).predict_proba(X))
    noise = noisy.model_.noise
    assert noise is not None
    assert noise.laws[0].mean == pytest.approx(1)
    assert quiet.model_.noise is None
    _, passes = noisy.model_.predict_noisy(torch.tensor(X), samples=8, generator=torch.Generator().manual_seed(0))
    assert passes.mutual_information is not None
    assert float(passes.mutual_information.max()) > 0


def test_a_weight_of_two_is_a_row_twice_with_noise_too() -> None:
    make = lambda: oc.NeuralODERegressor(steps=2, driver="gaussian", **SHORT)  # noqa: E731
    weighted = make().fit(X, X[:, 0], sample_weight=1 + (Y == 1))
    twice = make().fit(np.concatenate([X, X[Y == 1]]), np.concatenate([X[:, 0], X[Y == 1, 0]]))
    np.testing.assert_array_equal(weighted.predict(X), twice.predict(X))


@pytest.mark.parametrize("keep", [0, -0.5, 1.5, "0.5", None])
def test_keep_probabilities_outside_of_0_to_1(keep: Any) -> None:
    with pytest.raises(ConfigError, match=r"keep.*\(0, 1\]"):
        oc.ResidualClassifier(driver="gaussian", keep=keep, **SHORT).fit(X, Y)


def test_drivers_that_an_estimator_has_not() -> None:
    for driver in ("shake_shake", "dropout", None):
        with pytest.raises(ConfigError, match="driver"):
            oc.ResidualClassifier(driver=driver, **SHORT).fit(X, Y)
    with pytest.raises(ConfigError, match="cannot follow noise"):
        oc.NeuralODEClassifier(driver="gaussian", solver="dopri5", **SHORT).fit(X, Y)
