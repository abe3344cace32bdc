"""Early stopping: a training ends where the loss on held-out rows has not fallen for a while."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from node_oc.data.split import Part
from node_oc.discretization.network import Network
from node_oc.problem.cost import Cost

LOOKS = 100  # at the held-out rows in one training, about


class EarlyStopping:
    """What :func:`node_oc.fit` asks: whether to stop. Puts the best weights back when it says so.

    Each training is judged by itself, by name: the one that refits what a price has left starts anew.

    Args:
        network: what is trained.
        cost: of the output.
        held: rows that are not trained on, in the form that the cost wants.
        patience: looks without a lower loss after which the training ends.
        updates: of a whole training; there is a look every hundredth of them.

    Attributes:
        losses: mean cost on the held-out rows at each look, of all trainings.
    """

    def __init__(self, network: Network, cost: Cost, held: Part, patience: int, updates: int) -> None:
        self.network, self.cost, self.held, self.patience = network, cost, held, patience
        self.every = max(1, updates // LOOKS)
        self.losses: list[float] = []
        self._begin("")

    def _begin(self, name: str) -> None:
        self._name, self._least, self._waited = name, math.inf, 0
        self._best: dict[str, Tensor] | None = None

    def __call__(self, name: str, update: int) -> bool:
        """Whether the training of this name shall end after this update."""
        if name != self._name:
            self._begin(name)
        if update % self.every:
            return False
        self._look()
        if self._waited < self.patience:
            return False
        self.restore()
        return True

    @torch.no_grad()
    def _look(self) -> None:
        out = self.network(self.held.x.to(next(self.network.parameters())))
        self.losses.append(float(self.cost(out[None], self.held.y.to(out)).mean()))
        if self.losses[-1] < self._least:
            self._least, self._waited = self.losses[-1], 0
            self._best = {name: value.clone() for name, value in self.network.state_dict().items()}
        else:
            self._waited += 1

    def restore(self) -> None:
        """Put back the best weights of the training that ran last."""
        if self._best is not None:
            self.network.load_state_dict(self._best)
