"""Stage costs for a training loop of your own: J of a batch, and the price after each of your optimiser's steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from node_oc.discretization.network import Network
from node_oc.discretization.noise import Noise
from node_oc.errors import ConfigError
from node_oc.problem.ocp import Objective, Problem, group_norms
from node_oc.problem.optimality import shrink_
from node_oc.problem.regulariser import regularised, warn_kinks
from node_oc.seeds import derived_generator
from node_oc.system.base import System
from node_oc.training.draws import settled
from node_oc.training.driver import drawn, probing, trainable
from node_oc.trajectory.rollout import rollout


class StageCost:
    """s J of a batch, without its price, for a loop that is not ours.

    s = 1/(1 + gamma T), so that learning rates do not depend on the depth. Dropout and batch norm do what the mode of
    the model says.

    Args:
        system: an adopted model, any other system, or a network.
        problem: costs and stage weight; its ``draws`` say how many depths are read in a call. "auto" becomes a number
            at the first call, by the shapes of its batch.
        seed: of the draws.
        noise: what drives the steps while the model is in training mode; its mean is the model itself. None for time.
        explicit: whether what that noise adds to J in the mean, to leading order, is added instead of any noise; see
            :func:`node_oc.explicit_regulariser`. One probe a call; 5 to 7 times the cost of a call without it.

    Attributes:
        objective: of the last call, with a value for each layer; the regulariser is not in it.
        regulariser: of the last call, one value a layer, (N,); None where there is none.

    Raises:
        ConfigError: a noise that the system cannot take, or none where it is to be explicit; discrete weights.
    """

    def __init__(
        self, system: System | Network, problem: Problem, *, seed: int = 0, noise: Noise | None = None,
        explicit: bool = False,
    ) -> None:  # fmt: skip
        self.network = system if isinstance(system, Network) else Network(system)
        for k in range(self.network.depth):
            for layer in self.network.system.discrete(k):
                raise ConfigError("system", got=f"{layer.values} weights in step {k}", expected="real weights alone",
                                  do="Train it with fit: gradients alone leave discrete weights.")  # fmt: skip
        self.noise = None if noise is None else trainable(noise, self.network)
        self.problem, self.seed, self.calls = problem, seed, 0
        self.objective: Objective | None = None
        self.regulariser: Tensor | None = None
        self.explicit = explicit
        if explicit and noise is None:
            raise ConfigError("explicit", got="True without noise", expected="the noise that is to be explicit",
                              do="Give it: noise=node_oc.branch_dropout(0.8), say.")  # fmt: skip
        if explicit:
            warn_kinks(self.network.system)

    def __call__(self, batch: Any, target: Tensor | None = None) -> Tensor:
        """The cost to call ``backward`` on. Scalar.

        Args:
            batch: inputs; or a pair of inputs and target; or a dict with "labels" among its entries.
            target: where the batch does not have it.

        Raises:
            ConfigError: no target.
        """
        x, y = _parted(batch, target)
        self.problem = settled(self.problem, self.network, x)
        draws = derived_generator(self.seed, "draws", self.calls)
        noise = self.noise if _training(self.network.system) else None
        call, scale = self.calls, self.problem.scale(self.network)
        self.calls += 1
        self.regulariser = None
        if self.explicit and noise is not None:
            signs = probing(noise, self.seed, call, None)
            self.objective, layers = regularised(self.network, signs, self.problem, x, y, draws)
            self.regulariser = layers.detach()
            return scale * (self.objective.smooth + layers.sum())
        driver = drawn(noise, self.seed, call, None)
        self.objective = self.problem.evaluate(rollout(self.network, x, driver=driver), y, draws)
        return scale * self.objective.smooth


class Price:
    """The price of a branch for a loop of your own: its proximal map, after each ``optimizer.step()``.

    The metric is one second moment a group, of the gradients that the step has used (theory: "Layers that are exactly
    zero"); call it before they are set to None. The optimiser moves the groups too, so that idle ones blink: call
    :meth:`sleep` after about 70 % of the training.

    Args:
        cost: whose problem has ``group_price`` > 0.
        optimizer: yours; its learning rates are read at every step.
        beta2: decay of the second moments.
        eps: added to their root.

    Raises:
        ConfigError: no price, or branches that share parameters.
    """

    def __init__(
        self, cost: StageCost, optimizer: torch.optim.Optimizer, *, beta2: float = 0.99, eps: float = 1e-8
    ) -> None:
        network, problem = cost.network, cost.problem
        if problem.group_price <= 0 or network.system.tied:
            raise ConfigError("price", got=f"{problem.group_price}" + (", shared parameters" * network.system.tied),
                              expected="group_price > 0, and parameters of each branch's own",
                              do="Give the problem a price: problem.priced(0.1).")  # fmt: skip
        self.network, self.problem, self.optimizer = network, problem, optimizer
        self.beta2, self.eps = beta2, eps
        self._second: dict[int, Tensor] = {}
        self._steps = 0
        network.system.hold_()

    @torch.no_grad()
    def step(self) -> tuple[int, ...]:
        """Shrink the groups of the awake branches; returns those that are exactly zero. Sleeping ones stay zero."""
        rates = {id(p): g["lr"] for g in self.optimizer.param_groups for p in g["params"]}
        self._steps += 1
        scale, h = self.problem.scale(self.network), self.network.h
        for k in range(self.network.depth):
            group = self.network.system.group(k)
            if k not in self.network.awake:
                for p in group:
                    p.zero_()
                continue
            gradients = [p.grad for p in group if p.grad is not None]
            if not gradients or not all(p.requires_grad for p in group):
                continue  # frozen
            square = torch.stack([g.square().sum() for g in gradients]).sum() / sum(g.numel() for g in gradients)
            second = self._second.setdefault(k, torch.zeros_like(square)).lerp_(square, 1 - self.beta2)
            metric = (second / (1 - self.beta2**self._steps)).sqrt() + self.eps
            threshold = rates.get(id(group[0]), 0.0) * scale * self.problem.group_price * h[k] / metric
            shrink_([p[None] for p in group], threshold[None])
        self.network.system.constrain_()
        return self.network.zero_steps()

    @torch.no_grad()
    def sleep(self, below: float = 1e-2) -> tuple[int, ...]:
        """Set the groups under a norm to zero, and keep them there; returns the branches that are left.

        Args:
            below: the norm.
        """
        norms, group = group_norms(self.network), self.network.system.group
        self.network.set_awake(k for k in self.network.awake if norms[k] >= below or not group(k))
        for k in set(range(self.network.depth)) - set(self.network.awake):
            for p in self.network.system.group(k):
                p.zero_()
        return self.network.awake


def _training(system: System) -> bool:
    """Whether a system is in training mode; an adopted model may be set to evaluation alone, as its user knows it."""
    model = getattr(system, "model", system)
    return bool(system.training and model.training)


def _parted(batch: Any, target: Tensor | None) -> tuple[Any, Tensor]:
    if target is None and isinstance(batch, Mapping) and "labels" in batch:
        return {name: value for name, value in batch.items() if name != "labels"}, batch["labels"]
    if target is None and isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[0], batch[1]
    if target is None:
        raise ConfigError("batch", got=type(batch).__name__, expected="(inputs, target), or a dict with 'labels'",
                          do="Pass the target as the second argument.")  # fmt: skip
    return batch, target
