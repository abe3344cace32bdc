"""A phase portrait in numbers: the field in a plane at some layers, the way of some samples, and the minimiser sets."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from node_oc.data.split import Part
from node_oc.diagnosis.plane import principal_plane, readout, row_space
from node_oc.discretization.network import Network
from node_oc.errors import ShapeError
from node_oc.problem.cost import SoftCrossEntropy
from node_oc.problem.ocp import Problem
from node_oc.trajectory.rollout import rollout

PANELS = 6  # fields shown
TRACED = 24  # samples whose way is shown
SEEN = 200  # samples from which means and directions are taken
SIDE = 17  # arrows a side
UNEQUAL = 2.5  # longer by this factor, a direction gets a scale of its own
DIGITS = 5  # significant, of what is kept

Plane = Literal["state", "readout", "states"]


@dataclass(frozen=True)
class MinimiserSet:
    """X*_c in the plane: a point, or a line through it.

    Attributes:
        label: the class c.
        point: (2,), of the set in coordinates of the plane.
        direction: (2,) of length 1 where it is a line; None where it is a point.
    """

    label: int
    point: tuple[float, float]
    direction: tuple[float, float] | None


@dataclass(frozen=True)
class Portrait:
    """What a picture of the phase space shows, as plain numbers.

    Attributes:
        plane: "state" where the state has two entries: the coordinates are its entries, nothing is projected.
            "readout": coordinates from the mean state along two orthonormal directions, see :func:`portrait`.
            "states": likewise, but the readout is not affine, and they are the principal ones of the states.
        share: of the variance of the states (all layers) that the plane shows, 0 to 1.
        x: left and right end of the picture.
        y: lower and upper end; as far apart, unless the states spread much more one way than the other.
        side: arrows a side; they stand at equal distances from end to end, row by row from below.
        layers: the steps k whose field is shown; one alone where all steps have the same field.
        t: the times t_k of these layers, a trained horizon counted.
        constant: whether every step has the same field.
        arrows: F_k in the plane, one list of (2,) for each of the layers, in units of the state per unit of time.
        paths: (samples, N + 1, 2), the states x_0..x_N of some samples.
        labels: their classes; empty in regression.
        sets: minimiser sets of these classes; empty where the stage cost has none.
        units: whether t_k = k, so that a step is a unit of time.
    """

    plane: Plane
    share: float
    x: tuple[float, float]
    y: tuple[float, float]
    side: int
    layers: tuple[int, ...]
    t: tuple[float, ...]
    constant: bool
    arrows: list[list[list[float]]]
    paths: list[list[list[float]]]
    labels: list[int]
    sets: tuple[MinimiserSet, ...]
    units: bool

    def record(self) -> dict[str, Any]:
        """Everything as JSON has it."""
        return asdict(self)


def no_portrait(network: Network, part: Part) -> str:
    """Why there is no phase portrait of a network on these samples, in one sentence; empty where there is one."""
    with torch.no_grad():
        state = network.system.lift(part.x[:1].to(next(network.parameters(), part.x)))
    if state.dim() != 2:
        kind = "maps and not vectors" if state.dim() > 3 else "sequences of vectors"
        return f"The states are {kind}: no plane shows where their field points."
    if state.shape[1] < 2:
        return "The state has one entry: there is no plane to draw its field in."
    if not network.awake:
        return "No step is awake: there is no field to draw."
    if not all(network.system.is_identity(k) for k in range(network.depth)):
        return "Some skips are not the identity: the states of different layers share no plane."
    return ""


@torch.no_grad()
def portrait(network: Network, problem: Problem, part: Part) -> Portrait:
    """The phase portrait of a network whose states are vectors.

    Where the state has two entries, its field is shown as it is. Where it has more, the plane is that of
    :func:`node_oc.diagnosis.plane.principal_plane`, and the arrows are those of the field at the affine slice through
    the mean of the states x_k at that layer, parallel to the plane, projected to it (our choice). Paths and minimiser
    sets are projected. With three or more classes X*_c is a point there, since all of its own directions are orthogonal
    to the plane; with two it is a line.

    Args:
        network: what is looked at; it is not changed.
        problem: whose stage cost has minimiser sets, if it is soft cross-entropy.
        part: samples; float targets are regression.

    Raises:
        ShapeError: states without a common plane; :func:`no_portrait` says why.
    """
    if why := no_portrait(network, part):
        raise ShapeError("phase portrait", got=why, expected="states that are vectors of two entries or more",
                         do="Look at the profile instead.")  # fmt: skip
    anchor = next(network.parameters(), part.x)
    shown = _traced(part)
    few = torch.cat([part.x[shown], part.x[:SEEN]]).to(anchor)
    states = torch.stack(rollout(network, few).states).double().cpu()  # (N+1, B, D)
    seen, traced = states[:, len(shown) :], states[:, : len(shown)]
    classify = not part.y.is_floating_point()
    origin, basis, share = principal_plane(network, seen.flatten(0, 1), classify)
    paths = ((traced - origin) @ basis).transpose(0, 1)
    labels = part.y[shown].tolist() if classify else []
    sets = _sets(network, problem, sorted(set(labels)), origin, basis) if classify else ()
    (x0, x1), (y0, y1) = window = _window(paths.flatten(0, 1), sets)
    layers, constant = _layers(network, states)
    grid = torch.stack(torch.meshgrid(torch.linspace(y0, y1, SIDE), torch.linspace(x0, x1, SIDE), indexing="ij"), -1)
    spots = grid.flip(-1).flatten(0, 1).double()
    arrows = []
    for k in layers:
        centre = seen.flatten(0, 1).mean(0) if constant else seen[k].mean(0)
        off = centre - origin
        slice_ = origin + spots @ basis.T + off - basis @ (basis.T @ off)
        arrows.append(network.system.branch_at(k, 0.0, slice_.to(anchor)).double().cpu() @ basis)
    t = (0.0, *accumulate(network.h))
    kind: Plane = "state" if len(origin) == 2 else "states" if readout(network) is None else "readout"
    return Portrait(
        kind, share, window[0], window[1], SIDE, layers,
        tuple(t[k] for k in layers), constant, [_short(one) for one in arrows], _short(paths), labels, sets,
        all(t[k] == k for k in range(len(t))),
    )  # fmt: skip


def _traced(part: Part) -> list[int]:
    """As many samples of each class, in turns; the first ones in regression."""
    if part.y.is_floating_point():
        return list(range(min(TRACED, len(part))))
    turns = torch.zeros(len(part), dtype=torch.long)
    for label in part.y.unique():
        mine = part.y == label
        turns[mine] = torch.arange(int(mine.sum()))
    return torch.argsort(turns, stable=True)[:TRACED].tolist()


def _sets(
    network: Network, problem: Problem, labels: list[int], origin: Tensor, basis: Tensor
) -> tuple[MinimiserSet, ...]:
    """X*_c = {x: P(C x + b - log q_c) = 0}, projected; none where the cost or the rank of P C gives none."""
    cost = problem.stage
    read = readout(network)
    if not isinstance(cost, SoftCrossEntropy) or read is None:
        return ()
    weight = read[0]
    rows = row_space(weight - weight.mean(0))
    if rows.shape[1] < cost.classes - 1:
        return ()
    nearest = cost.project(origin.expand(len(labels), -1), torch.tensor(labels), read)
    along = torch.linalg.eigh(basis.T @ (basis - rows @ (rows.T @ basis)))  # what of the plane lies in the set
    line = bool(along.eigenvalues[1] > 1e-6)
    forward = along.eigenvectors[:, 1]
    direction = _pair(forward * forward[forward.abs().argmax()].sign()) if line else None
    return tuple(
        MinimiserSet(label, _pair((x - origin) @ basis), direction)
        for label, x in zip(labels, nearest, strict=True)
    )  # fmt: skip


def _window(points: Tensor, sets: tuple[MinimiserSet, ...]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Room around all paths, and the sets where they are not too far away; a square unless it would be hardly used."""
    low, high = points.amin(0), points.amax(0)
    half = max(float((high - low).max()) / 2, 1e-6)
    for each in sets:
        at = torch.tensor(each.point, dtype=torch.float64)
        if each.direction is not None:  # the point of the line nearest to the paths
            along = torch.tensor(each.direction, dtype=torch.float64)
            at = at + ((low + high) / 2 - at) @ along * along
        if float((at - (low + high) / 2).abs().max()) <= 3 * half:
            low, high = torch.minimum(low, at), torch.maximum(high, at)
    size = (high - low).clamp_min(2e-6)
    if float(size.max()) <= UNEQUAL * float(size.min()):
        size = size.amax().expand(2)
    (x, y), (a, b) = ((low + high) / 2).tolist(), (0.56 * size).tolist()
    return (x - a, x + a), (y - b, y + b)


