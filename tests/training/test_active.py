"""Steps are put to sleep exactly, kept asleep by the optimality test, and woken one at a time."""

from __future__ import annotations

import torch

from node_oc.config import TrainingSection
from node_oc.data import Part, spirals
from node_oc.discretization import Network
from node_oc.problem import Problem, optimality_ratios
from node_oc.system import DenseSystem
from node_oc.training.active import chunks, put_to_sleep, sparsify
from node_oc.training.loop import Plan, fit

PART = spirals(train=200, val=4, test=4).train
PROBLEM = Problem.classification(2)


def network(depth: int = 5) -> Network:
    return Network(DenseSystem(2, 2, depth=depth, width=4, hidden=8, generator=torch.Generator().manual_seed(3)))


def state(net: Network) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in net.named_parameters()}


def test_sparsify_leaves_exact_zeros_with_ratios_for_every_step() -> None:
    net = network()
    options = TrainingSection(batch=0, learning_rate=5e-3)
    fit(net, PROBLEM, PART, options, plan=Plan(updates=200))
    found = sparsify(net, PROBLEM.priced(3.0), PART, options, updates=300, name="p")
    asleep = [k for k in range(net.depth) if k not in found.awake]
    assert asleep
    for k in asleep:
        assert all(bool((p == 0).all()) for p in net.system.group(k))
    assert len(found.ratios) == net.depth
    assert net.awake == found.awake


def test_small_groups_that_pass_sleep_and_those_that_fail_stay_awake() -> None:
    net = network()
    with torch.no_grad():
        for k in (1, 3):
            for p in net.system.group(k):
                p.mul_(1e-4)
    ratios = optimality_ratios(net, PROBLEM.priced(1.0), chunks(PART, net))
    between = float((ratios[1] + ratios[3]) / 2)  # at this price one of the two passes
    woken = put_to_sleep(net, PROBLEM.priced(between), PART, state(net))
    passing, failing = (1, 3) if ratios[1] < ratios[3] else (3, 1)
    assert woken == (failing,)
    assert passing not in net.awake
    assert failing in net.awake
    assert all(bool((p == 0).all()) for p in net.system.group(passing))


def test_of_the_sleeping_steps_only_the_most_urgent_wakes() -> None:
    net = network()
    with torch.no_grad():
        for k in (1, 2, 4):
            for p in net.system.group(k):
                p.zero_()
    net.set_awake([0, 3])
    ratios = optimality_ratios(net, PROBLEM.priced(1e-6), chunks(PART, net))
    woken = put_to_sleep(net, PROBLEM.priced(1e-6), PART, state(net))
    assert woken == (max((1, 2, 4), key=lambda k: float(ratios[k])),)
    assert len(net.awake) == 3


def test_a_high_price_lets_sleeping_steps_sleep() -> None:
    net = network()
    with torch.no_grad():
        for p in net.system.group(2):
            p.zero_()
    net.set_awake([0, 1, 3, 4])
    assert put_to_sleep(net, PROBLEM.priced(1e6), PART, state(net)) == ()
    assert 2 not in net.awake


def test_chunks_cover_the_part_in_order() -> None:
    net = network()
    parts = list(chunks(Part(PART.x, PART.y), net, values=128))
    assert torch.equal(torch.cat([x for x, _ in parts]), PART.x)
    assert torch.equal(torch.cat([y for _, y in parts]), PART.y)
    assert [len(x) for x, _ in parts] == [64, 64, 64, 8]
