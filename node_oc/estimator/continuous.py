"""What makes an estimator a neural ODE: its network, its solver, and the table that predicts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from node_oc.discretization.grid import DepthGrid
from node_oc.discretization.network import Network
from node_oc.discretization.refine import refine
from node_oc.discretization.tableau import RK4, TABLEAUS
from node_oc.errors import DivergenceError
from node_oc.system.dense import DenseSystem, linear
from node_oc.system.field import Activation
from node_oc.system.ode import BASES, DenseVectorField, NeuralODE, Piecewise
from node_oc.trajectory.solution import Solution
from node_oc.trajectory.solver import Solver

RESOLVED = 1e-3  # of the largest output: how far the table that predicts may be from the ODE
EXACT = 1e-6  # rtol and atol of that
PRICE = 0.03  # of a step, where each has a control of its own
FINEST = 4096  # steps


class Continuous:
    """x' = F(x, u(t)) on [0, horizon], stepped by a Runge-Kutta table or solved adaptively."""

    horizon: float
    steps: int
    controls: str
    functions: int
    solver: str
    tolerance: float
    price: Any
    width: int
    hidden: int
    activation: Activation

    @property
    def _adaptive(self) -> bool:
        return self.solver not in TABLEAUS

    def _network(self, features: int, outputs: int, generator: torch.Generator) -> Network:
        steps, width, hidden = int(self.steps), int(self.width), int(self.hidden)
        table = RK4 if self._adaptive else TABLEAUS[self.solver]
        if self.controls == "piecewise":  # as many layers of their own
            system = DenseSystem(features, outputs, depth=steps, width=width, hidden=hidden,
                                 activation=self.activation, generator=generator)  # fmt: skip
            return Network(system, DepthGrid.uniform(steps, float(self.horizon) / steps), table)
        size = int(self.functions)
        basis = Piecewise(1) if self.controls == "constant" else BASES[self.controls](size)
        field = DenseVectorField(width, hidden, self.activation, generator=generator)
        ode = NeuralODE(field, lift=linear(features, width, generator), head=linear(width, outputs, generator),
                        horizon=float(self.horizon), steps=steps, basis=basis)  # fmt: skip
        return Network(ode, table=table)

    @property
    def _price(self) -> float:
        if self.price is not None:
            return float(self.price)
        return PRICE if self.controls == "piecewise" else 0.0

    def _solved_by(self) -> dict[str, Any]:
        return {"solver": self.solver, "tolerance": float(self.tolerance)} if self._adaptive else {}

    def _delivered(self, network: Network, x: Tensor) -> Network:
        """Steps halved until the table computes what the ODE does; of a table it is as it was trained."""
        if not self._adaptive:
            return network
        with torch.no_grad():  # the ODE itself, and not what a loose tolerance makes of it
            exact = Solution(network, x, Solver("dopri5", EXACT, EXACT)).final
            while float((network(x) - exact).abs().max() / exact.abs().max()) > RESOLVED:
                if 2 * network.depth > FINEST:
                    raise DivergenceError("steps of the table", got=f"more than {FINEST} to follow the ODE",
                                          expected=f"outputs within {RESOLVED:g}",
                                          do="The field is stiff: shorten the horizon, or use a table.")  # fmt: skip
                network = refine(network)
        return network