def _layers(network: Network, states: Tensor) -> tuple[tuple[int, ...], bool]:
    """The steps whose field is shown, denser at the beginning, and whether all steps have the same field."""
    awake = network.awake
    nodes = sorted(set(network.table.c)) if network.system.varies_within_steps else [0.0]
    at = states[:: max(1, len(states) - 1), :8].flatten(0, 1).to(next(network.parameters(), states))
    fields = [network.system.branch_at(k, c, at) for k in awake for c in nodes]
    if len(fields) > 1 and all(torch.equal(field, fields[0]) for field in fields):
        return awake[:1], True
    if len(awake) <= PANELS:
        return awake, False
    return tuple(awake[i] for i in sorted({round(float(p)) - 1 for p in np.geomspace(1, len(awake), PANELS)})), False


def _pair(x: Tensor) -> tuple[float, float]:
    x = torch.where(x.abs() > 1e-9 * x.abs().max(), x, torch.zeros_like(x))  # rounding is no direction
    a, b = (float(f"{value:.{DIGITS}g}") for value in x.tolist())
    return a, b


def _short(x: Tensor) -> list[Any]:
    """Nested lists with a few significant digits."""
    exponent = 10.0 ** (DIGITS - 1 - x.abs().clamp_min(1e-30).log10().floor())
    return ((x * exponent).round() / exponent).tolist()
