"""What an estimator is once it is fitted: its depth, its outputs, a cut of it, its files."""

from __future__ import annotations

import copy
from abc import ABC
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from node_oc.cropping import awake_steps, crop, first_steps
from node_oc.data.split import Task
from node_oc.diagnosis.loss import outputs
from node_oc.discretization.network import Network
from node_oc.discretization.noise import Noise
from node_oc.errors import ShapeError
from node_oc.estimator.inputs import Array
from node_oc.estimator.parts import Scales
from node_oc.exporting import Exported, export
from node_oc.inference import Model, noise_meta


class Fitted(BaseEstimator, ABC):
    """A trained network behind the interface of scikit-learn.

    Attributes:
        model_: raw features to logits or units, a :class:`node_oc.Model` in float64.
    """

    _task: ClassVar[Task]
    model_: Model
    _moments: dict[str, Any] | None

    @property
    def depth_(self) -> int:
        """Steps of the trained network that are not exactly zero."""
        check_is_fitted(self, "model_")
        return len(awake_steps(self.model_.network))

    def crop(self, depth: int | None = None) -> Self:
        """A fitted estimator of fewer steps; this one is left as it is.

        Args:
            depth: keep the first so many of the steps that are not zero, 0..depth_; nothing is trained on. None drops
                the zero steps alone, which changes no prediction.

        Raises:
            ShapeError: a depth that the network does not have.
        """
        check_is_fitted(self, "model_")
        network = self.model_.network
        if depth is not None and not 0 <= depth <= self.depth_:
            raise ShapeError("depth", got=depth, expected=f"0..{self.depth_} (steps that are not zero)",
                             do="Choose a depth that the network has.")  # fmt: skip
        small = copy.deepcopy(self)
        small.model_.network = crop(network) if depth is None else crop(network, steps=first_steps(network, depth))
        small._moments = None
        return small

    def export(self, stem: str | Path, X: Any, *, onnx: bool = True, torch_export: bool = True) -> Exported:
        """Write the network, its zero steps dropped, its weights in float32: see :func:`node_oc.export`.

        The files take raw features and give logits, whose softmax are the probabilities in the order of ``classes_``,
        or targets in their own units.

        Args:
            stem: path without ending.
            X: some rows of features, for tracing and for the parity check.
            onnx: whether to write an ONNX file.
            torch_export: whether to write a torch.export program.

        Raises:
            StoreError: a file cannot be written, or ONNX disagrees with torch.
        """
        x = torch.tensor(self._features(X))
        model = copy.deepcopy(self.model_)
        model.network = crop(model.network).float()
        return export(model, stem, x, onnx=onnx, torch_export=torch_export)

    def _features(self, X: Any) -> Array:
        check_is_fitted(self, "model_")
        return validate_data(self, X, reset=False, dtype=np.float64, order="C")

    def _outputs(self, X: Any) -> torch.Tensor:
        """Outputs of the model, (n, K), float64."""
        x = torch.tensor(self._features(X))  # a copy: torch warns of arrays that cannot be written
        return outputs(self.model_, x)

    def _keep(self, network: Network, scales: Scales, noise: Noise | None) -> None:
        names = getattr(self, "feature_names_in_", [f"x{i}" for i in range(self.n_features_in_)])
        meta = {"task": self._task, "classes": [str(c) for c in getattr(self, "classes_", ())],
                "features": [str(name) for name in names]}  # fmt: skip
        self._scales = scales
        self.model_ = Model(network, scales.x, scales.y, {**meta, **noise_meta(noise)}).eval()
