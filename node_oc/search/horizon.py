"""How many layers does this ODE need? Crop its horizon at the turnpike, discretise what is left, heal, select."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch

from node_oc.cropping import shorten
from node_oc.diagnosis.arrival import MOST, Arrival, arrival
from node_oc.discretization.discretize import discretize
from node_oc.discretization.network import Network
from node_oc.discretization.tableau import EULER, Tableau
from node_oc.errors import ConfigError
from node_oc.search.conclude import conclude
from node_oc.search.found import Candidate, Found
from node_oc.search.protocol import Protocol, smallest
from node_oc.system.base import as_number
from node_oc.system.ode import NeuralODE
from node_oc.trajectory.solution import Solution
from node_oc.trajectory.solved import Solved
from node_oc.trajectory.solver import Solver


@dataclass(frozen=True)
class HorizonCrop:
    """The answer: how many layers does this ODE need?

    Attributes:
        arrival: when the samples of the selecting half come near their minimisers.
        horizon: T, in units of time.
        cropped: T', the time of arrival; T where they do not arrive.
        table: of the layers.
        found: candidates by number of steps, the depth and the network found, its certificate and its plain neighbour.
            The reference is the ODE itself, solved.
        answered: whether some number of steps is within the budget; otherwise the network found is the reference.
        loss: mean loss on the selecting half of the ODE, solved on [0, T].
        loss_cropped: the same on [0, T'].
        evaluations: of the field, by the solver for the whole selecting half at once, on [0, T].
        solver: method and tolerances of the reference.
        sentence: the answer in words.
    """

    arrival: Arrival
    horizon: float
    cropped: float
    table: Tableau
    found: Found
    answered: bool
    loss: float
    loss_cropped: float
    evaluations: int
    solver: Solver
    sentence: str

    @property
    def steps(self) -> int | None:
        """Layers needed, or None where no number that was tried is within the budget."""
        return self.found.depth if self.answered else None

    @property
    def network(self) -> Network:
        """The network found."""
        return self.found.network

    @property
    def tried(self) -> dict[int, tuple[float, float]]:
        """Mean paired loss against the solved ODE by number of steps, before and after healing."""
        return {candidate.depth: (candidate.raw, candidate.excess) for candidate in self.found.candidates}


def crop_horizon(
    ode: NeuralODE | Network, protocol: Protocol, *, distance: float | None = None, share: float = MOST,
    table: Tableau = EULER, most: int | None = None, solver: Solver | None = None,
    fresh: Callable[[int], Network] | None = None,
) -> HorizonCrop:  # fmt: skip
    """Crop the horizon of a trained ODE at the turnpike, and find the fewest steps that the budget allows.

    1. T' is the time from which on ``share`` of the selecting samples stay within ``distance`` of their minimisers; T
       where they do not arrive.
    2. Candidates are M equal steps of a table on [0, T'], each with a control of its own (a step ends wherever the
       control jumps: then no piece has less than one, and the steps of a piece are equal), and M = 0, lift and head.
       Each is healed and judged as every crop is: :class:`node_oc.Protocol`, with the ODE solved on [0, T] as
       reference.
    3. The smallest M within the budget on the selecting half, by bisection; certified on the other half.

    Args:
        ode: a trained neural ODE, or a network of it; it is left as it is.
        protocol: samples, budget, how crops are healed; it is judged by the solved ODE from now on.
        distance: d, what counts as near; a fifth of the mean distance at t = 0 if None.
        share: of the samples, how many have to be there.
        table: of the layers; Euler is the residual network.
        most: steps up to which to look, at least as many as there are pieces; those of the ODE's own grid if None.
        solver: method and tolerances of the reference; dopri5 at 1e-6 by default.
        fresh: makes an untrained network of a given depth, for the plain neighbour; None leaves that out.

    Raises:
        ConfigError: no neural ODE.
    """
    network = ode if isinstance(ode, Network) else Network(ode)
    if not isinstance(network.system, NeuralODE):
        raise ConfigError("crop_horizon", got=f"a {type(network.system).__name__}", expected="a neural ODE",
                          do="The layers of a residual network are cropped by node_oc.DepthSearch.")  # fmt: skip
    solver, selecting = solver or Solver(), protocol.selecting
    reference = Solved(network, solver)
    protocol.judge_by(reference)
    end = sum(network.h)
    arrived = arrival(network, protocol.problem.stage, selecting.x, selecting.y, distance, share=share, solver=solver)
    cut = arrived.time if arrived.found else end
    short = shorten(network, cut) if cut else network.untied().keep([])
    jumps = _jumps(short)
    least = len(jumps) + 1 if jumps else 0
    most = max(least, network.depth if most is None else most) if cut else 0
    teacher = protocol.teacher(reference)
    tried: dict[int, Candidate] = {}

    def attempt(steps: int) -> bool:
        if steps not in tried:
            made = (
                short.untied().keep([]) if steps == 0 else discretize(short, table=table, times=grid(cut, jumps, steps))
            )
            tried[steps] = protocol.judge(made, f"horizon-{table.name}-{steps}", teacher)
        return tried[steps].inside

    if protocol.certifying is not None:
        attempt(most)  # the fixed sequence of certificates starts there
    selected = smallest(attempt, least - 1, most)
    found = conclude(protocol, reference, short, tried, selected if attempt(selected) else None, fresh)
    solution = Solution(network, selecting.x.to(next(network.parameters())), solver)
    with torch.no_grad():
        solution.states  # noqa: B018 (solves it)
    loss, loss_cropped = (float(protocol.losses(each).mean()) for each in (reference, Solved(short, solver)))
    answered = found.network is not reference
    result = HorizonCrop(arrived, end, cut, table, found, answered, loss, loss_cropped, solution.statistics.evaluations,
                         solver, "")  # fmt: skip
    return replace(result, sentence=_told(result, protocol))


def grid(end: float, jumps: Sequence[float], steps: int) -> list[float]:
    """t_0 = 0 .. t_N = ``end``: steps that end at every jump, of equal lengths between two of them, the longest least.

    Args:
        end: T', in units of time.
        jumps: times inside (0, T'), ascending.
        steps: N, at least one more than there are jumps.
    """
    edges = [0.0, *jumps, end]
    pieces = list(pairwise(edges))
    counts = [1] * len(pieces)
    for _ in range(steps - len(pieces)):
        longest = max(range(len(pieces)), key=lambda i: (pieces[i][1] - pieces[i][0]) / counts[i])
        counts[longest] += 1
    inner = [a + (b - a) * j / n for (a, b), n in zip(pieces, counts, strict=True) for j in range(n)]
    return [*inner, end]


def _jumps(network: Network) -> tuple[float, ...]:
    """Times at which the control of an ODE jumps, in units of time."""
    system = network.system
    pace = as_number(system.pace)
    return tuple(pace * t for t in system.jumps) if isinstance(system, NeuralODE) else ()


def _told(crop: HorizonCrop, protocol: Protocol) -> str:
    classify = protocol.split.task == "classification"

    def shown(loss: float) -> str:
        return f"{100 * (1 - loss):.2f} % accuracy" if classify else f"a loss of {loss:.4g}"

    reference = (f"{crop.solver.method} at {crop.solver.rtol:g} has {shown(crop.loss)} on [0, {crop.horizon:.3g}] with "
                 f"{crop.evaluations} evaluations of the field")  # fmt: skip
    where = f"[0, {crop.cropped:.3g}]" + (", the whole horizon" if crop.cropped == crop.horizon else "")
    kind = f"{crop.table.name} layer"
    if not crop.answered:
        tried = max(candidate.depth for candidate in crop.found.candidates)
        return (f"This ODE needs more than {tried} {kind}s: none of the numbers tried on {where} is within the budget. "
                f"{reference[0].upper()}{reference[1:]}. {crop.arrival.sentence}")  # fmt: skip
    loss = float(protocol.losses(crop.network).mean())
    depth = crop.found.depth
    return (f"This ODE needs {depth} {kind}{'s' * (depth != 1)} on {where}, with {shown(loss)}, where "
            f"{reference}. {crop.arrival.sentence}")  # fmt: skip
