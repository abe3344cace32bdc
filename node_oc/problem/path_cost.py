"""Costs of a whole trajectory: what J may hold beside costs of single states."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from node_oc.trajectory.rollout import Trajectory


class PathCost(ABC):
    """A cost of all states of a batch together, one number, added to J.

    A stage cost is one state's, and J sums it over depth. What couples depths, as an expected cost under a stopping law
    or a penalty on how increments grow, is a path cost. It is a function of the states and what is read off them:
    costates are then dJ/dx_k as ever, see :func:`node_oc.costate_sweep`.
    """

    @abstractmethod
    def __call__(self, trajectory: Trajectory, target: Tensor) -> Tensor:
        """The cost, a scalar.

        Args:
            trajectory: the rollout of a batch of B samples.
            target: class indices (B,) or regression targets (B, K).
        """

    def __repr__(self) -> str:
        """All that it is: a checkpoint is one of a training with the same costs."""
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def at(self, progress: float) -> PathCost:
        """The cost as it is at a moment of a training; the same at all of them, unless it is annealed.

        Args:
            progress: 0 at the first update, 1 at the last.
        """
        return self
