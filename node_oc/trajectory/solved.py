"""A neural ODE as a module: called with inputs, it solves itself to a tolerance."""

from __future__ import annotations

from torch import Tensor

from node_oc.discretization.network import Network
from node_oc.trajectory.solution import Solution
from node_oc.trajectory.solver import Solver


class Solved(Network):
    """A network whose outputs are those of its ODE, solved to a tolerance, and not those of its table.

    For measuring: what samples lose, what a crop is compared with. It shares the weights of the network; a rollout, and
    a file, know the table alone.

    Args:
        network: whose ODE is solved.
        solver: method and tolerances; dopri5 at 1e-6 by default.
    """

    def __init__(self, network: Network, solver: Solver | None = None) -> None:
        super().__init__(network.system, network.grid, network.table, network.awake)
        self.solver = solver or Solver()

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (B, features) to the outputs H(x(T)) of the ODE, (B, K)."""
        return Solution(self, x, self.solver).final
