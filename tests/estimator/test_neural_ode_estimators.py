"""What the estimators of neural ODEs have beyond the others: shared controls, adaptive solvers."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, make_moons

from node_oc import NeuralODEClassifier, NeuralODERegressor, ResidualClassifier, load_model
from node_oc.errors import ConfigError, DataError, DivergenceError
from node_oc.system.ode import NeuralODE
from node_oc.trajectory import Solution, Solver

X, Y = make_moons(80, noise=0.1, random_state=0)
QUICK = {"min_updates": 30, "epochs": 1, "random_state": 0}


@pytest.mark.parametrize("controls", ["constant", "polynomial", "chebyshev", "fourier"])
def test_a_control_that_all_steps_share_is_trained_and_predicts(controls: str, tmp_path) -> None:
    model = NeuralODEClassifier(controls=controls, **{**QUICK, "min_updates": 100}).fit(X, Y)
    assert model.score(X, Y) > 0.8
    assert model.depth_ == 6
    assert isinstance(model.model_.network.system, NeuralODE)
    joblib.dump(model, tmp_path / "model")
    np.testing.assert_array_equal(joblib.load(tmp_path / "model").predict_proba(X), model.predict_proba(X))
    cut = model.crop(3)
    assert cut.depth_ == 3
    model.export(tmp_path / "moons", X, onnx=controls == "fourier", torch_export=controls == "fourier")
    out = load_model(tmp_path / "moons")(torch.tensor(X, dtype=torch.float32)).softmax(1)
    np.testing.assert_allclose(out.detach().numpy(), model.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("controls", ["piecewise", "fourier"])
def test_an_adaptive_solver_is_delivered_as_a_table_that_agrees_with_it(controls: str) -> None:
    model = NeuralODEClassifier(controls=controls, solver="bosh3", tolerance=1e-3, steps=2, horizon=8.0,
                                learning_rate=0.05, **QUICK).fit(X, Y)  # fmt: skip
    network = model.model_.network
    x = torch.tensor((X - X.mean(0)) / X.std(0))
    exact = Solution(network, x, Solver("dopri5", 1e-6, 1e-6)).final
    assert float((network(x) - exact).abs().max() / exact.abs().max()) < 3e-3
    assert network.table.name == "rk4"
    assert network.depth % 2 == 0


def test_a_regressor_may_be_solved_adaptively() -> None:
    x, y = load_diabetes(return_X_y=True)
    model = NeuralODERegressor(solver="dopri5", tolerance=1e-3, steps=2, **QUICK).fit(x[:100], y[:100])
    assert np.isfinite(model.predict(x[100:110])).all()


def test_a_field_too_stiff_for_any_table_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node_oc.estimator.continuous.FINEST", 2)
    with pytest.raises(DivergenceError, match="more than 2"):
        NeuralODEClassifier(solver="bosh3", tolerance=1e-3, steps=2, horizon=40.0, learning_rate=0.1, **QUICK).fit(X, Y)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"controls": "fourier", "price": 0.1}, "price=None"),
        ({"solver": "dopri5", "budget": 0.01}, "a table"),
        ({"controls": "fourier", "budget": 0.01}, "budget=None"),
        ({"controls": "splines"}, "one of"),
        ({"controls": "fourier", "functions": 4}, "odd"),
        ({"functions": 0}, "at least 1"),
        ({"solver": "ode45"}, "dopri5"),
        ({"tolerance": 0.0}, "0 < tolerance"),
    ],
)
def test_what_cannot_be_raises(options: dict, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        NeuralODEClassifier(**options, **QUICK).fit(X, Y)


def test_passes_want_a_table() -> None:
    with pytest.raises(ConfigError, match="a table"):
        NeuralODEClassifier(solver="dopri5").partial_fit(X, Y, classes=[0, 1])


def test_a_fit_that_fails_leaves_what_was_fitted() -> None:
    model = NeuralODEClassifier(**QUICK).fit(X, Y)
    before = model.predict_proba(X)
    for x, y in ((X, np.zeros(len(X))), (X[:, :1], np.zeros(len(X)))):
        with pytest.raises(ValueError):
            model.fit(x, y)
    np.testing.assert_array_equal(model.predict_proba(X), before)


def test_held_out_rows_that_cannot_be_are_named() -> None:
    with pytest.raises(ConfigError, match="validation_fraction"):
        NeuralODEClassifier(early_stopping=True, validation_fraction=0.001, **QUICK).fit(X, Y)
    with pytest.raises(ConfigError, match="rarest class"):
        NeuralODEClassifier(early_stopping=True, **QUICK).fit(X, np.append(Y[:-1], 2))


def test_weights_that_overflow_raise() -> None:
    with pytest.raises(DataError, match="Divide"):
        NeuralODEClassifier(**QUICK).fit(X, Y, np.full(len(X), 1e308))


def test_without_a_price_a_residual_classifier_says_so() -> None:
    with pytest.raises(ConfigError, match="price"):
        ResidualClassifier(price=None, **QUICK).fit(X, Y)
