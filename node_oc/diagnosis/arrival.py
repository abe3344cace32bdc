"""Arrival at the turnpike: from which time on is each sample within a distance of its minimisers?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from node_oc.data.split import onto
from node_oc.diagnosis.dissipativity import DistanceName
from node_oc.discretization.network import Network
from node_oc.errors import ConfigError, DataError, ShapeError
from node_oc.problem.cost import Cost, SoftCrossEntropy, SquaredError
from node_oc.system.base import System
from node_oc.system.ode import NeuralODE
from node_oc.trajectory.dense import DenseOutput, dense_output
from node_oc.trajectory.solver import Solver

SHARE = 0.2  # of the mean distance at t = 0: what counts as near, as in turnpike()
MOST = 0.95  # of the samples: when they have arrived, the batch has
HALVINGS = 50  # of a bracket: more than a float64 time has digits

Distances = Callable[[Tensor], Tensor]  # states (.., B, ...) -> (.., B)


@dataclass(frozen=True)
class Arrival:
    """When the samples of a batch come within a distance of the minimisers, and stay to the end.

    Attributes:
        times: from which time on each sample stays within ``distance``, (B,), in units of time; 0 where it starts
            there, inf where it is outside at the end.
        first: when each is within for the first time, (B,); earlier than ``times`` where it leaves again, inf for
            never.
        mean: from which time on the mean distance of the batch stays within, as in :class:`Turnpike`; inf for never.
        distance: what counts as near.
        name: "state distance", to X*_y, where the readout is affine in the state; "logit distance" elsewhere.
        horizon: T, in units of time.
        share: of the samples, how many have to be there for the batch to have arrived.
        sentence: the verdict in words.
    """

    times: NDArray[np.float64]
    first: NDArray[np.float64]
    mean: float
    distance: float
    name: DistanceName
    horizon: float
    share: float
    sentence: str

    @property
    def time(self) -> float:
        """When the batch has arrived: from then on ``share`` of the samples stay within; inf for never."""
        return self.at(self.share)

    @property
    def found(self) -> bool:
        """Whether the batch arrives before the end."""
        return self.time < self.horizon

    @property
    def never(self) -> int:
        """Samples that are outside at the end."""
        return int(np.isinf(self.times).sum())

    @property
    def leavers(self) -> int:
        """Samples that were within and left again, for good or not."""
        return int((self.first < self.times).sum())

    def at(self, share: float) -> float:
        """The time from which on this share of the samples, 0 < share <= 1, stays within; inf for never."""
        return _quantile(self.times, share)


def _quantile(times: NDArray[np.float64], share: float) -> float:
    """The least of the times by which this share of them is over. Raises ConfigError for no share."""
    if not 0 < share <= 1:
        raise ConfigError("share of the samples", got=share, expected="more than 0, at most 1", do="Correct it.")
    return float(np.sort(times)[math.ceil(share * len(times) - 1e-9) - 1])


@torch.no_grad()
def arrival(
    ode: NeuralODE | Network, stage: Cost, x: Tensor, y: Tensor, distance: float | None = None, *,
    share: float = MOST, solver: Solver | None = None,
) -> Arrival:  # fmt: skip
    """Solve the ODE once with dense output, and find for each sample when it comes within a distance and stays.

    A sample has arrived from the last time on at which its distance crosses the level: as the entry of
    :func:`node_oc.diagnosis.turnpike`, which is a layer and of the mean, a time and of each. The crossing is bracketed
    between neighbouring nodes of the dense output, of which there are four a step of the solver, and then bisected;
    two crossings between two nodes are not seen. Time is that of the ODE; our definitions.

    Args:
        ode: a neural ODE, or any network with identity skips.
        stage: cost whose minimisers are meant: soft cross-entropy or squared error.
        x: inputs (B, features).
        y: class indices (B,), or regression targets (B, K).
        distance: d, what counts as near; a fifth of the mean distance at t = 0 if None, as for the turnpike.
        share: of the samples, how many have to be there for the batch to have arrived.
        solver: method and tolerances; dopri5 at 1e-6 by default.

    Raises:
        ConfigError: a cost without known minimisers, a distance that is not positive, or a share outside (0, 1].
        DataError: no samples.
    """
    network = ode if isinstance(ode, Network) else Network(ode)
    anchor = next(network.parameters(), x)
    x, y = onto(x, anchor), onto(y, anchor)
    if not len(x):
        raise DataError("samples", got="none", expected="at least one", do="Choose another part.")
    path = dense_output(network, x, solver)
    name, far = distances(network.system, stage, y, path.nodes[0, 0])
    places = path.places
    r = torch.cat([far(states) for states in path.states.split(64)]).double()
    level = SHARE * float(r[0].mean()) if distance is None else float(distance)
    if not 0 < level < float("inf"):
        raise ConfigError("distance", got=level, expected="a positive number", do="Say what counts as near.")
    outside = r > level
    times = _last(path, far, places, outside, level)
    first = _first(path, far, places, outside, level)
    mean = _last(path, lambda states: far(states).double().mean(-1, keepdim=True), places,
                 r.mean(1, keepdim=True) > level, level)  # fmt: skip
    found = times.cpu().numpy(), first.cpu().numpy()
    told = _told(found[0], level, name, float(path.t[-1]), share)
    return Arrival(*found, float(mean), level, name, float(path.t[-1]), share, told)


def distances(system: System, stage: Cost, y: Tensor, start: Tensor) -> tuple[DistanceName, Distances]:
    """How far states are from the minimisers of a cost, and what that distance is called.

    Args:
        system: its readout.
        stage: soft cross-entropy or squared error.
        y: class indices (B,), or regression targets (B, K).
        start: states (B, ...) to try it on.

    Raises:
        ConfigError: a cost without known minimisers, or a squared error whose readout is not affine in the state.
    """
    if not isinstance(stage, SoftCrossEntropy | SquaredError):
        raise ConfigError("stage cost", got=repr(stage), expected="SoftCrossEntropy or SquaredError: known minimisers",
                          do="Ask with one of these; eps of a soft target may be small.")  # fmt: skip
    try:
        readout = system.affine_readout()
        stage.state_distance(start, y, readout)  # unless some minimisers are out of reach
        return "state distance", lambda states: stage.state_distance(states, y, readout)
    except ShapeError:
        if isinstance(stage, SquaredError):
            raise ConfigError("readout", got="one that is not affine, or not of full rank", expected="C x + b of rank "
                              "K with a squared error", do="Use a linear head.") from None  # fmt: skip
    cost = stage  # narrowed

    def logits(states: Tensor) -> Tensor:
        read = system.head(states.flatten(0, states.dim() - start.dim()))
        return cost.logit_distance(read.unflatten(0, states.shape[: states.dim() - start.dim() + 1]), y)

    return "logit distance", logits


def _last(path: DenseOutput, far: Distances, places: Tensor, outside: Tensor, level: float) -> Tensor:
    """The last crossing of each column of ``outside`` (M, B): 0 where there is none, inf where the end is outside."""
    index = torch.arange(1, len(places) + 1, device=places.device)[:, None]
    behind = (outside * index).amax(0)  # the first place behind the last one outside
    i = behind.clamp(1, len(places) - 1)
    t = _bisect(path, far, places[i - 1], places[i], level)
    t = torch.where(behind == 0, torch.zeros_like(t), t)
    return torch.where(behind == len(places), torch.full_like(t, math.inf), t)


def _first(path: DenseOutput, far: Distances, places: Tensor, outside: Tensor, level: float) -> Tensor:
    """The first time within, of each sample; inf for never."""
    inside = ~outside
    i = inside.to(torch.uint8).argmax(0)
    t = _bisect(path, far, places[(i - 1).clamp(min=0)], places[i.clamp(min=1)], level)
    t = torch.where(i == 0, torch.zeros_like(t), t)
    return torch.where(inside.any(0), t, torch.full_like(t, math.inf))


def _bisect(path: DenseOutput, far: Distances, low: Tensor, high: Tensor, level: float) -> Tensor:
    """Where the distance falls to the level between ``low``, outside, and ``high``, inside; (B,)."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        inside = far(path(middle)) <= level
        low, high = torch.where(inside, low, middle), torch.where(inside, middle, high)
    return high


def _told(times: NDArray[np.float64], level: float, name: str, horizon: float, share: float) -> str:
    of = "minimisers" if name == "state distance" else "minimisers in logits"
    never, n = int(np.isinf(times).sum()), len(times)
    last = f"; {never} of {n} are outside at the end" if never else ""
    time, half = _quantile(times, share), _quantile(times, 0.5)
    if not time < horizon:
        return (f"No arrival: {100 * (n - never) / n:.3g} % of the samples are within {level:.3g} of their {of} at the "
                f"end, t = {horizon:g}, and {100 * share:g} % were asked for.")  # fmt: skip
    return (f"{100 * share:g} % of the samples are within {level:.3g} of their {of} from t = {time:.3g} of {horizon:g} "
            f"on, half of them from t = {half:.3g} on{last}.")  # fmt: skip
