"""A weight of 2 is a repeated row, a weight of 0 a removed one: to the last bit, with every way of weighing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import make_classification, make_regression

import node_oc as oc
from node_oc.estimator.inputs import class_weights, merged, weighted_scale
from node_oc.problem import SoftCrossEntropy
from node_oc.problem.weighted import Weighted, with_weights

SMALL: dict[str, Any] = {"width": 6, "hidden": 6, "min_updates": 25, "random_state": 0}
X, Y = make_classification(40, 5, random_state=0)
X_NUMBERS, Y_NUMBERS = make_regression(40, 5, random_state=0)
WEIGHT = np.random.default_rng(0).integers(0, 4, 40)
CASES = [
    (oc.ResidualClassifier(depth=3, **SMALL), X, Y),
    (oc.NeuralODEClassifier(steps=2, class_weight="balanced", **SMALL), X, Y),
    (oc.ResidualClassifier(depth=2, class_weight={0: 0.1, 1: 0.7}, **SMALL), X, Y),
    (oc.ResidualRegressor(depth=3, **SMALL), X_NUMBERS, Y_NUMBERS),
    (oc.NeuralODERegressor(steps=2, price=0.0, **SMALL), X_NUMBERS, Y_NUMBERS),
]


@pytest.mark.parametrize(("estimator", "x", "y"), CASES, ids=lambda v: type(v).__name__ if hasattr(v, "fit") else "")
def test_weights_are_repeated_and_removed_rows(estimator: Any, x: Any, y: Any) -> None:
    weighted = estimator.fit(x, y, sample_weight=WEIGHT)._outputs(x)
    order = np.random.default_rng(1).permutation(WEIGHT.sum())
    repeated = estimator.fit(x.repeat(WEIGHT, axis=0)[order], y.repeat(WEIGHT)[order])._outputs(x)
    assert torch.equal(weighted, repeated)
    assert not torch.equal(weighted, estimator.fit(x, y)._outputs(x))  # the weights do matter


def test_weights_that_are_no_integers_count_by_their_ratio() -> None:
    model = oc.ResidualClassifier(depth=2, **SMALL)
    one = model.fit(X, Y, sample_weight=WEIGHT).predict_proba(X)
    np.testing.assert_allclose(model.fit(X, Y, sample_weight=0.37 * WEIGHT).predict_proba(X), one, atol=1e-6)


def test_a_class_weight_is_the_weight_of_its_rows() -> None:
    by_class = oc.ResidualClassifier(depth=2, class_weight={0: 3}, **SMALL).fit(X, Y).predict_proba(X)
    by_row = oc.ResidualClassifier(depth=2, **SMALL).fit(X, Y, sample_weight=np.where(Y == 0, 3, 1)).predict_proba(X)
    np.testing.assert_array_equal(by_class, by_row)


def test_balanced_classes_weigh_the_same_in_all() -> None:
    index, weight = np.array([0, 0, 0, 1, 2, 2]), np.array([1.0, 2.0, 3.0, 4.0, 0.5, 0.5])
    total = np.bincount(index, weight * class_weights("balanced", np.arange(3), index, weight)[index])
    np.testing.assert_allclose(total, weight.sum() / 3)


def test_merged_rows_are_sorted_and_negative_zero_is_zero() -> None:
    rows = merged(np.array([[2.0], [0.0], [-0.0], [9.0]]), np.array([1, 0, 0, 1]), np.array([1.0, 2.0, 3.0, 0.0]))
    assert (rows.x.tolist(), rows.y.tolist(), rows.weight.tolist()) == ([[0.0], [2.0]], [0.0, 1.0], [5.0, 1.0])


def test_the_standardisation_is_that_of_the_repeated_rows() -> None:
    repeated = X.repeat(WEIGHT, axis=0)
    scale = weighted_scale(X, WEIGHT.astype(float))
    np.testing.assert_allclose(scale.mean, repeated.mean(0), rtol=1e-12)
    np.testing.assert_allclose(scale.std, repeated.std(0), rtol=1e-12)
    constant = weighted_scale(np.full((3, 1), 0.1), np.array([1.0, 2.0, 4.0]))
    assert (float(constant.mean[0]), float(constant.std[0])) == (0.1, 1.0)


@pytest.mark.parametrize("indices", [True, False])
def test_a_weighted_cost_is_the_cost_times_the_weight(indices: bool) -> None:
    cost: Any = SoftCrossEntropy(3) if indices else oc.SquaredError()
    g = torch.Generator().manual_seed(0)
    readout, weight = torch.randn(2, 4, 3, generator=g), torch.tensor([1.0, 3.0, 0.0, 4.0])
    target = torch.tensor([0, 2, 1, 1]) if indices else torch.randn(4, 3, generator=g)
    packed = with_weights(target, weight)
    torch.testing.assert_close(packed[:, -1], weight / 2)  # of mean 1
    weighted = Weighted(cost, indices)
    torch.testing.assert_close(weighted(readout, packed), cost(readout, target) * weight / 2)
    assert weighted.least == cost.least


@pytest.mark.parametrize("weight", [[0.0, 0.0], [1.0, -1.0], [float("nan"), 1.0]])
def test_weights_that_weigh_nothing_are_refused(weight: list[float]) -> None:
    with pytest.raises(oc.DataError, match="weights"):
        with_weights(torch.tensor([0, 1]), torch.tensor(weight))
    with pytest.raises(ValueError, match="weight"):
        oc.ResidualClassifier().fit([[0.0], [1.0]], [0, 1], sample_weight=weight)


def test_a_class_weight_of_a_label_that_does_not_exist_is_told() -> None:
    with pytest.raises(oc.ConfigError, match="class_weight"):
        oc.ResidualClassifier(class_weight={"zero": 2, 1: 1}).fit(X, Y)


def test_rows_of_a_pass_count_by_their_weight_as_it_is() -> None:
    """A stream has no mean weight: a pass at weight 0.5 has half the gradient of the first cost, not the same."""
    losses = [oc.ResidualRegressor(stage_weight=0, energy=0, **SMALL).partial_fit(X_NUMBERS, Y_NUMBERS, weight)
              .loss_curve_[0] for weight in (np.full(40, 0.5), None)]  # fmt: skip
    assert losses[0] == pytest.approx(losses[1] / 2)
