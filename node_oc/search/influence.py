"""How much a block changes its state: what one reads off a deep network that was trained without stage costs."""

from __future__ import annotations

import torch
from torch import Tensor

from node_oc.data.split import Part
from node_oc.discretization.network import Network, evaluating
from node_oc.training.active import chunks
from node_oc.trajectory.rollout import rollout


@torch.no_grad()
def block_influence(network: Network, part: Part) -> tuple[float, ...]:
    """BI_k = 1 - E[cos(S_k(x_k), x_{k+1})] of every block, (N,), over samples (ShortGPT, arXiv 2403.03853).

    States are flattened per sample. A block that leaves a sample's state as its skip hands it on adds 0, a state
    of zeros included.

    Args:
        network: any; a sleeping step has influence 0.
        part: samples; training ones, so that what is chosen by it owes nothing to validation data.
    """
    total = torch.zeros(network.depth, dtype=torch.float64)
    with evaluating(network):
        for x, _ in chunks(part, network):
            trajectory = rollout(network, x)
            system, states = trajectory.network.system, trajectory.states
            for k in range(network.depth):
                total[k] += float(_turn(system.skip(k, states[k]), states[k + 1]).sum())
    return tuple((total / len(part)).tolist())


def _turn(before: Tensor, after: Tensor) -> Tensor:
    """1 - cosine of the states of each sample, (B,), in double precision: close to 1 float32 has no digits left."""
    before, after = before.flatten(1).double(), after.flatten(1).double()
    turn = 1 - torch.cosine_similarity(before, after, dim=1)
    return turn.masked_fill((before == after).all(1), 0.0)
