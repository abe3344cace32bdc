"""What is controlled: the one interface that dense, convolutional, adopted and discrete networks share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from node_oc.errors import ConfigError, ShapeError
from node_oc.system.field import Field, Role

if TYPE_CHECKING:
    from node_oc.system.discrete.layers import DiscreteLayer

PACE = 1.0  # units of time in one unit of the grid


class System(nn.Module, ABC):
    """A controlled system x_{k+1} = S_k(x_k) + h_k F_k(x_k, u_k), k = 0..N-1, between a lift and a head.

    The interface is abstract and holds no data. How depth is stepped (h_k, the table, which steps are
    awake) is not the system's business: see :class:`node_oc.discretization.Network`.
    """

    @property
    @abstractmethod
    def depth(self) -> int:
        """Number of residual steps N."""

    @abstractmethod
    def lift(self, x: Tensor) -> Tensor:
        """Input (B, features) to the initial state x_0."""

    @abstractmethod
    def branch(self, k: int, x: Tensor) -> Tensor:
        """Residual branch F_k(x, u_k) of step k, without the step size."""

    @abstractmethod
    def skip(self, k: int, x: Tensor) -> Tensor:
        """Skip S_k(x): where the state goes when branch k is off."""

    @abstractmethod
    def is_identity(self, k: int) -> bool:
        """Whether S_k is the identity, so that a zero branch is an equilibrium."""

    @abstractmethod
    def head(self, x: Tensor) -> Tensor:
        """Final state x_N to the output (B, K)."""

    @abstractmethod
    def group(self, k: int) -> list[nn.Parameter]:
        """The group of step k: its branch is zero exactly when these are zero (theory: "Group")."""

    @abstractmethod
    def control(self, k: int) -> list[nn.Parameter]:
        """u_k: every parameter of step k, its group among them."""

    @abstractmethod
    def affine_readout(self) -> tuple[Tensor, Tensor]:
        """C (K, D) and b (K,) of a readout C x + b.

        Raises:
            ShapeError: the readout is not affine in the state; ask for the logit distance instead.
        """

    @abstractmethod
    def constrain_(self) -> None:
        """Put the controls back into the admissible set, in place (rows of fixed norm)."""

    @abstractmethod
    def release_(self) -> None:
        """Give that constraint up, in place: it only matters while a price is at work."""

    @abstractmethod
    def subsystem(self, steps: Sequence[int]) -> System:
        """A new system with copies of the branches in ``steps`` alone, in that order, and every skip."""

    @abstractmethod
    def insert(self, places: Sequence[int], generator: torch.Generator) -> System:
        """A new system with copies of every step, and an untrained step before step p for each place p in 0..N.

        Places are sorted and may repeat. A new step has the width that the state has there.
        """

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """The JSON-able constructor arguments, "kind" among them: what a file needs to rebuild the system."""

    def branch_at(self, k: int, c: float | Tensor, x: Tensor) -> Tensor:
        """Residual branch of step k at its node c, 0 at the beginning of the step and 1 at its end.

        The same everywhere, as a rule; see ``varies_within_steps``.
        """
        return self.branch(k, x)

    def settling(self, k: int) -> str | None:
        """Names S_k where it is no identity but changes nothing the second time, as a ReLU does; None elsewhere.

        Steps of the same name are one stage: a state that has passed one of their skips is an equilibrium of a zero
        branch, and is handed on by the others.
        """
        return None

    def split(self, k: int, c: float, x: Tensor) -> tuple[Tensor, Tensor]:
        """S_k(x), and the branch of step k at its node c: in one pass, where they share work."""
        return self.skip(k, x), self.branch_at(k, c, x)

    def skips(self, k: int, states: Tensor) -> Tensor:
        """S_k of the states of several depths at once, (m, B, ..); the last of them is the network's own x_k."""
        return self.skip(k, states.flatten(0, 1)).unflatten(0, states.shape[:2])

    def heads(self, states: Tensor, *, count: bool = True) -> Tensor:
        """The outputs (m, B, K) of states (m, B, ..) behind all skips; the last of them is the network's own x_N.

        Args:
            states: of several depths.
            count: whether x_N counts in running statistics; False where ``head`` has counted it already.
        """
        return self.head(states.flatten(0, 1)).unflatten(0, states.shape[:2])

    def discrete(self, k: int) -> list[DiscreteLayer]:
        """The layers of step k whose weights are discrete: no parameters, so not in ``control``; none, as a rule."""
        return []

    @property
    def noisy(self) -> bool:
        """Whether its own code draws random numbers while it trains, as dropout does."""
        return False

    @property
    def coupled(self) -> bool:
        """Whether the samples of a batch see each other while it trains, as in a batch norm."""
        return False

    @property
    def own_statistics(self) -> bool:
        """Whether ``skips`` and ``heads`` need the network's own state too: batch norms, while training."""
        return False

    def given(self, x: Any) -> System:
        """The system with the inputs at hand that its branches read beside the state, as a padding mask, or itself.

        Bound to one batch; it shares its parameters.
        """
        return self

    def hold_(self) -> None:
        """Fix the scale of what comes before the groups, in place, from here on: a price is about to be at work."""

    def control_at(self, k: int, c: float | Tensor) -> Sequence[Tensor]:
        """u at node c of step k: ``control(k)``, where it does not vary within a step."""
        return self.control(k)

    @property
    def varies_within_steps(self) -> bool:
        """Whether branches depend on the node: a control, or a field, that is a function of time."""
        return False

    @property
    def h(self) -> tuple[float, ...]:
        """The step sizes h_k that the system is made for, in units of time: 1 but for a neural ODE."""
        return (1.0,) * self.depth

    @property
    def tied(self) -> bool:
        """Whether steps share their controls: then no step has a price of its own."""
        return False

    def untied(self, nodes: Sequence[float]) -> System:
        """The same system with a control of its own in every step; itself where they have that.

        Args:
            nodes: the places c in [0, 1] of a step at which its branch will be asked for.
        """
        return self

    def halved(self, steps: Collection[int]) -> System:
        """A new system in which each of these steps is two of half its size, both with a copy of its control.

        Args:
            steps: layers k; their skips are the identity.

        Raises:
            ConfigError: controls that vary within a step, of a system that does not say what the halves of it have.
        """
        if self.varies_within_steps:
            raise ConfigError("halved steps", got=f"a {type(self).__name__}, whose controls vary within a step",
                              expected="a method `halved` of its own", do="Write it: the nodes move.")  # fmt: skip
        return self.subsystem([k for k in range(self.depth) for _ in range(1 + (k in steps))])

    @property
    def nodes(self) -> tuple[float, ...] | None:
        """The places c of a step at which its branch can be asked for; None where that is everywhere."""
        return None

    @property
    def pace(self) -> float | Tensor:
        """Time per unit of the grid: 1, but for a horizon that is trained. J and every step count h_k times it."""
        return PACE

    @property
    def by_hand(self) -> bool:
        """Whether the derivatives of the branches are known without autograd, see ``field``.

        Not where a subclass has changed the branch alone, nor with hooks or parametrizations: they belong to autograd.
        """
        own = next(c for c in type(self).__mro__ if "field" in vars(c) or "branch" in vars(c))
        if "field" not in vars(own) or own is System or "branch" in vars(self):
            return False
        return not any(
            m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks or is_parametrized(m)
            for m in self.modules()
        )

    def field(self, steps: Sequence[int], stages: int, roles: Sequence[Role] | None = None) -> Field:
        """The branches of these steps with derivatives by hand, where there are any (``by_hand``).

        Between the steps every skip is the identity, and the branches act on the state behind the skip of the first.

        Args:
            steps: layers k, ascending.
            stages: evaluations of each branch.
            roles: the parameters of ``control``, by role, where they come from elsewhere.

        Raises:
            ConfigError: there is only autograd.
        """
        raise ConfigError("derivatives by hand", got=type(self).__name__, expected="a system that has them",
                          do="Use the general path: analytic=False.")  # fmt: skip

    def readout(self, x: Tensor, k: int) -> Tensor:
        """yhat_k = H(S_{N-1} .. S_k(x)): the output if all branches from k on were off (layer index k)."""
        for j in range(k, self.depth):
            if not self.is_identity(j):
                x = self.skip(j, x)
        return self.head(x)

    def check_step(self, k: int) -> None:
        """Raise ShapeError unless k is one of the steps 0..N-1."""
        if not 0 <= k < self.depth:
            raise ShapeError("step k", got=k, expected=f"0..{self.depth - 1}", do="Choose a step that the system has.")


def as_number(value: float | Tensor) -> float:
    """A pace or horizon without its gradient."""
    return float(value.detach()) if isinstance(value, Tensor) else value
