"""The estimators in the hands of a user of scikit-learn: labels, tables, pipelines, searches, processes, files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from scipy.special import softmax
from sklearn.base import clone
from sklearn.datasets import load_iris, make_moons
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import node_oc as oc

SMALL: dict[str, Any] = {"width": 8, "hidden": 8, "min_updates": 40, "learning_rate": 4e-2, "random_state": 0}
X, Y = load_iris(return_X_y=True)
NAMES = load_iris().target_names[Y]
MODEL = oc.ResidualClassifier(depth=3, **SMALL).fit(X, NAMES)


def test_labels_are_strings_and_probabilities_are_in_their_order() -> None:
    assert MODEL.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert MODEL.score(X, NAMES) > 0.9
    proba = MODEL.predict_proba(X)
    np.testing.assert_allclose(proba.sum(1), 1)
    assert (MODEL.classes_[proba.argmax(1)] == MODEL.predict(X)).all()


def test_a_table_keeps_its_names() -> None:
    table = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    model = clone(MODEL).fit(table, pd.Series(NAMES))
    assert model.feature_names_in_.tolist() == ["a", "b", "c", "d"] == model.model_.meta["features"]
    np.testing.assert_array_equal(model.predict_proba(table), MODEL.predict_proba(X))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(table[["b", "a", "c", "d"]])


def test_what_is_built_on_estimators_works() -> None:
    search = GridSearchCV(clone(MODEL), {"depth": [1, 2]}, cv=2).fit(X, NAMES)
    assert search.best_score_ > 0.9
    assert cross_val_score(make_pipeline(StandardScaler(), clone(MODEL)), X, NAMES, cv=2).mean() > 0.9


def test_other_threads_train_the_same() -> None:
    """Other processes too, which take longer to start: `make estimators`."""
    default = torch.get_default_dtype()
    with joblib.parallel_config(backend="threading"):
        scores = cross_val_score(clone(MODEL), X, NAMES, cv=2, n_jobs=2)
    np.testing.assert_array_equal(scores, cross_val_score(clone(MODEL), X, NAMES, cv=2))
    assert torch.get_default_dtype() == default == torch.float32


def test_a_fitted_estimator_survives_joblib(tmp_path: Path) -> None:
    joblib.dump(MODEL, tmp_path / "model")
    for again in (joblib.load(tmp_path / "model"), pickle.loads(pickle.dumps(MODEL))):  # noqa: S301
        np.testing.assert_array_equal(again.predict_proba(X), MODEL.predict_proba(X))
        again.partial_fit(X, NAMES)


def test_the_same_random_state_is_the_same_network() -> None:
    again = clone(MODEL).fit(X, NAMES)
    np.testing.assert_array_equal(again.predict_proba(X), MODEL.predict_proba(X))
    assert (clone(MODEL).set_params(random_state=1).fit(X, NAMES).predict_proba(X) != MODEL.predict_proba(X)).any()


def test_many_rows_are_trained_in_batches() -> None:
    model = clone(MODEL).set_params(full_batch=50, batch=32, epochs=5, min_updates=0).fit(X, NAMES)
    rows = len(np.unique(np.column_stack([X, Y]), axis=0))
    assert model.n_iter_ == 5 * (rows // 32) == len(model.loss_curve_)


# -- depth ---------------------------------------------------------------------------------------------------


def test_the_depth_counts_steps_that_are_not_zero_and_crop_drops_the_others() -> None:
    model = oc.ResidualClassifier(depth=4, price=0.3, **{**SMALL, "min_updates": 100}).fit(X, NAMES)
    zero = model.model_.network.zero_steps()
    assert zero
    assert model.depth_ == 4 - len(zero)
    small = model.crop()
    assert small.model_.network.depth == small.depth_ == model.depth_
    np.testing.assert_array_equal(small.predict_proba(X), model.predict_proba(X))
    assert oc.ResidualClassifier(depth=4, price=0.0, **SMALL).fit(X, NAMES).depth_ == 4


def test_crop_cuts_a_copy() -> None:
    model = oc.NeuralODEClassifier(steps=3, price=0.0, **SMALL).fit(X, NAMES)
    before = model.predict_proba(X)
    assert [model.crop(m).depth_ for m in range(4)] == [0, 1, 2, 3]
    np.testing.assert_array_equal(model.predict_proba(X), before)
    model.crop(1).partial_fit(X, NAMES)
    with pytest.raises(oc.ShapeError, match="depth"):
        model.crop(4)


def test_a_neural_ode_has_its_horizon_and_its_table() -> None:
    network = oc.NeuralODERegressor(steps=4, horizon=2.0, solver="rk4", price=0, **SMALL).fit(X, Y).model_.network
    assert (network.grid.h, network.table.name) == ((0.5,) * 4, "rk4")


# -- early stopping, passes, progress ------------------------------------------------------------------------


def test_early_stopping_keeps_the_best_weights() -> None:
    x, y = make_moons(100, noise=0.4, random_state=0)
    model = oc.ResidualClassifier(depth=2, price=0, early_stopping=True, n_iter_no_change=3,
                                  **{**SMALL, "min_updates": 400})  # fmt: skip
    model.fit(x, y)
    assert model.n_iter_ < 400
    best = int(np.argmin(model.validation_losses_))
    assert best == len(model.validation_losses_) - 4  # three looks in vain after it
    again = clone(model).set_params(n_iter_no_change=1000).fit(x, y)
    assert again.n_iter_ == 400
    assert min(again.validation_losses_) <= model.validation_losses_[best]


def test_early_stopping_ends_both_trainings_at_a_price() -> None:
    model = oc.ResidualRegressor(depth=2, early_stopping=True, n_iter_no_change=2, **{**SMALL, "min_updates": 300})
    assert model.fit(X, Y).n_iter_ < 300
    assert model.score(X, Y) > 0.8


def test_passes_learn_what_a_fit_learns() -> None:
    model = oc.ResidualClassifier(depth=2, **SMALL)
    for _ in range(40):
        model.partial_fit(X, NAMES, classes=np.unique(NAMES))
    assert model.n_iter_ == 40
    assert model.score(X, NAMES) > 0.9
    regressor = oc.ResidualRegressor(depth=2, full_batch=0, batch=16, **SMALL)
    for _ in range(10):
        regressor.partial_fit(X, Y)
    assert regressor.score(X, Y) > 0.8


def test_a_pass_after_a_fit_keeps_its_standardisation_and_its_depth() -> None:
    model = clone(MODEL).fit(X, NAMES)
    mean, depth, updates = model.model_.x_mean.clone(), model.depth_, model.n_iter_
    model.partial_fit(X[:50] + 1, NAMES[:50])
    assert torch.equal(model.model_.x_mean, mean)
    assert (model.depth_, model.n_iter_) == (depth, updates + 1)


def test_progress_is_told_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    clone(MODEL).fit(X, NAMES)
    assert capsys.readouterr().out == ""
    clone(MODEL).set_params(verbose=1).fit(X, NAMES)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("[ResidualClassifier] fit-refit 12/12  J ")


# -- the budget ----------------------------------------------------------------------------------------------


def test_a_budget_finds_a_depth_on_held_out_rows() -> None:
    x, y = make_moons(900, noise=0.1, random_state=0)
    model = oc.ResidualClassifier(depth=3, budget=0.05, validation_fraction=0.25, **SMALL).fit(x, y)
    inside = [tried.depth for tried in model.tried_ if tried.excess <= tried.allowed]
    assert model.depth_ == min(inside) == model.model_.network.depth
    assert model.score(x, y) > 0.8


@pytest.mark.parametrize("kind", [oc.ResidualClassifier, oc.ResidualRegressor])
def test_few_rows_are_cross_validated(kind: Any) -> None:
    model = kind(depth=2, budget=0.1, folds=3, **SMALL).fit(X, Y)
    inside = {tried.depth: tried.excess <= tried.allowed for tried in model.tried_}
    assert model.depth_ == min([m for m, fine in inside.items() if fine], default=2)
    assert model.score(X, Y) > 0.8
    assert model.n_iter_ > 4 * 40  # three folds and the whole, and what was healed


def test_depth_that_is_needed_is_not_given_up() -> None:
    x, y = make_moons(200, noise=0.1, random_state=0)  # no line separates them
    model = oc.ResidualClassifier(depth=2, budget=0.01, folds=2, **{**SMALL, "min_updates": 100}).fit(x, y)
    assert model.depth_ >= 1
    assert next(tried for tried in model.tried_ if tried.depth == 0).excess > 0.03


# -- files ---------------------------------------------------------------------------------------------------


def test_an_onnx_file_gives_the_probabilities(tmp_path: Path) -> None:
    exported = MODEL.export(tmp_path / "iris", X[:20], torch_export=False)
    assert max(exported.parity.values()) < 1e-5
    session = onnxruntime.InferenceSession(str(tmp_path / "iris.onnx"), providers=["CPUExecutionProvider"])
    logits = session.run(None, {"x": X.astype(np.float32)})[0]
    np.testing.assert_allclose(softmax(logits, axis=1), MODEL.predict_proba(X), atol=1e-5)
    again = oc.load_model(tmp_path / "iris")
    assert again.predict(torch.tensor(X))[0] == MODEL.predict(X).tolist()


# -- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (oc.ResidualClassifier, {"depth": 0}), (oc.ResidualClassifier, {"depth": 2.5}),
        (oc.ResidualClassifier, {"activation": "sine"}), (oc.ResidualClassifier, {"eps": 1.0}),
        (oc.ResidualClassifier, {"price": -1.0}), (oc.ResidualClassifier, {"learning_rate": 0.0}),
        (oc.ResidualClassifier, {"class_weight": "even"}), (oc.ResidualClassifier, {"budget": 1.0}),
        (oc.ResidualClassifier, {"budget": 0.1, "folds": 60}), (oc.NeuralODEClassifier, {"solver": "magic"}),
        (oc.ResidualClassifier, {"budget": 0.1, "early_stopping": True}), (oc.NeuralODERegressor, {"horizon": 0.0}),
        (oc.ResidualRegressor, {"energy": float("nan")}),
    ],
)  # fmt: skip
def test_parameters_out_of_range_are_named(kind: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(oc.ConfigError, match=list(wrong)[-1]):
        kind(**wrong).fit(X, Y)


def test_passes_refuse_what_they_cannot_do() -> None:
    for kind, arguments, word in [
        ({"early_stopping": True}, {}, "partial_fit"), ({"budget": 0.1}, {}, "partial_fit"),
        ({"class_weight": "balanced"}, {"classes": [0, 1, 2]}, "class_weight"), ({}, {}, "classes"),
        ({}, {"classes": [0, 1]}, "labels"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=word):
            oc.ResidualClassifier(**kind).partial_fit(X, Y, **arguments)
    with pytest.raises(oc.DataError, match="classes"):
        clone(MODEL).fit(X, NAMES).partial_fit(X, NAMES, classes=["a", "b"])


def test_nothing_is_told_before_a_fit(tmp_path: Path) -> None:
    model = oc.ResidualClassifier()
    for ask in (lambda: model.predict(X), lambda: model.depth_, model.crop, lambda: model.export(tmp_path / "m", X)):
        with pytest.raises(NotFittedError):
            ask()
    with pytest.raises(oc.DataError, match="1 class"):
        model.fit(X[:50], Y[:50])
