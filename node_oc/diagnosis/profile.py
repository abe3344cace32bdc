"""What happens at every depth: stage cost, accuracy, distance, increment, control."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from node_oc.data.split import Part, Task, onto
from node_oc.diagnosis.dissipativity import Dissipation, DistanceName, Nearness, Storage, dissipation, nearness
from node_oc.discretization.network import Network, evaluating
from node_oc.errors import DataError, DivergenceError
from node_oc.problem.language import NextToken
from node_oc.problem.ocp import Problem, group_norms
from node_oc.trajectory.rollout import Trajectory, rollout


@dataclass(frozen=True)
class Profile:
    """Means over the samples of a part, one value per layer k.

    Attributes:
        stage: stage cost l(yhat_k), k = 0..N; without gamma and h_k.
        least: its least value, or None where that is unknown.
        metric: accuracy of yhat_k, its squared error in regression, or its next-token loss, k = 0..N.
        distance: distance to the minimisers of the stage cost, k = 0..N; empty where there is none.
        distance_name: distance of the state where the readout is affine, of the logits otherwise.
        increment: ||x_{k+1} - S_k(x_k)||, k = 0..N-1.
        control: norm of the group of step k, k = 0..N-1; zero for a zero branch.
        running: stage cost of step k by the table's quadrature, as J has it, k = 0..N-1; Euler: that at x_k.
        terminal: terminal cost of yhat_k, k = 0..N: what J would have if all branches from k on were off.
    """

    stage: tuple[float, ...]
    least: float | None
    metric: tuple[float, ...]
    distance: tuple[float, ...]
    distance_name: DistanceName
    increment: tuple[float, ...]
    control: tuple[float, ...]
    running: tuple[float, ...]
    terminal: tuple[float, ...]

    @property
    def excess(self) -> tuple[float, ...] | None:
        """Stage cost above its least value, k = 0..N; None where that is unknown."""
        return None if self.least is None else tuple(value - self.least for value in self.stage)


@dataclass(frozen=True)
class Observation:
    """All that one pass over the samples shows.

    Attributes:
        profile: means, one value per layer.
        dissipation: residuals of the dissipation inequality; None where the cost has no distance, or without steps.
        alpha: of a mean distance, with mean excess >= alpha; None where the cost has no distance.
    """

    profile: Profile
    dissipation: Dissipation | None
    alpha: Callable[[float], float] | None


def profile(network: Network, problem: Problem, part: Part, task: Task, chunk: int | None = None) -> Profile:
    """One pass over the samples of a part; every quantity is read off the same trajectories. See :func:`observe`.

    Raises:
        DataError: a part without samples, or with an input that is not finite.
        DivergenceError: a state that is not finite, with its layer.
    """
    return observe(network, problem, part, task, chunk=chunk).profile


@torch.no_grad()
def observe(
    network: Network, problem: Problem, part: Part, task: Task, storage: Storage | None = None,
    chunk: int | None = None,
) -> Observation:  # fmt: skip
    """The profile, and the residual of the dissipation inequality in every layer of every sample, in one pass.

    Args:
        network: any network; it is not changed.
        problem: whose costs are looked at.
        part: samples.
        task: whether the metric is an accuracy or a squared error.
        storage: S, from states (B, ...) to (B,), for the dissipation inequality; 0 if None.
        chunk: samples at a time; as many as keep the states of a batch within 256 MiB if None, at most 4,096.

    Raises:
        DataError: a part without samples, or with an input that is not finite.
        DivergenceError: a state that is not finite, with its layer.
    """
    if not len(part):
        raise DataError("part", got="no samples", expected="at least one", do="Choose another part.")
    with evaluating(network):
        return _observed(network, problem, part, task, storage, chunk)


def _observed(
    network: Network, problem: Problem, part: Part, task: Task, storage: Storage | None, chunk: int | None
) -> Observation:
    anchor, h = next(network.parameters(), part.x), network.h
    sums: list[Tensor] = []
    excess: list[Tensor] = []
    rate: list[Tensor] = []
    stored: list[Tensor] = []
    near: Nearness | None = None
    chunk = chunk or _chunk(network, onto(part.x[:1], anchor))
    for x, y in zip(part.x.split(chunk), part.y.split(chunk), strict=True):
        x, y = onto(x, anchor), onto(y, anchor)
        trajectory = rollout(network, x)
        _check_finite(x, trajectory)
        readouts = trajectory.readouts
        if task == "classification":
            metric = (readouts.argmax(-1) == y).double().sum(1)
        elif task == "language":
            metric = NextToken()(readouts, y).double().sum(1)
        else:
            metric = (readouts - y).double().square().sum((1, 2))
        near = nearness(trajectory, problem.stage, y)
        increment = [i.flatten(1).norm(dim=1).double().sum(0, keepdim=True) for i in trajectory.increments]
        stage = problem.stage(readouts, y).double()
        if near:
            stage = near.excess + (problem.stage.least or 0.0)
            excess.append(near.excess[:-1].cpu())
            rate.append(near.alpha(near.distance[:-1]).cpu())
            if storage is not None:
                stored.append(torch.stack([storage(state).double().cpu() for state in trajectory.states]))
        running = stage[:-1].sum(1)
        if network.table.stages > 1:
            nodes, weights = trajectory.quadrature
            running = (weights * problem.stage(nodes, y).sum(1)).sum(1).double() / running.new_tensor(h)
        same = problem.terminal is problem.stage
        terminal = stage if same else problem.terminal(readouts, y).double()
        distance = near.distance.sum(1) if near else stage.new_zeros(0)
        sums.append(torch.cat([stage.sum(1), metric, terminal.sum(1), *increment, running, distance]))
    n = network.depth
    mean = iter((torch.stack(sums).sum(0) / len(part)).split([n + 1, n + 1, n + 1, n, n, n + 1 if near else 0]))
    stages, metrics, terminals, increments, runnings, distances = (tuple(values.tolist()) for values in mean)
    means = Profile(
        stages, problem.stage.least, metrics, distances, near.name if near else "", increments,
        tuple(group_norms(network).tolist()), runnings, terminals,
    )  # fmt: skip
    residuals = None
    if excess and n:
        S = torch.cat(stored, 1).numpy() if stored else None
        residuals = dissipation(torch.cat(excess, 1).numpy(), torch.cat(rate, 1).numpy(), S, h)
    return Observation(means, residuals, _scalar(near) if near else None)


def _chunk(network: Network, x: Tensor) -> int:
    """Samples whose states fit into 2^26 numbers, if no state is larger than the first."""
    system = network.given(x).system
    state = system.lift(x)
    size = max(state.numel(), system.readout(state, 0).numel())  # a language model's outputs are larger than its states
    return int(max(1, min(4096, 2**26 // (size * (network.depth + 1)))))


def _scalar(near: Nearness) -> Callable[[float], float]:
    return lambda d: float(near.alpha(near.distance.new_tensor(d)))


def _check_finite(x: Tensor, trajectory: Trajectory) -> None:
    """Raise where an input or a state is not finite, and name the layer."""
    if not x.isfinite().all():
        bad = int((~x.isfinite()).flatten(1).any(1).sum())
        raise DataError("inputs", got=f"{bad} samples that are not finite", expected="finite numbers",
                        do="Clean the data: nothing can be read off such a trajectory.")  # fmt: skip
    for k, state in enumerate(trajectory.states):
        if not state.isfinite().all():
            raise DivergenceError(
                f"state of layer {k}", got="NaN or infinite values", expected="finite numbers in every layer",
                do="Training diverged or a weight is not finite: train again at a lower training.learning_rate.",
            )  # fmt: skip
