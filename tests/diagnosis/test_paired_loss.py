"""What a network loses on each sample, and budgets against a reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from systems import decay, randn
from torch import nn

from node_oc.data import Part
from node_oc.diagnosis import Budget, certify, outputs, sample_losses
from node_oc.discretization import DepthGrid, Network


def halving(size: int) -> Network:
    """Its output is half its input."""
    return Network(decay(1, size), DepthGrid((0.5,)))


def test_wrong_classes_lose_one() -> None:
    x = torch.tensor([[3.0, 1.0, 2.0], [0.0, 1.0, 5.0], [1.0, 0.5, 0.0]])
    losses = sample_losses(halving(3), Part(x, torch.tensor([0, 1, 2])), "classification")
    assert losses.tolist() == [0.0, 1.0, 1.0]


def test_values_lose_their_squared_error() -> None:
    part = Part(torch.tensor([[2.0, 4.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [2.0, 4.0]]))
    assert sample_losses(halving(2), part, "regression").tolist() == [4.0, 13.0]


def test_chunks_do_not_show() -> None:
    x, net = randn(23, 3), halving(3)
    torch.testing.assert_close(outputs(net, x, chunk=5), x / 2)


class Modal(nn.Module):
    """Its output tells whether it is in training mode."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + float(self.training)


@pytest.mark.parametrize("training", [True, False])
def test_outputs_are_those_of_evaluation_mode_and_leave_the_mode(training: bool) -> None:
    module = Modal().train(training)
    assert torch.equal(outputs(module, torch.zeros(3, 1)), torch.zeros(3, 1))
    assert module.training == training
    assert not outputs(halving(1), torch.zeros(3, 1)).requires_grad


def test_a_classification_budget_is_absolute() -> None:
    budget = Budget.against(0.005, "classification", np.array([0.0, 1.0]))
    d = budget.paired(np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.0, 1.0, 1.0, 0.0]))
    assert d.tolist() == [1.0, -1.0, 0.0, 0.0]
    assert (budget.limit, budget.range) == (0.005, (-1.0, 1.0))


def test_a_regression_budget_is_relative_and_cut_at_the_references_quantile() -> None:
    reference = np.arange(1001) / 100
    budget = Budget.against(0.1, "regression", reference)
    assert budget.ceiling == pytest.approx(9.99)
    assert budget.limit == 0.0
    d = budget.paired(np.array([1.1, 50.0, 0.0]), np.array([1.0, 2.0, 1e6]))
    assert d.tolist() == pytest.approx([0.0, 9.99 - 2.2, -1.1 * 9.99])
    assert budget.range == pytest.approx((-1.1 * 9.99, 9.99))


@pytest.mark.parametrize(("factor", "holds"), [(1.0, True), (1.04, True), (1.06, False), (2.0, False)])
def test_a_network_that_is_worse_by_more_than_the_budget_is_not_certified(factor: float, holds: bool) -> None:
    reference = np.random.default_rng(0).exponential(size=20_000)
    budget = Budget.against(0.05, "regression", reference)
    d = budget.paired(factor * reference, reference)
    low, high = budget.range
    assert low <= d.min()
    assert d.max() <= high
    assert (d.mean() <= budget.limit) == holds
    if factor == 1.04:  # the mean is inside by too little to be certified
        return
    assert certify(d, budget.limit, low=low, high=high).holds == holds


def test_a_reference_that_never_errs_does_not_hide_a_loss() -> None:
    budget = Budget.against(0.05, "regression", np.zeros(2000))
    d = budget.paired(np.full(2000, 1e6), np.zeros(2000))
    assert not certify(d, budget.limit, 0.95, *budget.range).holds
    assert certify(budget.paired(np.zeros(2000), np.zeros(2000)), 0.01, 0.95, *budget.range).holds
