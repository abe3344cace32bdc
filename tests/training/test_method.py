"""Adam with a metric per group, its proximal map, and clipping relative to the running norm."""

from __future__ import annotations

import math

import pytest
import torch

from node_oc.config import TrainingSection
from node_oc.data import spirals
from node_oc.discretization import Network
from node_oc.problem import Problem
from node_oc.system import DenseSystem
from node_oc.training.group_adam import GroupAdam
from node_oc.training.loop import make_fabric
from node_oc.training.method import Method


def test_first_group_step_by_hand_of_two_groups_at_once() -> None:
    u = torch.nn.Parameter(torch.tensor([[[3.0, 4.0]], [[1.0, 1.0]]]))
    b = torch.nn.Parameter(torch.tensor([[0.0], [2.0]]))
    optimizer = GroupAdam([{"params": [u, b], "thresholds": [0.5, 3.0]}], lr=0.1, betas=(0.9, 0.99))
    u.grad, b.grad = torch.tensor([[[1.0, -2.0]], [[0.5, 0.0]]]), torch.tensor([[2.0], [1.5]])
    before = [torch.cat([u[j].detach().flatten(), b[j].detach()]) for j in range(2)]
    optimizer.step()
    for j, threshold in enumerate((0.5, 3.0)):
        g = torch.cat([u.grad[j].flatten(), b.grad[j]])
        metric = float(g.square().mean().sqrt()) + 1e-8  # bias correction leaves the mean of the squared entries
        moved = before[j] - 0.1 / metric * g
        want = moved * (1 - 0.1 * threshold / metric / moved.norm())
        torch.testing.assert_close(torch.cat([u[j].detach().flatten(), b[j].detach()]), want)


def test_a_group_under_its_threshold_becomes_exactly_zero_and_its_neighbour_does_not() -> None:
    u = torch.nn.Parameter(torch.tensor([[1e-3, -1e-3], [1e-3, -1e-3]]))
    optimizer = GroupAdam([{"params": [u], "thresholds": [10.0, 0.0]}], lr=0.1, betas=(0.9, 0.99))
    u.grad = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    optimizer.step()
    assert bool((u[0] == 0).all())
    assert bool((u[1] != 0).all())


def test_the_minimum_of_a_quadratic_with_a_price_is_the_shrunken_point() -> None:
    # min ||u - a||^2 / 2 + c ||u||  =  a (1 - c/||a||)
    a = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    u = torch.nn.Parameter(torch.zeros(2, 2))
    optimizer = GroupAdam([{"params": [u], "thresholds": [2.0, 0.2]}], lr=0.02, betas=(0.9, 0.99))
    for step in range(3000):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / 3000)
        u.grad = u.detach() - a
        optimizer.step()
    torch.testing.assert_close(u.detach(), a * torch.tensor([[1 - 2 / 5], [1 - 0.2]]), atol=2e-3, rtol=0)


def test_a_gradient_spike_is_clipped_at_twice_the_running_norm() -> None:
    options = TrainingSection(clip=2.0)
    net = Network(DenseSystem(2, 2, depth=2, width=4, hidden=4))
    method = Method(net, Problem.classification(2), options, 10, True, make_fabric(options))
    spike = [torch.full((4,), 5.0)]
    method.running_norm = 1.0
    method._clip(spike, 10.0)
    assert float(spike[0].norm()) == pytest.approx(2.0)
    assert method.running_norm == pytest.approx(1.01)  # decay 0.99, the clipped norm counts


def test_the_learning_rate_falls_like_a_cosine() -> None:
    options = TrainingSection(learning_rate=0.1, batch=0)
    part = spirals(train=64, val=4, test=4).train
    net = Network(DenseSystem(2, 2, depth=2, width=4, hidden=4))
    method = Method(net, Problem.classification(2), options, 4, True, make_fabric(options))
    rates = [method.step(i, part.x, part.y).learning_rate for i in range(4)]
    assert rates == pytest.approx([0.1 * 0.5 * (1 + math.cos(math.pi * i / 4)) for i in range(4)])


def test_only_groups_get_the_group_metric() -> None:
    options = TrainingSection()
    net = Network(DenseSystem(2, 2, depth=3, width=4, hidden=4))
    net.set_awake([0, 2])
    method = Method(net, Problem.classification(2).priced(0.3), options, 10, True, make_fabric(options))
    (block,) = method.optimizers[1].param_groups
    group = [torch.stack(list(role)).detach() for role in zip(net.system.group(0), net.system.group(2), strict=True)]
    assert all(torch.equal(stack, each) for stack, each in zip(block["params"], group, strict=True))
    # s lambda h with s = 1/(1 + gamma T)
    assert block["thresholds"] == pytest.approx([0.3 / 4] * 2)
