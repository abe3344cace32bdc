"""Groups: their proximal map in a metric, and the test that a zero step had better stay zero."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from node_oc.discretization.network import Network, evaluating
from node_oc.errors import ConfigError, DataError
from node_oc.problem.ocp import Problem
from node_oc.trajectory.rollout import rollout


@torch.no_grad()
def shrink_(stacks: Sequence[Tensor], thresholds: Tensor) -> Tensor:
    """Proximal map of threshold * ||u||_2 for n groups at once, in place: u <- u max(0, 1 - threshold/||u||).

    In the metric m ||u||^2 / 2 of one scalar m a group the threshold is price/m (our derivation).

    Args:
        stacks: the parameters of the groups, (n, ...) each; a group is row j of all of them, taken jointly.
        thresholds: one for each group, (n,), at least 0.

    Returns:
        Which groups are now exactly zero, (n,).
    """
    norm = group_squares(stacks).sqrt_()
    zero = norm <= thresholds
    factor = torch.where(zero, 0.0, 1 - thresholds / norm)
    for stack in stacks:
        stack.mul_(as_column(factor, stack))
    return zero


def group_squares(stacks: Sequence[Tensor]) -> Tensor:
    """||u||^2 of each of n groups, (n,); the groups as in :func:`shrink_`."""
    return torch.stack([stack.flatten(1).square().sum(1) for stack in stacks]).sum(0)


def as_column(values: Tensor, stack: Tensor) -> Tensor:
    """One value a row, (n,), in a shape that broadcasts against a stack (n, ...)."""
    return values.view(-1, *(1,) * (stack.dim() - 1))


@contextmanager
def all_awake(network: Network, steps: Sequence[int] | None = None) -> Iterator[None]:
    """Within the block these steps are computed too, every one if None, so that zero steps have gradients."""
    awake = network.awake
    network.set_awake(range(network.depth) if steps is None else {*awake, *steps})
    try:
        yield
    finally:
        network.set_awake(awake)


def group_gradients(
    network: Network, problem: Problem, batches: Iterable[tuple[Tensor, Tensor]], steps: Sequence[int] | None = None
) -> list[list[Tensor]]:
    """Gradient in the groups of some steps of the smooth part of J, averaged over all samples of the batches.

    Sleeping steps included: their group is zero, their inner weights are what they are.

    Args:
        batches: (x, target) pairs; each counts with its number of samples.
        steps: whose groups; of every step if None. Others that sleep are not computed.

    Raises:
        DataError: no samples.
    """
    groups = [network.system.group(k) for k in (range(network.depth) if steps is None else steps)]
    flat = [p for group in groups for p in group]
    total = [torch.zeros_like(p) for p in flat]
    samples = 0
    with evaluating(network), all_awake(network, steps), torch.enable_grad():
        for x, target in batches:
            smooth = problem.evaluate(rollout(network, x), target).smooth
            for sum_, g in zip(total, torch.autograd.grad(smooth, flat), strict=True):
                sum_.add_(g, alpha=len(x))
            samples += len(x)
    if not samples:
        raise DataError("batches", got="no samples", expected="at least one (x, target) pair",
                        do="A generator can be read once: make it anew.")  # fmt: skip
    mean = iter([g / samples for g in total])
    return [[next(mean) for _ in group] for group in groups]


def optimality_ratios(network: Network, problem: Problem, batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """||gradient of the smooth part of J in u_k|| / (lambda h_k) for every step, (N,).

    At a zero group a ratio of at most 1 is the first-order certificate that zero is optimal for the inner
    weights that the step has (our derivation; scaling J by s changes neither side). A step without a group, which
    nothing makes zero, has the ratio inf.

    Args:
        network: any network, its sleeping steps included.
        problem: with ``group_price`` > 0.
        batches: (x, target) pairs as in :func:`group_gradients`; all training samples for a certificate.

    Raises:
        ConfigError: a problem without a price has no ratio.
        DataError: no samples.
    """
    if problem.group_price <= 0:
        raise ConfigError("problem.group_price", got=problem.group_price, expected="a price > 0",
                          do="Ask for the ratio at the price that put the steps to sleep.")  # fmt: skip
    network = network.untied()
    gradients = group_gradients(network, problem, batches)
    if not gradients:
        return torch.zeros(0)
    like = next(network.parameters(), torch.zeros(()))
    norms = [torch.stack([g.norm() for g in group]).norm() if group else like.new_tensor(torch.inf)
             for group in gradients]  # fmt: skip
    return torch.stack(norms) / (problem.group_price * torch.tensor(network.h).to(norms[0]))
