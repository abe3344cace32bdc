"""Slopes of the Hamiltonians in discrete weights, one layer at a time: the plain reference of a training step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from node_oc.discretization.network import Network
from node_oc.problem.costate import costate_sweep, step_hamiltonian
from node_oc.problem.ocp import Problem
from node_oc.system.discrete import DiscreteLayer
from node_oc.trajectory.rollout import rollout


@contextmanager
def relaxed(layers: Sequence[DiscreteLayer], dtype: torch.dtype) -> Iterator[list[Tensor]]:
    """Within the block the weights of discrete layers have slopes: float leaves stand in their places, and are yielded.

    Args:
        layers: left as they were.
        dtype: of a leaf where there is none yet.
    """
    held = [layer.relaxed for layer in layers]
    try:
        yield [layer.relax_(dtype) if layer.relaxed is None else layer.relaxed for layer in layers]
    finally:
        for layer, before in zip(layers, held, strict=True):
            layer.relaxed = before


def discrete_slopes(network: Network, problem: Problem, x: Tensor, y: Tensor) -> list[list[Tensor]]:
    """G = dHam_k/dW in the discrete weights W of every step, as if they were real (arXiv 1803.01299, where M = -G).

    Forward sweep, costate sweep, and the derivative of each step Hamiltonian by itself. The same numbers come from one
    backward pass in a training step, see :class:`node_oc.MSA`; here nothing but the definition is used. The network is
    left as it was, running statistics of batch norms included.

    Args:
        network: its discrete weights are those that it has now.
        problem: whose J the costates belong to; the slopes are those of J, not of s J.
        x: inputs (B, features).
        y: class indices (B,) or regression targets (B, K).

    Returns:
        For each step k = 0..N-1 one slope per discrete layer, shaped as its weight; zero in a sleeping step.

    Raises:
        DivergenceError: a state or costate that is not finite; its layer is named.
        ConfigError: a terminal cost without a gradient in the output.
    """
    counted = [(buffer, buffer.clone()) for buffer in network.buffers() if buffer.dtype != torch.int8]
    with torch.no_grad():
        trajectory = rollout(network, x)
    sweep = costate_sweep(trajectory, problem, y)
    slopes: list[list[Tensor]] = []
    for k in range(network.depth):
        layers, x_k = network.system.discrete(k), trajectory.states[k]
        held = [layer.relaxed for layer in layers]
        weights = [layer.used(x_k).detach().requires_grad_() for layer in layers]
        try:
            for layer, weight in zip(layers, weights, strict=True):
                layer.relaxed = weight
            with torch.enable_grad():
                ham = step_hamiltonian(network, problem, k, x_k, sweep.p[k + 1], y)
                ham = ham + sum(0.0 * weight.sum() for weight in weights)  # a sleeping step does not read them
        finally:
            for layer, relaxed in zip(layers, held, strict=True):
                layer.relaxed = relaxed
        slopes.append(list(torch.autograd.grad(ham, weights)) if weights else [])
    with torch.no_grad():
        for buffer, before in counted:
            buffer.copy_(before)
    return slopes
