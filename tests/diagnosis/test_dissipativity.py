"""alpha against numerical minimisation; residuals of the dissipation inequality by hand and along trajectories."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from systems import Projecting, decay, randn, stir_
from torch import Tensor
from torch.nn import functional as F

from node_oc.data import Part
from node_oc.diagnosis import diagnose, dissipation, nearness, observe, rotated_cost
from node_oc.discretization import DepthGrid, Network
from node_oc.errors import DataError, ShapeError
from node_oc.problem import CrossEntropy, Problem, SoftCrossEntropy, SquaredError
from node_oc.system import DenseSystem
from node_oc.trajectory import rollout


def infimum(cost: SoftCrossEntropy, r: float) -> float:
    """Least excess at logit distance r, by minimisation over directions."""
    q = cost.targets(torch.tensor([0]), torch.float64)[0].numpy()

    def excess(v: NDArray) -> float:
        w = v - v.mean()
        w = r * w / np.linalg.norm(w)
        top = w.max()
        return float(top + math.log(q @ np.exp(w - top)) - q @ w)

    corners, others = np.eye(cost.classes), np.random.default_rng(0).standard_normal((4, cost.classes))
    starts = [*corners[:2], *-corners[:2], *others]  # the classes but the first are alike
    return min(minimize(excess, v + 0.01 * np.arange(cost.classes), tol=1e-10).fun for v in starts)


@pytest.mark.parametrize(("r", "below"), [(0.1, 0.02), (1.0, 0.14), (8.0, 0.30)])
def test_alpha_is_just_below_the_infimum_for_ten_classes(r: float, below: float) -> None:
    cost = SoftCrossEntropy(10, 0.1)
    least = infimum(cost, r)
    rate = cost.dissipation_rate(torch.tensor(r, dtype=torch.float64)).item()
    assert rate == pytest.approx(0.1 / 9 / 2 * (math.sqrt(2) * r - 1 + math.exp(-math.sqrt(2) * r)))
    assert 1 - rate / least == pytest.approx(below, abs=0.006)


@pytest.mark.parametrize("eps", [0.01, 0.1, 0.45])
@pytest.mark.parametrize("r", [1e-3, 0.3, 2.0, 9.0])
def test_alpha_is_the_infimum_for_two_classes(eps: float, r: float) -> None:
    cost = SoftCrossEntropy(2, eps)
    rate = cost.dissipation_rate(torch.tensor(r, dtype=torch.float64)).item()
    z = cost.targets(torch.tensor([0, 0]), torch.float64).log()
    z = z + r / math.sqrt(2) * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    assert rate == pytest.approx(cost.excess(z[None], torch.tensor([0, 0])).min().item(), rel=1e-6)


@pytest.mark.parametrize("cost", [SoftCrossEntropy(2), SoftCrossEntropy(3, 0.4), SoftCrossEntropy(10), SquaredError()])
def test_alpha_is_convex_and_of_class_k_infinity(cost: SoftCrossEntropy | SquaredError) -> None:
    r = torch.linspace(0, 50, 5001, dtype=torch.float64)
    value = cost.dissipation_rate(r)
    assert value[0] == 0
    assert (value.diff() > 0).all()
    assert (value.diff().diff() > -1e-12).all()
    assert value[-1] - value[-2] > 1e-5  # a slope that stays, hence unbounded


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_no_excess_is_below_alpha_of_either_distance(classes: int) -> None:
    cost, y = SoftCrossEntropy(classes, 0.2), torch.arange(4000) % classes
    readout = (randn(classes, 12, seed=1), randn(classes, seed=2))
    x = randn(4000, 12, seed=3) * torch.logspace(-4, 2, 4000, dtype=torch.float64)[:, None]
    x = x + cost.project(torch.zeros_like(x), y, readout)
    z = F.linear(x, *readout)
    excess = cost.excess(z[None], y)[0]
    by_logits = cost.dissipation_rate(cost.logit_distance(z, y))
    by_state = cost.dissipation_rate(cost.state_distance(x, y, readout), readout)
    assert (excess >= by_logits - 1e-12).all()
    assert (by_logits >= by_state - 1e-12).all()
    assert (by_state > 0).all()


def test_the_scale_of_a_state_distance_is_the_least_singular_value() -> None:
    """C = diag(3, 0.5) reads two outputs: along the second one alpha is attained."""
    readout = (torch.diag(torch.tensor([3.0, 0.5])).double(), torch.zeros(2).double())
    cost, y = SquaredError(), torch.zeros(1, 2).double()
    x = torch.tensor([[0.0, 2.0]]).double()
    distance = cost.state_distance(x, y, readout)
    assert cost.dissipation_rate(distance, readout).item() == pytest.approx(1.0)
    assert cost.excess(F.linear(x, *readout)[None], y).item() == pytest.approx(1.0)
    soft = SoftCrossEntropy(3)
    C = randn(3, 5)
    s = torch.linalg.svdvals(C - C.mean(0))[1]
    d = torch.tensor(0.7).double()
    assert soft.dissipation_rate(d, (C, randn(3))) == pytest.approx(soft.dissipation_rate(s * d).item())


def test_a_readout_of_too_low_a_rank_has_no_scale() -> None:
    d = torch.ones(1)
    with pytest.raises(ShapeError, match="K - 1 = 3"):
        SoftCrossEntropy(4).dissipation_rate(d, (randn(4, 2), randn(4)))
    with pytest.raises(ShapeError, match="K = 4"):
        SquaredError().dissipation_rate(d, (randn(4, 2), randn(4)))


# -- residuals by hand ----------------------------------------------------------------------------------------

EXCESS = np.array([[1.0, 2.0], [0.5, 0.25], [0.1, 0.0]])


def test_residuals_by_hand() -> None:
    found = dissipation(EXCESS, EXCESS / 2)
    assert found.strict
    assert (found.least, found.layer, found.sample, found.violations) == (0.0, 2, 1, 0.0)
    assert found.residual == pytest.approx((0.5, 0.125, 0.0))
    assert found.rotated == pytest.approx(EXCESS.mean(1))
    assert found.sentence == (
        "Strictly dissipative on these trajectories: excess >= alpha(distance) in all 3 x 2 cases, "
        "least residual 0 at layer 2."
    )


def test_a_violation_is_named() -> None:
    rate = EXCESS / 2
    rate[1, 0] = 0.8
    rate[2, 1] = 0.01
    found = dissipation(EXCESS, rate)
    assert not found.strict
    assert (found.layer, found.sample, found.violations) == (1, 0, 2 / 6)
    assert found.least == pytest.approx(-0.3)
    assert "violated in 33.3 % of 3 x 2 cases, least residual -0.3 at layer 1, sample 0." in found.sentence


def test_rounding_is_no_violation() -> None:
    assert dissipation(EXCESS, EXCESS + 1e-12).sentence.endswith("least residual 0 at layer 0.")
    assert dissipation(1e6 * (1 + EXCESS), 1e6 * (1 + EXCESS) + 1e-5).strict
    assert not dissipation(EXCESS, EXCESS + 1e-6).strict


def test_a_storage_moves_cost_along_the_trajectory_and_changes_no_sum() -> None:
    S, h = np.array([[3.0, 1.0], [1.0, 1.0], [2.0, 1.0], [0.5, 1.0]]), np.array([0.5, 1.0, 2.0])
    rotated = rotated_cost(EXCESS, S, h)
    assert rotated[:, 0] == pytest.approx([1.0 + 4.0, 0.5 - 1.0, 0.1 + 0.75])
    assert rotated[:, 1] == pytest.approx(EXCESS[:, 1])
    assert (h @ rotated) == pytest.approx(h @ EXCESS + S[0] - S[-1])
    found = dissipation(EXCESS, np.zeros_like(EXCESS), S, h)
    assert (found.strict, found.layer, found.sample) == (False, 1, 0)
    assert found.least == pytest.approx(-0.5)
    S[:, 0] = 1.0
    assert "rotated cost >= alpha" in dissipation(EXCESS, EXCESS, S, h).sentence


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((EXCESS[0], EXCESS[0]), "rotated cost"),
        ((np.zeros((0, 3)), np.zeros((0, 3))), "rotated cost"),
        ((EXCESS, EXCESS, EXCESS), "rotated cost"),
        ((EXCESS, EXCESS, None, [1.0]), "rotated cost"),
        ((EXCESS, EXCESS[:2]), "alpha"),
        ((EXCESS, EXCESS * math.nan), "alpha"),
        ((np.where(EXCESS == 0.25, math.nan, EXCESS), EXCESS), "excess: got nan at layer 1, sample 1"),
        ((EXCESS, EXCESS, np.full((4, 2), math.inf)), "storage: got inf at layer 0, sample 0"),
    ],
)
def test_bad_input_raises(arguments: tuple[NDArray, ...], what: str) -> None:
    with pytest.raises(DataError, match=what):
        dissipation(*arguments)


# -- along trajectories ---------------------------------------------------------------------------------------

X = 2 * randn(40, 2).float()


def dense(classes: int, width: int = 6) -> Network:
    system = DenseSystem(2, classes, depth=4, width=width, hidden=5)
    stir_(system, 1.0)
    return Network(system)


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_soft_cross_entropy_is_strictly_dissipative_along_any_trajectory(classes: int) -> None:
    part = Part(X, torch.arange(40) % classes)
    found = diagnose(dense(classes), Problem.classification(classes), part)
    assert found.dissipation is not None
    assert found.dissipation.strict
    assert len(found.dissipation.residual) == 4
    assert found.profile.excess is not None
    assert found.dissipation.rotated == pytest.approx(found.profile.excess[:4])


def test_residuals_along_a_trajectory_are_excess_less_alpha_of_the_state_distance() -> None:
    net, cost, y = dense(3).double(), SoftCrossEntropy(3), torch.arange(40) % 3
    found = diagnose(net, Problem.classification(3), Part(X.double(), y)).dissipation
    with torch.no_grad():
        trajectory, readout = rollout(net, X.double()), net.system.affine_readout()
        distance = cost.state_distance(torch.stack(trajectory.states[:-1]), y, readout)
        residual = cost.excess(trajectory.readouts[:-1], y) - cost.dissipation_rate(distance, readout)
    assert found is not None
    assert found.residual == pytest.approx(residual.min(1).values.tolist(), rel=1e-9)
    assert found.least == pytest.approx(residual[found.layer, found.sample].item(), rel=1e-9)


@pytest.mark.parametrize("chunk", [1, 7])
def test_chunks_do_not_show(chunk: int) -> None:
    part, problem, net = Part(X, torch.arange(40) % 3), Problem.classification(3), dense(3)
    one, two = (
        observe(net, problem, part, "classification", lambda x: x[:, 0], chunk=c).dissipation for c in (40, chunk)
    )
    assert one is not None
    assert two is not None
    assert (two.layer, two.sample, two.violations) == (one.layer, one.sample, one.violations)
    assert two.residual == pytest.approx(one.residual, rel=1e-5)


def test_regression_is_strictly_dissipative_too() -> None:
    found = diagnose(dense(2), Problem.regression(), Part(X, randn(40, 2).float()))
    assert found.profile.distance_name == "state distance"
    assert found.dissipation is not None
    assert found.dissipation.strict


def test_a_readout_that_is_not_affine_is_judged_by_the_logit_distance() -> None:
    net = Network(Projecting((2, 3, 3), 3, torch.Generator().manual_seed(0)))
    y = torch.arange(40) % 3
    found = diagnose(net, Problem.classification(3), Part(X, y))
    assert found.profile.distance_name == "logit distance"
    assert found.dissipation is not None
    assert found.dissipation.strict
    assert found.counting is not None
    assert {row.of for row in found.counting.levels} == {"excess", "logit distance"}
    with torch.no_grad():
        near = nearness(rollout(net, X), SoftCrossEntropy(3), y)
    assert near is not None
    assert (near.excess >= near.alpha(near.distance) - 1e-12).all()
    regression = diagnose(net, Problem.regression(), Part(X, randn(40, 3).float()))
    assert (regression.profile.distance_name, regression.dissipation) == ("", None)
    assert "No dissipation inequality" in regression.sentences["dissipation"]


def test_any_callable_can_be_the_storage() -> None:
    """x halves in every layer: S = c |x|^2 gives up (3/4) c |x_k|^2 a step of h = 1/2."""
    net, y = Network(decay(3, 2), DepthGrid.uniform(3, 0.5)), torch.zeros(40, dtype=torch.long)
    problem, part = Problem.classification(2), Part(X, y)
    zero = diagnose(net, problem, part).dissipation
    assert zero is not None

    def stored(c: float) -> Tensor:
        found = diagnose(net, problem, part, storage=lambda x: c * x.square().sum(1)).dissipation
        assert found is not None
        assert found.strict == (c >= 0)
        return torch.tensor(found.rotated)

    square = X.double().square().sum(1).mean()
    gain = torch.stack([1.5 * square / 4**k for k in range(3)]).float()
    assert torch.allclose(stored(2.0) - torch.tensor(zero.rotated), 2.0 * gain, rtol=1e-5)
    assert torch.allclose(stored(-9.0) - torch.tensor(zero.rotated), -9.0 * gain, rtol=1e-5)


def test_a_cost_without_minimisers_has_no_inequality() -> None:
    cost = CrossEntropy()
    found = diagnose(dense(3), Problem(cost, cost), Part(X, torch.arange(40) % 3))
    assert found.dissipation is None
    assert found.counting is not None  # its infimum is known, so excess and bound are
    assert {row.of for row in found.counting.levels} == {"excess"}


@pytest.mark.parametrize("h", [[1.0, 0.0, 1.0], [1.0, math.nan, 1.0], [1.0, -1.0, 1.0]])
def test_step_sizes_are_positive(h: list[float]) -> None:
    with pytest.raises(DataError, match="positive finite"):
        dissipation(np.ones((3, 2)), np.zeros((3, 2)), h=h)
