"""Residual networks as estimators."""

from __future__ import annotations

from typing import Any

import torch

from node_oc.discretization.network import Network
from node_oc.estimator.classifier import Classifier
from node_oc.estimator.regressor import Regressor
from node_oc.system.dense import DenseSystem
from node_oc.system.field import Activation


class Residual:
    """x_{k+1} = x_k + F(x_k, u_k), k = 0..depth-1."""

    depth: int
    width: int
    hidden: int
    activation: Activation

    def _network(self, features: int, outputs: int, generator: torch.Generator) -> Network:
        system = DenseSystem(features, outputs, depth=int(self.depth), width=int(self.width), hidden=int(self.hidden),
                             activation=self.activation, generator=generator)  # fmt: skip
        return Network(system)


class ResidualClassifier(Residual, Classifier):
    """A residual network, trained as an optimal control problem, that tells classes apart.

    Args:
        depth: residual steps N at the start; ``depth_`` says how many are left.
        width: state size D.
        hidden: hidden units of a branch.
        activation: "tanh", "relu" or "gelu".
        eps: mass of a soft target off the true class; 0 for ordinary cross-entropy.
        stage_weight: gamma, weight of the stage costs, per unit of time.
        price: lambda, the price of a step: sends idle ones to exactly zero; 0 keeps them all. Not used with ``budget``.
        energy: weight of squared controls, per unit of time.
        driver: what drives a step while training: "time", "stochastic_depth", "branch_dropout", "two_point" or
            "gaussian". Predictions are in the mean; ``model_.predict_noisy`` makes noisy passes.
        keep: survival or keep probability of such a driver, in (0, 1].
        learning_rate: of Adam at the start.
        epochs: passes over the rows.
        min_updates: gradient steps at least; what counts where one batch holds all rows.
        batch: rows per gradient step where the different rows are more than ``full_batch``.
        full_batch: up to so many different rows one batch holds all of them.
        budget: accuracy, a fraction, that may be given up for depth: turns the search on. None trains at the price.
        validation_fraction: share of the rows held out, for ``early_stopping`` and for ``budget``.
        folds: of the cross-validation that judges by the budget where under 200 rows would be held out.
        early_stopping: whether to stop where the loss on held-out rows does not fall, and keep the best weights.
        n_iter_no_change: looks at the held-out rows, one every hundredth of a training, to wait for a lower loss.
        class_weight: None, "balanced", or a mapping of labels to numbers.
        random_state: an integer for the same numbers every time.
        verbose: 1 prints the progress of each training.

    Attributes:
        classes_: labels, sorted.
        depth_: steps that are not exactly zero.
        model_: the trained :class:`node_oc.Model`, float64: raw features to logits.
        n_iter_: updates made.
        loss_curve_: J after each update, of all trainings one after another.
        validation_losses_: loss on the held-out rows at each look, with ``early_stopping``.
        tried_: what each depth lost, with ``budget``.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.
    """

    def __init__(
        self,
        *,
        depth: int = 6,
        width: int = 16,
        hidden: int = 16,
        activation: Activation = "tanh",
        eps: float = 0.1,
        stage_weight: float = 1.0,
        price: float = 0.03,
        energy: float = 0.0,
        driver: str = "time",
        keep: float = 0.8,
        learning_rate: float = 1e-2,
        epochs: int = 30,
        min_updates: int = 300,
        batch: int = 256,
        full_batch: int = 2048,
        budget: float | None = None,
        validation_fraction: float = 0.2,
        folds: int = 5,
        early_stopping: bool = False,
        n_iter_no_change: int = 10,
        class_weight: Any = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.depth = depth
        self.width = width
        self.hidden = hidden
        self.activation = activation
        self.eps = eps
        self.stage_weight = stage_weight
        self.price = price
        self.energy = energy
        self.driver = driver
        self.keep = keep
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.min_updates = min_updates
        self.batch = batch
        self.full_batch = full_batch
        self.budget = budget
        self.validation_fraction = validation_fraction
        self.folds = folds
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.random_state = random_state
        self.verbose = verbose


class ResidualRegressor(Residual, Regressor):
    """A residual network, trained as an optimal control problem, that predicts a number.

    Args:
        depth: residual steps N at the start; ``depth_`` says how many are left.
        width: state size D.
        hidden: hidden units of a branch.
        activation: "tanh", "relu" or "gelu".
        stage_weight: gamma, weight of the stage costs, per unit of time.
        price: lambda, the price of a step: sends idle ones to exactly zero; 0 keeps them all. Not used with ``budget``.
        energy: weight of squared controls, per unit of time.
        driver: what drives a step while training: "time", "stochastic_depth", "branch_dropout", "two_point" or
            "gaussian". Predictions are in the mean; ``model_.predict_noisy`` makes noisy passes.
        keep: survival or keep probability of such a driver, in (0, 1].
        learning_rate: of Adam at the start.
        epochs: passes over the rows.
        min_updates: gradient steps at least; what counts where one batch holds all rows.
        batch: rows per gradient step where the different rows are more than ``full_batch``.
        full_batch: up to so many different rows one batch holds all of them.
        budget: relative loss that may be given up for depth: turns the search on. None trains at the price.
        validation_fraction: share of the rows held out, for ``early_stopping`` and for ``budget``.
        folds: of the cross-validation that judges by the budget where under 200 rows would be held out.
        early_stopping: whether to stop where the loss on held-out rows does not fall, and keep the best weights.
        n_iter_no_change: looks at the held-out rows, one every hundredth of a training, to wait for a lower loss.
        random_state: an integer for the same numbers every time.
        verbose: 1 prints the progress of each training.

    Attributes:
        depth_: steps that are not exactly zero.
        model_: the trained :class:`node_oc.Model`, float64: raw features to the target.
        n_iter_: updates made.
        loss_curve_: J after each update, of all trainings one after another.
        validation_losses_: loss on the held-out rows at each look, with ``early_stopping``.
        tried_: what each depth lost, with ``budget``.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.
    """

    def __init__(
        self,
        *,
        depth: int = 6,
        width: int = 16,
        hidden: int = 16,
        activation: Activation = "relu",
        stage_weight: float = 1.0,
        price: float = 0.1,
        energy: float = 0.1,
        driver: str = "time",
        keep: float = 0.8,
        learning_rate: float = 1e-2,
        epochs: int = 30,
        min_updates: int = 300,
        batch: int = 256,
        full_batch: int = 2048,
        budget: float | None = None,
        validation_fraction: float = 0.2,
        folds: int = 5,
        early_stopping: bool = False,
        n_iter_no_change: int = 10,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.depth = depth
        self.width = width
        self.hidden = hidden
        self.activation = activation
        self.stage_weight = stage_weight
        self.price = price
        self.energy = energy
        self.driver = driver
        self.keep = keep
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.min_updates = min_updates
        self.batch = batch
        self.full_batch = full_batch
        self.budget = budget
        self.validation_fraction = validation_fraction
        self.folds = folds
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.random_state = random_state
        self.verbose = verbose
