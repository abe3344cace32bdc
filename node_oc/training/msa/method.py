"""The method of successive approximations for discrete weights, beside the gradient method for real ones."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from node_oc.config import TrainingSection
from node_oc.discretization.network import Network
from node_oc.errors import ConfigError, DivergenceError
from node_oc.problem.costate import costate_sweep
from node_oc.problem.ocp import Problem
from node_oc.seeds import derived_generator
from node_oc.training.method import Method
from node_oc.training.msa.acceptance import Inertia, MovingAverage
from node_oc.training.msa.proposal import proposal_of
from node_oc.trajectory.rollout import rollout

ROUNDING = 1e-5  # of tau: blocks that are that near are looked at, too
BLOCK = 2**16  # weights that are updated at a time on a CPU: what is computed in between stays in its cache


def _blocks(values: Tensor) -> list[Tensor]:
    """A tensor as flat views of its parts; one where a device has no such cache."""
    flat = values.contiguous().view(-1)
    return list(flat.split(BLOCK)) if values.device.type == "cpu" else [flat]


class MSA(Method):
    """Discrete weights by the Hamiltonians of their layers, real ones by Adam, from one backward pass.

    An update of arXiv 1803.01299: forward sweep, costate sweep, and then the weights of each layer minimise its own
    Hamiltonian. The slope of Ham_k in the weights W is G = d/dW sum(p_{k+1} . x_{k+1}(x_k, W)), what autograd leaves in
    the float leaf that takes their place meanwhile, ``relaxed``, where p_{k+1} runs back through it anyway. Moving
    average first, then W from the new one, by a proposal (what minimises the Hamiltonian) and an acceptance (inertia).

    Args:
        network: with discrete weights in its awake steps; those of sleeping steps stay what they are.
        problem: what is minimised.
        options: msa_rho, msa_forget, msa_decay, msa_sparsity; learning rate, beta2, clip of the real parameters.
        steps: number of updates, for the schedule of the learning rate.
        cosine: whether the learning rate falls to 0 like a cosine; constant otherwise.
        fabric: devices, precision and distribution.
        epoch: updates in one pass over the samples: 1 - alpha is multiplied by msa_decay after it.

    Attributes:
        layers: (k, layer) of every discrete layer that is trained.
        means: the moving average of the slopes of each of them.

    Raises:
        ConfigError: a layer without a rule, several devices, or compilation.
    """

    discrete = True

    def __init__(
        self, network: Network, problem: Problem, options: TrainingSection, steps: int, cosine: bool, fabric: Fabric,
        *, epoch: int = 1,
    ) -> None:  # fmt: skip
        for wrong, name in ((options.compile, "compile"), (fabric.world_size > 1, "devices"),
                            (options.solver != "table", "solver")):  # fmt: skip
            if wrong:
                raise ConfigError(f"training.{name}", got=f"{getattr(options, name)} with discrete weights",
                                  expected="the default", do="Leave it out: their slopes are not in it.")  # fmt: skip
        if problem.group_price and not any(network.system.group(k) for k in network.awake):
            raise ConfigError("problem.group_price", got=f"{problem.group_price} where no step can be nothing",
                              expected="0 there", do="Use a system with skips: DiscreteResidualSystem.")  # fmt: skip
        super().__init__(network, problem, options, steps, cosine, fabric)
        self.layers = [(k, layer) for k in network.awake for layer in network.system.discrete(k)]
        self.proposals = [proposal_of(layer.values, options.msa_sparsity, f"a {type(layer).__name__} of step {k}")
                          for k, layer in self.layers]  # fmt: skip
        self.average = MovingAverage(options.msa_forget, options.msa_decay, epoch)
        self.inertia = Inertia(options.msa_rho)
        like = next(network.parameters(), torch.zeros(()))
        self.weights = [layer.relax_(like.dtype) for _, layer in self.layers]
        self.means = [
            self.average.start(weight, derived_generator(options.seed, "msa", i))
            for i, weight in enumerate(self.weights)
        ]
        self._weights = [_blocks(weight.detach()) for weight in self.weights]
        self._means = [_blocks(mean) for mean in self.means]

    def check_loss(self, loss: Tensor) -> None:
        if not loss.requires_grad:
            raise self._no_gradient()

    def _no_gradient(self) -> ConfigError:
        return ConfigError("terminal cost", got=f"{self.objective.problem.terminal}, without a gradient in the output",
                           expected="one that has it", do="Build the cost from torch operations.")  # fmt: skip

    @torch.no_grad()
    def update_discrete(self, index: int) -> float:
        """The weights of every layer, from the slopes that the backward pass left.

        Returns:
            The share of them that was not zero before, with which J was computed.
        """
        scale, tops, ones = self.objective.problem.scale(self.network), [], []
        for slope, weights, means, rule in zip(self._slopes(), self._weights, self._means, self.proposals, strict=True):
            if scale != 1:
                slope.div_(scale)  # what was differentiated is s J
            for w, mean, new in zip(weights, means, _blocks(slope), strict=True):
                self.average.update_(mean, new, index)
                tops.append(self.inertia.largest(w, mean, zeros := 0 in rule.values))
                ones += [torch.dot(w, w)] if zeros else []
        largest = iter(torch.stack(tops).tolist())  # at once: on an accelerator each number is waited for
        full = sum(w.numel() for w, rule in zip(self.weights, self.proposals, strict=True) if 0 not in rule.values)
        nonzero = (full + sum(torch.stack(ones).tolist() if ones else [])) / sum(w.numel() for w in self.weights)
        found = [[next(largest) for _ in weights] for weights in self._weights]
        for (k, layer), each in zip(self.layers, found, strict=True):
            if not all(map(math.isfinite, each)):
                raise DivergenceError(
                    f"slopes of step {k}", got=f"a number that is not finite, in a {type(layer).__name__}",
                    expected="finite slopes of the Hamiltonian in the weights",
                    do="Check the inputs and the learning rate. The last good checkpoint is kept.",
                )  # fmt: skip
        for weights, means, each, proposal in zip(self._weights, self._means, found, self.proposals, strict=True):
            tau = self.inertia.rho * max(0.0, *each)
            for w, mean, top in zip(weights, means, each, strict=True):
                if top >= proposal.least(tau) - ROUNDING * tau:  # no other block has a weight to change
                    proposal.update_(w, mean, tau)
        return nonzero

    def _slopes(self) -> list[Tensor]:
        """What the backward pass left; it is taken away."""
        slopes: list[Tensor] = []
        for weight in self.weights:
            if weight.grad is None:
                raise self._no_gradient()
            slopes.append(weight.grad)
            weight.grad = None
        return slopes

    def name_divergence(self, x: Tensor, y: Tensor) -> None:
        """Raise DivergenceError with the first layer, on the way back, whose costate is not finite."""
        for weight in self.weights:
            weight.grad = None
        with torch.no_grad():
            trajectory = rollout(self.network, x)
        costate_sweep(trajectory, self.objective.problem, y)

    def close(self) -> None:
        """Leave the network with its int8 weights alone, beside what every method does."""
        for _, layer in self.layers:
            layer.settle_()
            layer.relaxed = None
        super().close()

    def state(self) -> dict[str, Any]:
        return {**super().state(), "slopes": self.means}

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        for mean, saved in zip(self.means, state["slopes"], strict=True):
            mean.copy_(saved)
