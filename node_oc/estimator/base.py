"""What all estimators share: check, merge, standardise, train, at a price or by a budget."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from node_oc.config import TrainingSection
from node_oc.discretization.network import Network
from node_oc.estimator.checks import check_parameters
from node_oc.estimator.fitted import Fitted
from node_oc.estimator.inputs import Array, Rows, merged, sample_weights
from node_oc.estimator.partial import one_pass
from node_oc.estimator.parts import Scales
from node_oc.estimator.select import LEAST_VALIDATION, Searching, Tried, by_folds, by_validation, two_parts
from node_oc.estimator.train import one_process, train
from node_oc.problem.cost import Cost
from node_oc.problem.ocp import Problem
from node_oc.problem.weighted import Weighted
from node_oc.seeds import derived_generator
from node_oc.system.field import Activation
from node_oc.training.driver import noise_of
from node_oc.training.info import Info


class Estimator(Fitted):
    """A network behind the interface of scikit-learn. What it learns from, and its network, are a subclass's business.

    Attributes:
        n_iter_: updates made.
        loss_curve_: J after each update, of all trainings one after another.
        validation_losses_: loss on the held-out rows at each look, with ``early_stopping``.
        tried_: what each depth lost, with ``budget``.
    """

    activation: Activation
    width: int
    hidden: int
    stage_weight: float
    price: Any
    energy: float
    driver: str
    keep: float
    learning_rate: float
    epochs: int
    min_updates: int
    batch: int
    full_batch: int
    budget: float | None
    validation_fraction: float
    folds: int
    early_stopping: bool
    n_iter_no_change: int
    random_state: Any
    verbose: int

    n_iter_: int
    loss_curve_: list[float]
    validation_losses_: list[float]
    tried_: list[Tried]

    @abstractmethod
    def _network(self, features: int, outputs: int, generator: torch.Generator) -> Network:
        """An untrained network. All that the trainings and the search ask of it is that it is one."""

    @property
    def _price(self) -> float:
        return float(self.price)

    def _solved_by(self) -> dict[str, Any]:
        """What of the training options names an adaptive solver; nothing with a table."""
        return {}

    def _delivered(self, network: Network, x: torch.Tensor) -> Network:
        """The network that predicts, from the one that was trained and the standardised rows (n, D)."""
        return network

    @abstractmethod
    def _cost(self, outputs: int) -> Cost:
        """The cost of the output and of every hidden state's readout."""

    @abstractmethod
    def _targets(self, y: NDArray[Any]) -> tuple[Array, int]:
        """Targets as numbers, and the size of a readout; learns the classes."""

    @abstractmethod
    def _counted(self, rows: Rows) -> Rows:
        """The rows with the weights of their classes."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train from scratch; where that fails, the estimator is as it was.

        Args:
            X: features, (n, D), an array or a table of numbers.
            y: class labels or targets, (n,).
            sample_weight: how much each row counts, (n,); a row of weight 2 is a row that is there twice.

        Raises:
            NodeOCError: a parameter out of range, one class alone, weights that are all zero.
            ValueError: features or targets that scikit-learn refuses.
        """
        before = dict(self.__dict__)
        try:
            return self._learn(X, y, sample_weight)
        except BaseException:  # what was fitted before is as it was
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _learn(self, X: Any, y: Any, sample_weight: Any) -> Self:
        check_parameters(self)
        x, y = self._validated(X, y, reset=True)
        weight = sample_weights(sample_weight, x)
        counts = weight > 0
        target, size = self._targets(y[counts])
        # Merged before classes weigh in: a weight times 3 is not to the last bit the sum of three of them.
        rows = self._counted(merged(x[counts], target, weight[counts]))
        self._begin()
        if self.early_stopping or (
            self.budget is not None and self.validation_fraction * len(rows) >= LEAST_VALIDATION
        ):
            rows, held = two_parts(rows, self._task == "classification", self.validation_fraction, self._seed)
        else:
            held = None
        scales, options = Scales.of(rows, self._task), self._options(len(rows))
        network: Network
        if self.budget is not None:
            searching = Searching(
                self._problem(size, 0.0), options, float(self.budget), size, lambda: self._fresh(x.shape[1], size),
                self._seed, self._progress, one_process(),
            )  # fmt: skip
            if held is None:
                network, self.tried_ = by_folds(searching, rows, scales, self.folds)
            else:
                network, self.tried_ = by_validation(searching, rows, held, scales)
        else:
            network = self._fresh(x.shape[1], size)
            stopped = train(network, self._problem(size, self._price), scales.weighted(rows), options, self._progress,
                            None if held is None else scales.weighted(held), int(self.n_iter_no_change))  # fmt: skip
            if stopped is not None:
                self.validation_losses_ = stopped.losses
            network = self._delivered(network, scales.weighted(rows).x)
        self._keep(network, scales, noise_of(options))
        return self

    # -- what is shared below the surface ------------------------------------------------------------------------

    def _validated(self, X: Any, y: Any, reset: bool) -> tuple[Array, NDArray[Any]]:
        return validate_data(self, X, y, reset=reset, dtype=np.float64, y_numeric=self._task == "regression")

    def _begin(self) -> None:
        self._seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        self.n_iter_, self.loss_curve_ = 0, []
        self._moments = None
        for name in ("tried_", "validation_losses_"):  # of a fit before, with other parameters
            self.__dict__.pop(name, None)

    def _options(self, rows: int) -> TrainingSection:
        """Full batches in float64 where the rows fit one, otherwise batches, in float64 too."""
        more: dict[str, Any] = {"driver": self.driver, **self._solved_by()}
        return TrainingSection(
            epochs=int(self.epochs), min_updates=int(self.min_updates), learning_rate=float(self.learning_rate),
            batch=0 if rows <= self.full_batch else int(self.batch), precision="64-true", seed=self._seed,
            driver_keep=float(self.keep), **more,
        )  # fmt: skip

    def _problem(self, size: int, price: float) -> Problem:
        cost = Weighted(self._cost(size), indices=self._task == "classification")
        return Problem(cost, cost, float(self.stage_weight), float(self.energy), float(price))

    def _fresh(self, features: int, size: int) -> Network:
        return self._network(features, size, derived_generator(self._seed, "weights")).double()

    def _pass(self, X: Any, y: NDArray[Any], weight: Array, size: int) -> None:
        """One pass over checked rows; the first one of all makes the network and learns the standardisation."""
        rows = Rows(X, y.astype(np.float64), weight)
        if not hasattr(self, "model_"):
            self._begin()
            noise = noise_of(self._options(len(rows)))
            self._keep(self._fresh(X.shape[1], size), Scales.of(rows, self._task), noise)
        part = self._scales.weighted(rows, scaled=False)
        self._moments = one_pass(self.model_.network, self._problem(size, 0.0), part, self._options(len(rows)),
                                 self._moments, self.n_iter_, one_process(), self._progress)  # fmt: skip

    def _progress(self, name: str, update: int, updates: int, info: Info) -> None:
        self.n_iter_ += 1
        self.loss_curve_.append(info.objective)
        if self.verbose and (update == updates or update % max(1, updates // 10) == 0):
            print(f"[{type(self).__name__}] {name} {update}/{updates}  J {info.objective:.4g}  "
                  f"steps {info.awake_steps}", flush=True)  # fmt: skip
