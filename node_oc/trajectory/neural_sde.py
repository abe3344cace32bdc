"""The neural SDE of a network: the limit of its noise as a model, of which the network is a discretisation."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor

from node_oc.discretization.limit import LimitSDE, limit_sde
from node_oc.discretization.network import Network
from node_oc.discretization.noise import Noise, Source
from node_oc.discretization.tableau import EULER
from node_oc.errors import ConfigError
from node_oc.system.base import System
from node_oc.trajectory.brownian import TORCHSDE, solve_by_torchsde
from node_oc.trajectory.layout import layout_of
from node_oc.trajectory.rollout import Trajectory
from node_oc.trajectory.sde import CALCULUS, SDEMethod, chosen, solve_sde


class NeuralSDE(Network):
    """A network whose outputs are those of the SDE that it approximates with its noise: lift, SDE, head.

    Drift and diffusion are the network's own branches: one for both, or, of a :class:`node_oc.PairedSystem` with
    ``mean=(1, 0)`` and noise that ``diffuses="second"``, one each. :func:`node_oc.fit` trains it like any network,
    with new paths in every update. It shares the weights of the network, so that what was trained *is* the residual
    network: ``rollout(model.network, x, driver=model.noise.drawn(generator))``. A file knows that network alone.

    Args:
        network: whose limit this is; a system alone is stepped by Euler.
        noise: what drives it.
        order: of the limit, 1 or 2; see :func:`node_oc.limit_sde`.
        method: "euler", "milstein" or "heun" of :func:`node_oc.solve_sde`; with ``torchsde`` a method of that library.
            The usual one of the integral by default. Heun's, and the adjoint, change Ito's integral to Stratonovich's.
        substeps: of equal length, in each layer.
        torchsde: solve by ``torchsde.sdeint``.
        adjoint: its gradient by ``torchsde.sdeint_adjoint``.

    Raises:
        ConfigError: as of :func:`node_oc.limit_sde` and :func:`node_oc.solve_sde`; the adjoint without torchsde.
        ShapeError: a step whose skip is not the identity.
    """

    def __init__(
        self,
        network: Network | System,
        noise: Noise,
        order: Literal[1, 2] = 1,
        *,
        method: str | None = None,
        substeps: int = 1,
        torchsde: bool = False,
        adjoint: bool = False,
    ) -> None:
        network = Network(network) if isinstance(network, System) else network
        super().__init__(network.system, network.grid, network.table, network.awake)
        self.noise, self.order = limit_sde(network, noise, order).noise, order
        self.method, self.substeps, self.torchsde, self.adjoint = method, substeps, torchsde, adjoint
        if adjoint and not torchsde:
            raise ConfigError("adjoint", got="our own loops", expected="torchsde, which has one",
                              do="Use torchsde=True, or leave the adjoint out.")  # fmt: skip
        if substeps < 1:
            raise ConfigError("substeps", got=substeps, expected="at least 1 a layer", do="Correct the number.")
        known = TORCHSDE if torchsde else CALCULUS
        if method is not None and method not in known:
            raise ConfigError("method", got=repr(method), expected=f"one of {tuple(known)}", do="Correct the name.")
        if adjoint and method is not None and known[method] == "ito":
            raise ConfigError("adjoint", got=f"with method {method}, for Ito's integral", expected="a method for "
                              "Stratonovich's, which has an adjoint without a correction",
                              do="Use method='midpoint', or leave it out.")  # fmt: skip
        if method is not None and method in CALCULUS:
            chosen(self._equation(), cast(SDEMethod, method))

    @property
    def network(self) -> Network:
        """The residual network with the same weights."""
        return Network(self.system, self.grid, self.table, self.awake)

    @property
    def limit(self) -> LimitSDE:
        """The SDE, on states."""
        return LimitSDE(self, self.noise, self.order, ())

    def path(self, x: Tensor, draws: torch.Generator | Source | None = None) -> Trajectory:
        """One path for every sample, its states at the points of the grid: a trajectory of the Euler network.

        Its running cost is the sum of h_k l(x_k).

        Args:
            x: inputs (B, features).
            draws: where the seed comes from; without, the drift alone is solved: the path in the mean.
        """
        state = self.system.lift(x)
        if draws is not None and self.torchsde:
            states = solve_by_torchsde(self._equation(), state, draws, method=self.method, substeps=self.substeps,
                                       adjoint=self.adjoint)  # fmt: skip
        else:
            sde = self.limit if draws is None else self._equation()
            method: SDEMethod = "heun" if self._equation().sde_type == "stratonovich" else "euler"
            own = cast(SDEMethod, self.method) if self.method in CALCULUS else method
            states = solve_sde(sde, state, draws, method=own, substeps=self.substeps)
        nodes = [state, *(states[k + 1] for k in self.awake)]
        euler = Network(self.system, self.grid, EULER, self.awake)
        return Trajectory(euler, layout_of(euler, 0, self.depth), (nodes,), states[-1], self.noise)

    def forward(self, x: Tensor, draws: torch.Generator | Source | None = None) -> Tensor:
        """Inputs (B, features) to outputs (B, K): of one path for every sample, or in the mean without draws."""
        return self.path(x, draws).final

    def spec(self) -> dict[str, Any]:
        """That of the network, and what a training that is continued must agree on."""
        own = {"noise": repr(self.noise), "order": self.order, "method": self.method, "substeps": self.substeps,
               "torchsde": self.torchsde, "adjoint": self.adjoint}  # fmt: skip
        return super().spec() | {"sde": own}

    def _equation(self) -> LimitSDE:
        """With the integral that the solver wants."""
        known = TORCHSDE if self.torchsde else CALCULUS
        kind = "stratonovich" if self.adjoint else known.get(self.method or "", self.limit.sde_type)
        return self.limit.ito() if kind == "ito" else self.limit.stratonovich()
