"""The optimal control problem: J = phi(x_N) + gamma sum_k h_k l(x_k) + sum_k h_k r(u_k), and path costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from node_oc.discretization.network import Network
from node_oc.errors import ConfigError
from node_oc.problem.cost import Cost, Distillation, SoftCrossEntropy, SquaredError
from node_oc.problem.language import NextToken
from node_oc.problem.path_cost import PathCost
from node_oc.trajectory.rollout import Trajectory
from node_oc.trajectory.segments import Segmented
from node_oc.trajectory.solution import Solution


@dataclass(frozen=True)
class Objective:
    """Value of J on one batch, with one value per layer.

    Attributes:
        smooth: phi + gamma sum_k h_k l + sum_k h_k energy ||u_k||^2, and the path costs: what gradients are taken of.
            Scalar.
        price: sum_k h_k lambda ||u_k||: the group price, handled by its proximal map. Scalar.
        terminal: phi(x_N), batch mean. Scalar.
        stage: l of step k by the table's own quadrature, batch mean, (N,); without gamma and h_k.
            Not computed, and zero, where gamma is 0.
    """

    smooth: Tensor
    price: Tensor
    terminal: Tensor
    stage: Tensor

    @property
    def total(self) -> Tensor:
        """J."""
        return self.smooth + self.price


@dataclass(frozen=True)
class Problem:
    """What is optimised.

    Attributes:
        terminal: phi, the cost of the output.
        stage: l, the cost of every hidden state's readout.
        stage_weight: gamma >= 0, per unit of time; 0 is ordinary training. Not divided by T: only then is
            the depth that is found a property of the task and not of N (our derivation).
        energy: weight of the control energy ||u_k||^2, all parameters of a step.
        group_price: lambda >= 0, the price of a layer: weight of the group norm ||u_k||, not squared.
        draws: how many of the N depths a training step reads, see :meth:`Trajectory.estimate`; all if None; as many as
            cost at most a plain step more if "auto", see :func:`node_oc.affordable_draws`.
        path_costs: costs of a whole trajectory, added to J as they are. They want all of it: no draws with them.

    Raises:
        ConfigError: a weight that is negative or not finite, draws that are no number of depths, or draws with costs of
            a whole trajectory.
    """

    terminal: Cost
    stage: Cost
    stage_weight: float = 1.0
    energy: float = 0.0
    group_price: float = 0.0
    draws: int | Literal["auto"] | None = None
    path_costs: tuple[PathCost, ...] = ()

    def __post_init__(self) -> None:
        for name in ("stage_weight", "energy", "group_price"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ConfigError(f"problem.{name}", got=value, expected="a finite number >= 0",
                                  do="Correct the weight.")  # fmt: skip
        if self.draws is not None and self.draws != "auto" and (isinstance(self.draws, str) or self.draws < 1):
            raise ConfigError("problem.draws", got=self.draws, expected="at least 1 depth a step, 'auto', or None",
                              do="node_oc.affordable_draws says how many cost as much as the network.")  # fmt: skip
        if self.draws is not None and self.path_costs:
            raise ConfigError("problem.draws", got=f"{self.draws} with {self.path_costs[0]!r}", expected="None with it",
                              do="Leave one out: a cost of the whole trajectory reads all depths.")  # fmt: skip

    @classmethod
    def classification(cls, classes: int, eps: float = 0.1, stage_weight: float = 1.0) -> Problem:
        """Soft cross-entropy as stage and terminal cost (arXiv 2405.19013)."""
        cost = SoftCrossEntropy(classes, eps)
        return cls(cost, cost, stage_weight)

    @classmethod
    def regression(cls, stage_weight: float = 1.0) -> Problem:
        """Squared error as stage and terminal cost."""
        return cls(SquaredError(), SquaredError(), stage_weight)

    @classmethod
    def language(cls, stage_weight: float = 1.0) -> Problem:
        """Next-token loss at the output and at as many drawn depths a step as cost at most a plain step more."""
        cost = NextToken()
        return cls(cost, cost, stage_weight, draws="auto")

    def priced(self, price: float) -> Problem:
        """The same problem at another price of a layer."""
        return replace(self, group_price=price)

    def terminal_only(self) -> Problem:
        """The same problem without stage costs, path costs and price: plain training."""
        return replace(self, stage_weight=0.0, group_price=0.0, path_costs=())

    def at(self, progress: float) -> Problem:
        """The problem as it is at a moment of a training, from 0 to 1; itself where no path cost is annealed.

        Outside of a training a problem is as it is at the end of one.
        """
        costs = tuple(cost.at(progress) for cost in self.path_costs)
        same = all(new is old for new, old in zip(costs, self.path_costs, strict=True))
        return self if same else replace(self, path_costs=costs)

    def distilled(self) -> Problem:
        """Plain training towards another network's outputs (B, K), which take the place of the targets."""
        cost = self.terminal if isinstance(self.terminal, SquaredError) else Distillation()
        return replace(self.terminal_only(), terminal=cost)

    def scale(self, network: Network) -> float:
        """s = 1/(1 + gamma T): an optimiser minimises s J, so that learning rates do not depend on N.

        Path costs are not in it: they are means over depth, of the size of one loss, whatever N is.
        """
        return 1.0 / (1.0 + self.stage_weight * sum(network.h))

    def evaluate(
        self, trajectory: Trajectory | Segmented | Solution, target: Tensor, generator: torch.Generator | None = None
    ) -> Objective:
        """J on one batch, from its trajectory.

        Args:
            trajectory: the rollout of a batch of B samples, whole or in segments, or the solution of its ODE.
            target: class indices (B,) or regression targets (B, K).
            generator: where ``draws`` are drawn from; J is computed whole without one.

        Raises:
            ConfigError: draws, or path costs, of a rollout in segments or of an ODE's solution; draws that are still
                "auto".
        """
        network = trajectory.network
        terminal = running = None
        if self.stage_weight and self.draws is not None and generator is not None:
            if not isinstance(trajectory, Trajectory):
                raise ConfigError("problem.draws", got=f"a {type(trajectory).__name__}", expected="a whole rollout",
                                  do="Leave out training.gradient_checkpointing and the adaptive solver.")  # fmt: skip
            if self.draws == "auto":
                raise ConfigError("problem.draws", got="'auto'", expected="a number of depths by now",
                                  do="fit and StageCost find it; otherwise affordable_draws(network, x).")  # fmt: skip
            drawn = trajectory.draw(self.draws, generator)
            running, at_end = trajectory.estimate(lambda readouts: self.stage(readouts, target), drawn)
            terminal = at_end if self.terminal is self.stage else None
        elif self.stage_weight:
            running, at_end = trajectory.accumulate(
                lambda readouts: self.stage(readouts, target), self.stage.parameters
            )
            terminal = at_end if self.terminal is self.stage else None
        if terminal is None:
            terminal = self.terminal(trajectory.final[None], target).mean()
        if running is None:
            running = terminal.detach().new_zeros(network.depth)
        smooth = terminal + self.stage_weight * running.sum()
        if self.energy and network.awake:
            smooth = smooth + self.energy * trajectory.control_energy()
        for cost in self.path_costs:
            if not isinstance(trajectory, Trajectory):
                raise ConfigError("problem.path_costs", got=f"{cost!r} of a {type(trajectory).__name__}",
                                  expected="a whole rollout",
                                  do="Leave out training.gradient_checkpointing and the adaptive solver.")  # fmt: skip
            smooth = smooth + cost(trajectory, target)
        h = running.new_tensor(network.grid.h) * network.system.pace
        price = self.group_price * (h * group_norms(network)).sum() if self.group_price else terminal.new_zeros(())
        return Objective(smooth, price, terminal, running / h)


def group_norms(network: Network) -> Tensor:
    """||u_k|| of each group, (N,); exactly zero for a zero branch."""
    groups = [network.system.group(k) for k in range(network.depth)]
    if not any(groups):
        return torch.zeros(len(groups))
    norms = torch.stack(torch._foreach_norm([p for group in groups for p in group]))
    return torch.stack([part.norm() for part in norms.split([len(group) for group in groups])])
