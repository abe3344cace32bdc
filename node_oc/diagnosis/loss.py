"""What a network loses on each sample, and what giving up depth may cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from node_oc.data.split import Part, Task, onto
from node_oc.discretization.network import Network, evaluating
from node_oc.problem.language import next_token_loss

CHUNK = 4096
VALUES = 2**22  # of the inputs in a chunk: large images come in smaller ones
SEQUENCES = 32  # whose logits are held at a time


@torch.no_grad()
def outputs(network: torch.nn.Module, x: Tensor, chunk: int = CHUNK) -> Tensor:
    """Outputs (n, K) of many samples (n, D), in chunks, in evaluation mode, on the network's device."""
    anchor = next(network.parameters(), x)
    with evaluating(network):
        return torch.cat(
            [network(onto(part, anchor)) for part in x.split(max(32, min(chunk, VALUES // max(1, x[:1].numel()))))]
        )


def sample_losses(network: Network, part: Part, task: Task) -> NDArray[np.float64]:
    """Loss of every sample, (n,): 1 where the class is wrong and 0 where right; squared error in regression.

    Of a language model the next-token loss of a sequence, in nats.
    """
    if task == "language":
        pairs = zip(part.x.split(SEQUENCES), part.y.split(SEQUENCES), strict=True)
        return torch.cat([next_token_loss(outputs(network, x), y) for x, y in pairs]).cpu().double().numpy()
    out = outputs(network, part.x)
    if task == "classification":
        loss = (out.argmax(1).cpu() != part.y).double()
    else:
        loss = (out.cpu() - part.y).double().square().sum(1)
    return loss.numpy()


def disagreement(one: Network, other: Network, part: Part) -> float:
    """Share of the samples whose class two networks decide differently, as a cropped and its full network."""
    return float((outputs(one, part.x).argmax(1) != outputs(other, part.x).argmax(1)).double().mean())


@dataclass(frozen=True)
class Budget:
    """What may be lost against the reference.

    In classification the budget is absolute: E[loss - reference loss] <= budget. In regression and language the loss is
    unbounded, so the budget is relative and both losses are cut at c, the reference's 99.9 % quantile on the
    selecting half: E[min(loss, c) - (1 + budget) min(reference, c)] <= 0 (our definition).

    Attributes:
        budget: accuracy given up as a fraction, or relative loss.
        task: "classification", "regression" or "language".
        ceiling: c; 1 in classification.
    """

    budget: float
    task: Task
    ceiling: float = 1.0

    @classmethod
    def against(cls, budget: float, task: Task, reference: NDArray[np.float64]) -> Budget:
        """The budget against a reference with these losses on the selecting half.

        Where the quantile is 0, the reference's largest loss is c, or 1 if it never errs: c = 0 would hide
        every loss of the cropped network.
        """
        if task == "classification":
            return cls(budget, task)
        return cls(budget, task, float(np.quantile(reference, 0.999)) or float(reference.max()) or 1.0)

    def paired(self, loss: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
        """d of every sample, (n,); the network is within the budget where E[d] <= ``limit``."""
        if self.task == "classification":
            return loss - reference
        return np.minimum(loss, self.ceiling) - (1 + self.budget) * np.minimum(reference, self.ceiling)

    @property
    def limit(self) -> float:
        """What E[d] has to stay within."""
        return self.budget if self.task == "classification" else 0.0

    @property
    def range(self) -> tuple[float, float]:
        """Least and largest d."""
        return (-1.0, 1.0) if self.task == "classification" else (-(1 + self.budget) * self.ceiling, self.ceiling)
