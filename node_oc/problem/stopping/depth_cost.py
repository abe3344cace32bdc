"""L_depth: the expected cost of a network that stops each sample when going on no longer pays (our formulation)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from node_oc.errors import ConfigError, ShapeError
from node_oc.problem.cost import Cost
from node_oc.problem.path_cost import PathCost
from node_oc.problem.stopping.features import readout_features
from node_oc.problem.stopping.law import stopping_gain, stopping_law
from node_oc.trajectory.rollout import Trajectory

HOT = 10.0  # times the last temperature is the first


@dataclass(frozen=True)
class DepthCost(PathCost):
    """L_depth = mean over samples of sum_k pi_k (L(yhat_k, y) + c k), pi the soft stopping law of :func:`stopping_law`.

    The paper's L_depth could not be read (arXiv 2506.16862; theory, section 4): this is our formulation of its idea.
    The law is regressed on the batch, anew in every step, from what the readouts show without the labels; it is held
    while J is differentiated, so that every sample trains the depths at which it would stop. A law that is optimal
    makes that the whole gradient: what it changes itself is of second order (envelope theorem). k counts awake steps.
    On several devices each fits the law to its own samples.

    Attributes:
        cost: L; also what costates and gradients differentiate.
        layer: c > 0, cost of a layer in the units of L.
        temperature: tau at the end of a training, and outside of one, in the units of L; a training begins at ten times
            that, and cools geometrically.
        weight: of L_depth in J.
        attached: whether the gradient flows through the features into the law too.
        progress: 0 to 1: where in a training this is.

    Raises:
        ConfigError: a number out of range.
    """

    cost: Cost
    layer: float
    temperature: float = 0.01
    weight: float = 1.0
    attached: bool = False
    progress: float = 1.0

    def __post_init__(self) -> None:
        for name, least in (("layer", 0.0), ("temperature", 0.0), ("weight", 0.0)):
            if not least < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} of a depth cost", got=getattr(self, name), expected="a finite number > 0",
                                  do="Correct it; without a cost of depth there is no reason to stop.")  # fmt: skip

    def at(self, progress: float) -> DepthCost:
        """The same cost at the temperature of a moment of a training."""
        return replace(self, progress=progress)

    @property
    def tau(self) -> float:
        """The temperature of this moment."""
        return self.temperature * HOT ** (1 - self.progress)

    def __call__(self, trajectory: Trajectory, target: Tensor) -> Tensor:
        """L_depth of a batch, times its weight, scalar.

        Raises:
            ShapeError: readouts that are no vectors, as those of a language model.
        """
        stopped = self.stopped(trajectory, target)
        pi = self.law(trajectory.readouts, stopped, "regression" if target.is_floating_point() else "classification")
        return self.weight * (pi * stopped).sum(0).mean()

    def stopped(self, trajectory: Trajectory, target: Tensor) -> Tensor:
        """G_k = L(yhat_k, y) + c k of every sample, (N+1, B), k the awake steps before that depth."""
        readouts = trajectory.readouts
        if readouts.dim() != 3:
            raise ShapeError("readouts", got=tuple(readouts.shape), expected="(N + 1, B, K)",
                             do="Leave the cost of depth out for sequences.")  # fmt: skip
        awake = trajectory.network.awake
        counted = [sum(j < k for j in awake) for k in range(len(readouts))]
        losses = self.cost(readouts, target)
        return losses + self.layer * losses.new_tensor(counted)[:, None]

    def law(self, readouts: Tensor, stopped: Tensor, task: Literal["classification", "regression"]) -> Tensor:
        """pi_k, (N+1, B), by what the readouts show.

        Args:
            readouts: yhat_0..yhat_N, (N+1, B, K).
            stopped: G_k, (N+1, B).
            task: which features they have, see :func:`readout_features`.
        """
        seen = readouts if self.attached else readouts.detach()
        features = torch.cat([readout_features(seen[:1], None, task), readout_features(seen[1:], seen[:-1], task)])
        return stopping_law(stopping_gain(features, stopped, self.tau), self.tau)
