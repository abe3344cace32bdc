"""A network with what it needs to be used on raw data: standardisation in, classes or units out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from node_oc.data.split import Scale, Split
from node_oc.diagnosis.uncertainty import Predictive, monte_carlo
from node_oc.discretization.network import Network
from node_oc.discretization.noise import Noise
from node_oc.discretization.noise_spec import noise_from, noise_spec
from node_oc.errors import ConfigError, ShapeError, StoreError
from node_oc.inference.early_exit import DropAt, EarlyExit
from node_oc.inference.scaled import Scaled
from node_oc.policies import Policy, policy_from


class Model(Scaled):
    """Raw features (B, D) to logits (B, K), or to a target in its own units (B, 1) in regression.

    Args:
        network: the trained network.
        x_scale: how raw features became the network's inputs.
        y_scale: how raw targets became the network's targets; None in classification.
        meta: task, class names and feature names, JSON-able; and, where there are any, the noise of the training and
            the policy of early exit under "stopping".
    """

    def __init__(self, network: Network, x_scale: Scale, y_scale: Scale | None, meta: dict[str, Any]) -> None:
        super().__init__(network, x_scale, y_scale)
        self.meta = meta

    @classmethod
    def of(cls, network: Network, split: Split, noise: Noise | None = None) -> Model:
        """A network with the standardisation and the names of the data that it was trained on, and the noise."""
        meta = {"task": split.task, "classes": list(split.classes), "features": list(split.features)}
        return cls(network, split.x_scale, split.y_scale, {**meta, **noise_meta(noise)})

    def description(self) -> dict[str, Any]:
        """Everything but the tensors, as a file has it: the network's spec and ``meta``.

        Raises:
            StoreError: a field, lift or head that a file cannot describe.
        """
        network = self.network.spec()
        if '"kind": "custom"' in json.dumps(network):
            raise StoreError("model", got="a field, lift or head that a file cannot describe",
                             expected="parts that load_model can build again",
                             do="Give a field a spec and enter it with node_oc.register_field; take nn.Linear, Pad or "
                             "Coordinates as lift and head; or keep the state_dict.")  # fmt: skip
        return {"network": network, **self.meta}

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], description: Mapping[str, Any], stem: str | Path) -> Model:
        """A model from its ``state_dict`` and :meth:`description`; in evaluation mode.

        Args:
            tensors: all of them, by name.
            description: keys that are not known here are left out.
            stem: of the files, for errors.

        Raises:
            StoreError: the two do not belong together, or are no model's.
        """
        try:
            network = Network.from_spec(description["network"])
            network.to(
                next(
                    (t.dtype for name, t in tensors.items() if name.startswith("network.") and t.is_floating_point()),
                    torch.float32,
                )
            )
            y_scale = Scale(tensors["y_mean"], tensors["y_std"]) if "y_mean" in tensors else None
            names: dict[str, Any] = {key: description[key] for key in ("task", "classes", "features")}
            # Files of earlier versions have none.
            names |= {key: description[key] for key in ("noise", "stopping") if key in description}
            model = cls(network, Scale(tensors["x_mean"], tensors["x_std"]), y_scale, names)
            model.load_state_dict(dict(tensors))
        except (KeyError, RuntimeError, ConfigError) as error:
            raise StoreError(str(stem), got=str(error).splitlines()[0], expected="a model written by node_oc",
                             do="The two files do not belong together; export the model again.") from error  # fmt: skip
        return model.eval()

    @property
    def noise(self) -> Noise | None:
        """What drove the steps while training, without draws; None where it was time.

        Raises:
            StoreError: a description that this version does not understand.
        """
        spec = self.meta.get("noise")
        return None if spec is None else noise_from(spec)

    @property
    def policy(self) -> Policy | None:
        """When a sample stops, where the model has been taught to stop early; None elsewhere.

        Raises:
            StoreError: a description that this version does not understand.
        """
        stopping = self.meta.get("stopping")
        return None if stopping is None else policy_from(stopping["policy"])

    def early_exit(self, drop_at: DropAt | None = None) -> EarlyExit:
        """The model as one that stops each sample when its policy says so.

        Args:
            drop_at: see :class:`EarlyExit`.

        Raises:
            ConfigError: the model has no policy.
        """
        policy = self.policy
        if policy is None:
            raise ConfigError("policy of the model", got="none: it never learnt when to stop",
                              expected="a model that `node-oc stop` wrote",
                              do="Fit a policy first: node-oc stop RUN; or give EarlyExit one.")  # fmt: skip
        return EarlyExit(self, policy, drop_at)

    @torch.no_grad()
    def predict(self, x: Tensor) -> tuple[list[str] | list[float], Tensor]:
        """Labels as text and probabilities (B, K), or target values and an empty tensor in regression.

        Raises:
            ShapeError: another number of features than the model was trained on.
        """
        self._check(x)
        out = self(x.to(self.x_mean.device))
        if self.meta["task"] == "regression":
            return out[:, 0].tolist(), out[:, :0]
        return self._labels(out), out.softmax(1)

    def predict_early(self, x: Tensor) -> tuple[list[str] | list[float], Tensor, list[int]]:
        """Predict as :meth:`predict`, each sample with as many layers as it needs, and say how many: depths k.

        Raises:
            ShapeError: another number of features than the model was trained on.
            ConfigError: the model has no policy.
        """
        early = self.early_exit()
        self._check(x)
        out, depths = early(x.to(self.x_mean.device))
        if self.meta["task"] == "regression":
            return out[:, 0].tolist(), out[:, :0], depths.tolist()
        return self._labels(out), out.softmax(1), depths.tolist()

    @torch.no_grad()
    def predict_noisy(
        self, x: Tensor, *, samples: int = 100, generator: torch.Generator, noise: Noise | None = None,
        antithetic: bool = False,
    ) -> tuple[list[str] | list[float], Predictive]:  # fmt: skip
        """Predict by S noisy passes: labels as text or target values, and the passes' mean and spread.

        Mean and deviation of a regression are in the target's own units.

        Args:
            x: raw features (n, D).
            samples: S.
            generator: see :func:`node_oc.diagnosis.uncertainty.passes`.
            noise: what drives the steps; that of the training if None.
            antithetic: see :func:`node_oc.diagnosis.uncertainty.passes`.

        Raises:
            ShapeError: another number of features than the model was trained on.
            ConfigError: no noise, in the model or given; or a number of passes that will not do.
        """
        self._check(x)
        noise = noise or self.noise
        if noise is None:
            raise ConfigError("noise of the model", got="none: it was trained without",
                              expected="a noise to predict by",
                              do="Train with one, --driver stochastic_depth; or give one that it never met, on the "
                              "command line with --driver and --keep.")  # fmt: skip
        z = self.standardised(x.to(self.x_mean.device))
        found = monte_carlo(self.network, z, noise, self.meta["task"], samples=samples, generator=generator,
                            antithetic=antithetic)  # fmt: skip
        if self.meta["task"] != "regression":
            return self._labels(found.mean), found
        if self.y_mean is not None and self.y_std is not None:
            found = replace(found, mean=found.mean * self.y_std + self.y_mean, deviation=found.deviation * self.y_std)
        return found.mean[:, 0].tolist(), found

    def _check(self, x: Tensor) -> None:
        features = len(self.meta["features"])
        if x.dim() != 2 or x.shape[1] != features:
            raise ShapeError("features", got=tuple(x.shape), expected=f"(samples, {features})",
                             do=f"Give the columns {self.meta['features'][:8]} in this order.")  # fmt: skip

    def _labels(self, out: Tensor) -> list[str]:
        return [self.meta["classes"][i] for i in out.argmax(1).tolist()]


def noise_meta(noise: Noise | None) -> dict[str, Any]:
    """What the description of a model says of its noise: nothing where there was none."""
    return {} if noise is None else {"noise": noise_spec(noise)}
