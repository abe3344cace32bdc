"""The method of successive approximations for discrete weights, beside the gradient method for real ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
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

ROUNDING = 1e-5  # of tau: rows that are that near to it are looked at, too
ROW = 2**8  # weights in a row, at most: one that changes brings its row with it
BLOCK = 2**16  # weights that a CPU averages at a time: what is computed in between stays in its cache


def _rows(values: Tensor) -> Tensor:
    """A layer's tensor as a matrix of short rows."""
    return values.contiguous().view(-1, math.gcd(values.numel(), ROW))


def _blocks(rows: Tensor) -> Sequence[Tensor]:
    """Such a matrix in parts; in one where a device has no such cache."""
    return rows.split(max(1, BLOCK // rows.shape[1])) if rows.device.type == "cpu" else [rows]


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
        ConfigError: a layer without a rule, several devices, compilation, a price where no step can be nothing, or
            batches of one sample.
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
        if options.batch == 1 and network.system.coupled:
            raise ConfigError("training.batch", got="1 with discrete weights", expected="2 or more samples",
                              do="Raise it: a batch norm has no variance in one sample.")  # fmt: skip
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
        self._weights = [_rows(weight.detach()) for weight in self.weights]
        self._means = [_rows(mean) for mean in self.means]

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
        scale, full = self.objective.problem.scale(self.network), 0.0
        found: list[Tensor] = []
        for slope, weight, mean, rule in zip(self._slopes(), self._weights, self._means, self.proposals, strict=True):
            zeros, tops = 0 in rule.values, []
            if scale != 1:
                slope.div_(scale)  # what was differentiated is s J
            for w, m, g in zip(_blocks(weight), _blocks(mean), _blocks(_rows(slope)), strict=True):
                self.average.update_(m, g, index)
                tops.append(self.inertia.largest(w, m, zeros))
                full += float(torch.dot(w.view(-1), w.view(-1))) if zeros else w.numel()
            found.append(torch.cat(tops))
        highest = torch.stack([each.amax() for each in found]).tolist()
        for (k, layer), top in zip(self.layers, highest, strict=True):
            if not math.isfinite(top):
                raise DivergenceError(
                    f"slopes of step {k}", got=f"a number that is not finite, in a {type(layer).__name__}",
                    expected="finite slopes of the Hamiltonian in the weights",
                    do="Check the inputs and the learning rate. The last good checkpoint is kept.",
                )  # fmt: skip
        for weight, mean, rule, each, top in zip(
            self._weights, self._means, self.proposals, found, highest, strict=True
        ):
            tau = self.inertia.rho * max(0.0, top)
            some = (each >= rule.least(tau) - ROUNDING * tau).nonzero().squeeze(1)
            if len(some) > len(each) // 4:
                for w, m in zip(_blocks(weight), _blocks(mean), strict=True):
                    rule.update_(w, m, tau)
                continue
            # A thousandth of the weights change in an update, as a rule: rows in which none can are passed over.
            changed = weight.index_select(0, some)
            rule.update_(changed, mean.index_select(0, some), tau)
            weight.index_copy_(0, some, changed)
        return full / sum(w.numel() for w in self.weights)

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
