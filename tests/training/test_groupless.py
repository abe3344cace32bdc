"""A branch that has no group: nothing makes it zero, so no price puts it to sleep."""

from __future__ import annotations

import copy
from functools import cache

import torch
from torch import Tensor, nn

import node_oc as oc
from node_oc.config import TrainingSection
from node_oc.data.split import Part
from node_oc.discretization import Network
from node_oc.discretization.controls import Controls
from node_oc.training.active import put_to_sleep, sparsify


class Gated(nn.Module):
    """Two branches; the second ends in a sigmoid, which is never zero."""

    def __init__(self) -> None:
        super().__init__()
        self.lift, self.one, self.two, self.head = (nn.Linear(3, 3) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x)
        x = x + self.one(torch.tanh(x))
        x = x + torch.sigmoid(self.two(x))
        return self.head(x)


COST = oc.SoftCrossEntropy(3, 0.1)
PART = Part(torch.linspace(-1, 1, 15).reshape(5, 3), torch.tensor([0, 1, 2, 0, 1]))


@cache
def gated() -> Network:
    torch.manual_seed(0)
    return Network(oc.adopt(Gated(), torch.zeros(2, 3)))


def small() -> Network:
    """The group of the first branch nearly zero."""
    network = copy.deepcopy(gated())
    with torch.no_grad():
        for p in network.system.group(0):
            p.mul_(1e-6)
    return network


def test_no_price_puts_a_branch_without_a_group_to_sleep() -> None:
    network = small()
    assert [len(network.system.group(k)) for k in range(2)] == [2, 0]
    problem = oc.Problem(COST, COST, 0.0, 0.0, 100.0)
    average = {name: p.detach().clone() for name, p in network.named_parameters()}
    assert put_to_sleep(network, problem, PART, average) == ()
    assert network.awake == (1,)
    assert network.zero_steps() == (0,)
    assert oc.optimality_ratios(network, problem, [(PART.x, PART.y)])[1] == torch.inf


def test_the_price_of_a_branch_does_not_act_on_its_neighbour() -> None:
    """Both have a linear map of the same shape; only that of the first is a group."""
    controls = Controls(small())
    assert [(len(stacks), steps) for stacks, steps in controls.blocks] == [(2, (0,)), (0, (1,))]
    controls.release()


def test_training_at_a_price_leaves_it_and_so_does_a_loop_of_ones_own() -> None:
    network = small()
    options = TrainingSection(batch=0, min_updates=0, threads=1)
    sparse = sparsify(network, oc.Problem(COST, COST, 1.0, 0.0, 100.0), PART, options, updates=20, name="test")
    assert sparse.awake == (1,)
    sparse = sparsify(network, oc.Problem(COST, COST, 1.0, 0.0, 100.0), PART, options, updates=20, name="again")
    assert sparse.awake == (1,)  # all that is awake has no group
    network = small()
    cost = oc.StageCost(network, oc.Problem(COST, COST, 1.0, 0.0, 1.0))
    price = oc.Price(cost, torch.optim.Adam(network.parameters()))
    assert price.sleep() == (1,)
