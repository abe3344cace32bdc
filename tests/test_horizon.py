"""How many layers an ODE needs: shorter horizons are exact, and the search keeps its promises on a small set."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

import node_oc
from node_oc.config import SearchSection, TrainingSection
from node_oc.cropping import shorten
from node_oc.data import Split, spirals
from node_oc.diagnosis import sample_losses
from node_oc.discretization import EULER, RK4, Network
from node_oc.errors import ConfigError
from node_oc.problem import Problem
from node_oc.search import Protocol, crop_horizon
from node_oc.search.horizon import HorizonCrop, grid
from node_oc.system import DenseSystem
from node_oc.system.base import as_number
from node_oc.system.ode import (
    Basis,
    Chebyshev,
    Coordinates,
    DenseVectorField,
    Fourier,
    NeuralODE,
    Pad,
    Piecewise,
    Polynomial,
)
from node_oc.trajectory import Solution, Solved, Solver, dense_output

TIGHT = Solver(rtol=1e-7, atol=1e-7)
OPTIONS = TrainingSection(epochs=120, batch=0, learning_rate=1e-2, min_updates=0, threads=1)


def trained_like(basis: Basis, time: bool = False, learn_horizon: bool = False, steps: int = 6) -> Network:
    generator = torch.Generator().manual_seed(0)
    field = DenseVectorField(3, 6, time=time, generator=generator).double()
    ode = NeuralODE(field, lift=Pad(2, 3), head=Coordinates(2, 3), horizon=3.0, steps=steps, basis=basis,
                    learn_horizon=learn_horizon)  # fmt: skip
    with torch.no_grad():
        for p in ode.parameters():
            p += 0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return Network(ode, table=RK4)


def inputs(n: int = 5) -> Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(
    ("basis", "learn_horizon"),
    [(Piecewise(1), False), (Piecewise(3), False), (Piecewise(3), True), (Chebyshev(3), True), (Fourier(3), False)],
)
def test_a_shorter_horizon_is_the_beginning_of_the_longer_one(basis: Basis, learn_horizon: bool) -> None:
    network, x = trained_like(basis, time=True, learn_horizon=learn_horizon), inputs()
    end = as_number(network.system.horizon)
    path = dense_output(network, x, TIGHT)
    for part in (0.4, 0.5):
        short = shorten(network, part * end)
        assert sum(short.h) == pytest.approx(part * end)
        assert short.table is RK4
        expected = path(torch.tensor(part * end, dtype=torch.float64))
        torch.testing.assert_close(Solution(short, x, TIGHT).states[-1], expected, rtol=1e-5, atol=1e-5)
        again = Network.from_spec(short.spec()).double()
        again.load_state_dict(short.state_dict())
        torch.testing.assert_close(again(x), short(x), rtol=0, atol=0)
        unrolled = node_oc.discretize(short)
        torch.testing.assert_close(unrolled(x), short(x))
    torch.testing.assert_close(shorten(network, end)(x), network(x))


def test_a_horizon_must_lie_inside() -> None:
    network = trained_like(Piecewise(3))
    for horizon in (0.0, -1.0, 3.1, math.nan):
        with pytest.raises(ConfigError, match="horizon"):
            shorten(network, horizon)
    with pytest.raises(ConfigError, match="neural ODE"):
        shorten(Network(DenseSystem(2, 2, depth=2, width=3, hidden=4)), 1.0)
    with pytest.raises(ConfigError, match="span"):
        NeuralODE(DenseVectorField(2, 2), horizon=2.0, span=1.0)


def test_solved_is_the_ode_and_not_its_table() -> None:
    network, x = trained_like(Polynomial(2), steps=1), inputs()
    solved = Solved(network, TIGHT)
    torch.testing.assert_close(solved(x), Solution(network, x, TIGHT).final, rtol=0, atol=0)
    assert (solved(x) - network(x)).abs().max() > 1e-3
    fine = Network(network.system.unroll([3 * k / 200 for k in range(201)], (0.0, 0.5, 1.0)), table=RK4)  # type: ignore[operator]
    torch.testing.assert_close(solved(x), fine(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("end", "jumps", "steps", "expected"),
    [
        (2.0, (), 4, [0, 0.5, 1, 1.5, 2]),
        (2.0, (1.0,), 2, [0, 1, 2]),
        (2.5, (1.0, 2.0), 5, [0, 0.5, 1, 1.5, 2, 2.5]),
        (4.0, (1.0,), 4, [0, 1, 2, 3, 4]),
    ],
)
def test_steps_end_at_jumps_and_the_longest_is_halved(
    end: float, jumps: tuple[float, ...], steps: int, expected: list[float]
) -> None:
    np.testing.assert_allclose(grid(end, jumps, steps), expected)


@pytest.fixture(scope="module")
def split() -> Split:
    return spirals(turns=0.5, train=200, val=2000, test=500)


def plain(depth: int) -> Network:
    return Network(DenseSystem(2, 2, depth=depth, width=4, hidden=8, lift="pad", head="coordinates",
                               generator=torch.Generator().manual_seed(depth)))  # fmt: skip


@pytest.fixture(scope="module")
def ode(split: Split) -> Network:
    network = Network(NeuralODE(DenseVectorField(4, 12), lift=Pad(2, 4), head=Coordinates(2, 4), horizon=4.0, steps=8),
                      table=RK4)  # fmt: skip
    node_oc.fit(network, Problem.classification(2, 0.05), split.train, OPTIONS)
    return network


@pytest.fixture(scope="module")
def crop(ode: Network, split: Split) -> tuple[HorizonCrop, Protocol]:
    protocol = Protocol(Problem.classification(2, 0.05), split, OPTIONS, SearchSection(budget=0.01))
    return crop_horizon(ode, protocol, distance=1.0, share=0.8, fresh=plain), protocol


def test_the_answer_is_the_fewest_euler_steps_within_the_budget(
    crop: tuple[HorizonCrop, Protocol], ode: Network, split: Split
) -> None:
    found, protocol = crop
    assert found.answered
    assert found.steps == found.network.depth == found.found.depth
    assert found.network.table is EULER
    assert found.cropped == found.arrival.time < found.horizon == 4.0
    assert sum(found.network.h) == pytest.approx(found.cropped)
    inside = {candidate.depth: candidate.inside for candidate in found.found.candidates}
    assert inside[8]  # asked first, for the certificates
    assert inside[found.found.selected]
    assert found.found.selected == 0 or inside[found.found.selected - 1] is False
    # Accuracies are those of the solver, not of the table; paired losses add up.
    outputs = Solution(ode, protocol.selecting.x, found.solver).final
    assert found.loss == pytest.approx(float((outputs.argmax(1) != protocol.selecting.y).double().mean()))
    healed = float(sample_losses(found.network, protocol.selecting, split.task).mean())
    assert found.tried[found.network.depth][1] == pytest.approx(healed - found.loss)
    assert f"{100 * (1 - healed):.2f} %" in found.sentence
    assert found.sentence.startswith(f"This ODE needs {found.steps} euler layer")
    assert found.found.plain is not None
    assert found.found.plain.depth == found.steps
    assert found.evaluations > 20


def test_the_healed_network_is_an_ordinary_one(crop: tuple[HorizonCrop, Protocol], split: Split) -> None:
    network = crop[0].network
    again = Network.from_spec(store_round(network.spec()))
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(again(split.test.x), network(split.test.x), rtol=0, atol=0)


def store_round(spec: dict[str, object]) -> dict[str, object]:
    return json.loads(json.dumps(spec))  # type: ignore[no-any-return]


def test_without_arrival_the_horizon_stays(ode: Network, split: Split) -> None:
    protocol = Protocol(Problem.classification(2, 0.05), split, OPTIONS, SearchSection(budget=0.0, heal=False))
    found = crop_horizon(ode, protocol, distance=1e-6, most=2)
    assert not found.arrival.found
    assert found.cropped == found.horizon == 4.0
    assert found.steps is None
    assert not found.answered
    assert "needs more than 2 euler layers" in found.sentence
    assert "No arrival" in found.sentence


def test_already_there_no_layer_is_tried(ode: Network, split: Split) -> None:
    protocol = Protocol(Problem.classification(2, 0.05), split, OPTIONS, SearchSection(budget=0.99, heal=False))
    found = crop_horizon(ode, protocol, distance=100.0)
    assert found.cropped == 0
    assert found.steps == 0
    assert list(found.tried) == [0]


def test_pieces_of_the_control_are_kept(split: Split) -> None:
    field = DenseVectorField(4, 12)
    ode = NeuralODE(field, lift=Pad(2, 4), head=Coordinates(2, 4), horizon=4.0, steps=4, basis=Piecewise(4))
    protocol = Protocol(Problem.classification(2, 0.05), split, OPTIONS, SearchSection(budget=0.9, heal=False))
    found = crop_horizon(ode, protocol, distance=1e-6)
    assert found.steps == 4
    assert found.network.h == (1.0, 1.0, 1.0, 1.0)
    assert crop_horizon(ode, protocol, distance=1e-6, most=3).steps == 4
    with pytest.raises(ConfigError, match="neural ODE"):
        crop_horizon(plain(2), protocol)
