"""Where costs are least: constants, excess, distance, projection (theory sheet, section 1)."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import null_space
from scipy.optimize import minimize
from scipy.stats import entropy
from systems import randn
from torch import Tensor
from torch.nn import functional as F

from node_oc.errors import ConfigError, DataError, ShapeError
from node_oc.problem import CrossEntropy, SoftCrossEntropy, SquaredError

few = settings(max_examples=60, deadline=None, derandomize=True)
classes_and_eps = st.integers(2, 12).flatmap(
    lambda k: st.tuples(st.just(k), st.floats(0.01, 0.95 * (k - 1) / k), st.integers(0, k - 1))
)


def log_q(classes: int, eps: float, c: int) -> Tensor:
    q = torch.full((classes,), eps / (classes - 1), dtype=torch.float64)
    q[c] = 1 - eps
    return q.log()


def g(r: Tensor, eps: float, classes: int) -> Tensor:
    """The closed alpha of the theory sheet, K >= 3."""
    r = math.sqrt(2) * r
    return eps / (classes - 1) / 2 * (r - 1 + torch.exp(-r))


def readout(classes: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    return randn(classes, width, seed=seed), randn(classes, seed=seed + 1)


def states(width: int, batch: int = 4, seed: int = 9) -> Tensor:
    return 3 * randn(batch, width, seed=seed)


def test_constants_for_ten_classes() -> None:
    cost = SoftCrossEntropy(10, 0.1)
    assert cost.gap == pytest.approx(math.log(81), abs=1e-12)
    assert cost.gap == pytest.approx(4.394449, abs=1e-6)
    assert cost.least == pytest.approx(0.544805, abs=1e-6)


@few
@given(classes_and_eps, st.floats(-30, 30))
def test_excess_is_zero_on_the_minimisers_wherever_along_them(case: tuple, shift: float) -> None:
    classes, eps, c = case
    z = (log_q(*case) + shift)[None, None]
    cost = SoftCrossEntropy(classes, eps)
    assert abs(cost.excess(z, torch.tensor([c])).item()) < 1e-12
    assert cost.logit_distance(z, torch.tensor([c])).item() < 1e-12
    others = [j for j in range(classes) if j != c]
    torch.testing.assert_close(z[..., [c]] - z[..., others], torch.full((1, 1, classes - 1), cost.gap).double())


@few
@given(classes_and_eps, st.integers(0, 10**6))
def test_excess_is_the_divergence_from_the_target(case: tuple, seed: int) -> None:
    classes, eps, c = case
    z = 3 * randn(1, 1, classes, seed=seed)
    divergence = entropy(log_q(*case).exp().numpy(), z[0, 0].softmax(0).numpy())
    assert SoftCrossEntropy(classes, eps).excess(z, torch.tensor([c])).item() == pytest.approx(divergence, abs=1e-12)


@pytest.mark.parametrize(("classes", "alpha"), [(2, 0.3), (5, 0.1), (10, 0.05)])
def test_label_smoothing_of_torch_is_another_eps(classes: int, alpha: float) -> None:
    z, y = randn(1, 20, classes), torch.arange(20) % classes
    ours = SoftCrossEntropy(classes, eps=alpha * (classes - 1) / classes)
    torch.testing.assert_close(ours(z, y)[0], F.cross_entropy(z[0], y, reduction="none", label_smoothing=alpha))
    q = ours.targets(y)
    torch.testing.assert_close(q.sum(1), torch.ones(20))
    torch.testing.assert_close(ours(z, y)[0], -(q * z[0].log_softmax(1)).sum(1), rtol=1e-6, atol=0)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.integers(3, 12).flatmap(lambda k: st.tuples(st.just(k), st.floats(0.01, 0.95 * (k - 1) / k))),
    st.floats(1e-2, 20), st.integers(0, 10**6),
)  # fmt: skip
def test_excess_is_at_least_the_closed_bound(case: tuple, size: float, seed: int) -> None:
    classes, eps = case
    z = size * randn(50, 1, classes, seed=seed)
    cost, y = SoftCrossEntropy(classes, eps), torch.tensor([seed % classes])
    excess, r = cost.excess(z, y), cost.logit_distance(z, y)
    assert (excess >= g(r, eps, classes) * (1 - 1e-9) - 1e-13).all()
    assert excess.mean() >= g(r.mean(), eps, classes)  # the bound is convex: it holds for means


@pytest.mark.parametrize(("r", "share"), [(0.1, 0.98), (1.0, 0.86), (8.0, 0.70)])
def test_the_closed_bound_is_near_the_infimum(r: float, share: float) -> None:
    """2, 14 and 30 % below the least excess at logit distance r, K = 10 (theory sheet, section 1)."""
    cost, y = SoftCrossEntropy(10, 0.1), torch.tensor([0])
    bound = g(torch.tensor(r, dtype=torch.float64), 0.1, 10).item()

    def ratio(v: np.ndarray) -> float:
        v = v - v.mean()
        z = log_q(10, 0.1, 0) + torch.from_numpy(r * v / np.linalg.norm(v))
        return cost.excess(z[None, None], y).item() / bound

    rng = np.random.default_rng(0)
    least = min(minimize(ratio, v).fun for v in [*rng.standard_normal((3, 10)), -np.eye(10)[1]])
    assert 1 / least == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("classes", "width"), [(2, 1), (3, 2), (3, 5)])
def test_state_distance_equals_a_numerical_projection(classes: int, width: int, seed: int) -> None:
    cost, (weight, bias), x = SoftCrossEntropy(classes, 0.1), readout(classes, width, seed), states(width, 1, seed)[0]
    c = seed % classes
    gaps = [(weight[c] - weight[j], bias[c] - bias[j] - cost.gap) for j in range(classes) if j != c]
    a, b = np.array([w.numpy() for w, _ in gaps]), np.array([float(v) for _, v in gaps])
    found = minimize(lambda v: ((v - x.numpy()) ** 2).sum(), np.zeros(width), method="SLSQP", tol=1e-13,
                     constraints={"type": "eq", "fun": lambda v: a @ v + b})  # fmt: skip
    y = torch.tensor([c])
    assert cost.state_distance(x[None], y, (weight, bias)).item() == pytest.approx(math.sqrt(found.fun), rel=1e-5)
    np.testing.assert_allclose(cost.project(x[None], y, (weight, bias))[0].numpy(), found.x, atol=1e-4)


def test_state_distance_of_two_coordinates_in_closed_form() -> None:
    cost, x = SoftCrossEntropy(2, 0.1), states(2)
    identity = (torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64))
    expected = (x[:, 0] - x[:, 1] - cost.gap).abs() / math.sqrt(2)
    torch.testing.assert_close(cost.state_distance(x, torch.zeros(4, dtype=torch.long), identity), expected)
    torch.testing.assert_close(cost.logit_distance(x[None], torch.zeros(4, dtype=torch.long))[0], expected)


@pytest.mark.parametrize(("classes", "width"), [(2, 2), (3, 2), (3, 6), (10, 12)])
def test_a_projection_lands_on_the_set_by_the_shortest_way(classes: int, width: int) -> None:
    cost, affine, x = SoftCrossEntropy(classes, 0.1), readout(classes, width), states(width)
    y = torch.arange(4) % classes
    on = cost.project(x, y, affine)
    assert (cost.excess(F.linear(on, *affine)[None], y) < 1e-10).all()
    torch.testing.assert_close(cost.project(on, y, affine), on, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close((x - on).norm(dim=1), cost.state_distance(x, y, affine), rtol=1e-12, atol=0)
    free = null_space((affine[0] - affine[0].mean(0)).numpy())
    assert free.shape[1] == width - classes + 1
    np.testing.assert_allclose((x - on).numpy() @ free, 0, atol=1e-10)


def test_cost_and_distance_do_not_change_along_the_minimisers() -> None:
    """Lemma 5: X*_y is invariant; with dim x > K the other directions are free too (Remark 4)."""
    cost, affine, x = SoftCrossEntropy(3, 0.2), readout(3, 6), states(6)
    y = torch.arange(4) % 3
    free = torch.from_numpy(null_space((affine[0] - affine[0].mean(0)).numpy()))
    moved = x + 5 * (randn(4, 4) @ free.T)
    assert (moved - x).norm(dim=1).min() > 1
    torch.testing.assert_close(cost.state_distance(moved, y, affine), cost.state_distance(x, y, affine))
    torch.testing.assert_close(cost(F.linear(moved, *affine)[None], y), cost(F.linear(x, *affine)[None], y))


def test_state_distance_is_linked_to_the_logits_by_the_smallest_singular_value() -> None:
    cost, affine, x = SoftCrossEntropy(4, 0.1), readout(4, 6), states(6, 50)
    y = torch.arange(50) % 4
    s = torch.linalg.svdvals(affine[0] - affine[0].mean(0))[2]
    excess = cost.excess(F.linear(x, *affine)[None], y)[0]
    assert (excess >= g(s * cost.state_distance(x, y, affine), 0.1, 4)).all()


def test_a_trajectory_of_states_is_measured_at_once() -> None:
    cost, affine, x = SoftCrossEntropy(3), readout(3, 5), states(5, 8).view(2, 4, 5)
    y = torch.tensor([0, 1, 2, 0])
    both = cost.state_distance(x, y, affine)
    assert both.shape == (2, 4)
    torch.testing.assert_close(both[1], cost.state_distance(x[1], y, affine))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_readout_of_too_low_a_rank_raises_and_names_the_rank(dtype: torch.dtype) -> None:
    weight, bias = readout(5, 3)
    shifted = weight @ randn(3, 3) + randn(3)
    with pytest.raises(ShapeError, match="got 3, expected K - 1 = 4"):
        SoftCrossEntropy(5).state_distance(states(3).to(dtype), torch.zeros(4).long(), (weight.to(dtype), bias))
    wide = torch.cat([shifted, shifted, weight], 1).to(dtype)  # nine columns, still of rank 3
    with pytest.raises(ShapeError, match="got 3, expected K - 1 = 4"):
        SoftCrossEntropy(5).project(states(9).to(dtype), torch.zeros(4).long(), (wide, bias.to(dtype)))


def test_a_common_shift_of_all_logits_is_no_direction() -> None:
    weight = torch.ones(3, 1, dtype=torch.float64) @ randn(1, 4)
    weight[0, 0] += 1
    with pytest.raises(ShapeError, match="got 1, expected K - 1 = 2"):
        SoftCrossEntropy(3).state_offset(states(4), torch.zeros(4).long(), (weight, torch.zeros(3).double()))


@pytest.mark.parametrize(("classes", "eps"), [(1, 0.1), (2, 0.0), (2, 0.5), (10, 0.9), (10, -0.1), (3, math.nan)])
def test_eps_and_classes_out_of_range_raise(classes: int, eps: float) -> None:
    with pytest.raises(ConfigError, match=f"{classes} classes, eps = {eps}"):
        SoftCrossEntropy(classes, eps)


def test_cross_entropy_has_no_minimiser() -> None:
    """Lemma 2: the excess stays positive and falls for ever as correct logits are scaled."""
    z = torch.tensor([[[2.0, 1.0, -1.0]]], dtype=torch.float64)
    excess = [CrossEntropy().excess(c * z, torch.tensor([0])).item() for c in (1, 2, 4, 8, 16, 32)]
    assert all(a > b > 0 for a, b in itertools.pairwise(excess))
    assert excess[-1] < 1e-13


def test_distance_to_the_targets_of_a_squared_error() -> None:
    (weight, bias), x = readout(2, 4), states(4)
    y = randn(4, 2)
    for i in range(4):
        constraint = {"type": "eq", "fun": lambda v, i=i: weight.numpy() @ v + (bias - y[i]).numpy()}
        found = minimize(lambda v, i=i: ((v - x[i].numpy()) ** 2).sum(), np.zeros(4), method="SLSQP", tol=1e-13,
                         constraints=constraint)  # fmt: skip
        distance = SquaredError().state_distance(x, y, (weight, bias))[i].item()
        assert distance == pytest.approx(math.sqrt(found.fun), rel=1e-5)


def test_a_squared_error_out_of_reach_raises() -> None:
    weight, bias = readout(3, 2)
    with pytest.raises(ShapeError, match="rank of the readout C: got 2, expected K = 3"):
        SquaredError().state_distance(states(2), torch.zeros(4, 3), (weight, bias))


def test_squared_error_is_summed_over_outputs() -> None:
    z, y = torch.tensor([[[1.0, 2.0], [0.0, 0.0]]]), torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert SquaredError()(z, y).tolist() == [[5.0, 25.0]]


@pytest.mark.parametrize("bad", [-1, 3])
def test_a_class_that_is_none_has_no_minimisers(bad: int) -> None:
    with pytest.raises(DataError, match="class indices"):
        SoftCrossEntropy(3).logit_distance(torch.zeros(1, 3), torch.tensor([bad]))
