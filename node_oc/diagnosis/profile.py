"""What happens at every depth: stage cost, accuracy, distance, increment, control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from node_oc.data.split import Part, Task
from node_oc.discretization.network import Network
from node_oc.errors import ShapeError
from node_oc.problem.cost import Cost, SoftCrossEntropy, SquaredError
from node_oc.problem.ocp import Problem, group_norms
from node_oc.trajectory.rollout import Trajectory, rollout

DistanceName = Literal["state distance", "logit distance", ""]


@dataclass(frozen=True)
class Profile:
    """Means over the samples of a part, one value per layer k.

    Attributes:
        stage: stage cost l(yhat_k), k = 0..N; without gamma and h_k.
        least: its least value, or None where that is unknown.
        metric: accuracy of yhat_k, or its squared error in regression, k = 0..N.
        distance: distance to the minimisers of the stage cost, k = 0..N; empty where there is none.
        distance_name: distance of the state where the readout is affine, of the logits otherwise.
        increment: ||x_{k+1} - S_k(x_k)||, k = 0..N-1.
        control: norm of the group of step k, k = 0..N-1; zero for a zero branch.
    """

    stage: tuple[float, ...]
    least: float | None
    metric: tuple[float, ...]
    distance: tuple[float, ...]
    distance_name: DistanceName
    increment: tuple[float, ...]
    control: tuple[float, ...]


@torch.no_grad()
def profile(network: Network, problem: Problem, part: Part, task: Task, chunk: int = 4096) -> Profile:
    """One pass over the samples of a part; every quantity is read off the same trajectories."""
    anchor = next(network.parameters(), part.x)
    sums: list[Tensor] = []
    name: DistanceName = ""
    for x, y in zip(part.x.split(chunk), part.y.split(chunk), strict=True):
        x = x.to(anchor)
        y = y.to(anchor.device, anchor.dtype if y.is_floating_point() else None)
        trajectory = rollout(network, x)
        readouts = trajectory.readouts
        if task == "classification":
            metric = (readouts.argmax(-1) == y).double().sum(1)
        else:
            metric = (readouts - y).double().square().sum((1, 2))
        distance, name = distances(trajectory, problem.stage, y)
        increment = [i.flatten(1).norm(dim=1).double().sum(0, keepdim=True) for i in trajectory.increments]
        stage = problem.stage(readouts, y).double().sum(1)
        sums.append(torch.cat([stage, metric, *increment, distance.double().sum(1)]))
    mean = (torch.stack(sums).sum(0) / len(part)).tolist()
    n = network.depth
    return Profile(
        tuple(mean[: n + 1]), problem.stage.least, tuple(mean[n + 1 : 2 * n + 2]), tuple(mean[3 * n + 2 :]), name,
        tuple(mean[2 * n + 2 : 3 * n + 2]), tuple(group_norms(network).tolist()),
    )  # fmt: skip


def distances(trajectory: Trajectory, stage: Cost, y: Tensor) -> tuple[Tensor, DistanceName]:
    """Distance of every state to the minimisers of the stage cost, (N+1, B), under its own name.

    A state distance where the readout is affine in the state; the logit distance where it is not; nothing,
    (0, B), for a cost whose minimisers are unknown or do not exist.
    """
    none = trajectory.states[0].new_zeros(0, len(y))
    if not isinstance(stage, SoftCrossEntropy | SquaredError):
        return none, ""
    try:
        readout = trajectory.network.system.affine_readout()
        return stage.state_distance(torch.stack(trajectory.states), y, readout), "state distance"
    except ShapeError:
        if isinstance(stage, SoftCrossEntropy):
            return stage.logit_distance(trajectory.readouts, y), "logit distance"
        return none, ""
