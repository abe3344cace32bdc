"""A rollout in segments has the J and the gradients of the whole one, and computes every state twice."""

from __future__ import annotations

import pytest
import torch
from cases import COSTS, DEPTH, OUTPUTS, inputs, network, pairs, target
from test_analytic_conformance import Noise
from torch import Tensor

from node_oc.config import TrainingSection
from node_oc.data import spirals
from node_oc.discretization import TIME, Controls, Driver, Network
from node_oc.errors import ConfigError, ShapeError
from node_oc.problem import Problem, SoftCrossEntropy, TorchLoss
from node_oc.system import DenseSystem
from node_oc.training import Plan, fit
from node_oc.trajectory import Segmented, cuts_of, rollout

every_pair = pytest.mark.parametrize(("name", "table"), pairs())
CUTS = (None, (2,), (1, 2, 3))


def both(net: Network, problem: Problem, cuts: tuple[int, ...] | None, driver: Driver = TIME, cost: str = "entropy",
         **ways: bool) -> list[list[Tensor]]:  # fmt: skip
    found = []
    for whole in (True, False):
        x, y = inputs().requires_grad_(), target(cost)
        passed = rollout(net, x, driver=driver, **ways) if whole else Segmented(net, x, cuts, driver=driver, **ways)
        value = problem.evaluate(passed, y)
        wanted = [x, *net.parameters()]
        gradients = torch.autograd.grad(value.smooth, wanted, allow_unused=True)
        gradients = [torch.zeros_like(p) if g is None else g for p, g in zip(wanted, gradients, strict=True)]
        found.append([value.smooth.detach(), value.terminal.detach(), value.stage.detach(), *gradients])
    return found


def assert_equal(whole: list[Tensor], parts: list[Tensor]) -> None:
    size = float(torch.nn.utils.get_total_norm(whole[3:]))
    assert size > 0
    for a, b in zip(whole, parts, strict=True):
        assert float((a - b).norm()) <= 1e-13 * max(size, 1.0)


@every_pair
@pytest.mark.parametrize("cuts", CUTS)
def test_j_and_gradients_of_the_whole_rollout(name: str, table: str, cuts: tuple[int, ...] | None) -> None:
    net = network(name, table)
    shared, other = SoftCrossEntropy(OUTPUTS), SoftCrossEntropy(OUTPUTS, 0.2)
    for awake in (range(DEPTH), (0, 3)):
        net.set_awake(awake)
        for problem in (Problem(shared, shared, 0.7, energy=0.02), Problem(other, shared), Problem(other, shared, 0.0)):
            assert_equal(*both(net, problem, cuts))


@every_pair
def test_the_general_path_in_segments_too(name: str, table: str) -> None:
    assert_equal(*both(network(name, table), Problem.classification(OUTPUTS), (2,), analytic=False))


@every_pair
@pytest.mark.parametrize("kind", ["sample", "entry", "layer"])
def test_the_second_pass_meets_the_same_noise(name: str, table: str, kind: str) -> None:
    assert_equal(*both(network(name, table), Problem.classification(OUTPUTS), (1, 3), Noise(kind)))


@pytest.mark.parametrize("cost", COSTS)
def test_with_every_cost(cost: str) -> None:
    net = network("dense-gelu-free", "heun")
    assert_equal(*both(net, Problem(COSTS[cost](), COSTS[cost](), 0.7), None, cost=cost))


def test_under_autocast_the_second_pass_is_cast_as_the_first_was() -> None:
    net, y, found = network("dense-tanh", dtype=torch.float32), target("entropy"), []
    for whole in (True, False):
        x = inputs(dtype=torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            smooth = (
                Problem.classification(OUTPUTS)
                .evaluate(rollout(net, x) if whole else Segmented(net, x, (1, 2)), y)
                .smooth
            )
        found.append(torch.autograd.grad(smooth, list(net.parameters())))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", ["dense-tanh", "conv-two-stages", "field"])
def test_frozen_parameters_and_ends_alone(name: str) -> None:
    net, y = network(name), target("entropy")
    net.requires_grad_(False)
    for p in list(net.parameters())[-2:]:
        p.requires_grad_()
    for problem in (Problem.classification(OUTPUTS), Problem.classification(OUTPUTS).terminal_only()):
        found = []
        for passed in (rollout(net, inputs()), Segmented(net, inputs(), (1, 3))):
            problem.evaluate(passed, y).smooth.backward()
            found.append([None if p.grad is None else p.grad.clone() for p in net.parameters()])
            net.zero_grad()
        for a, b in zip(*found, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_tied_steps_and_a_cost_with_parameters_of_its_own() -> None:
    class Weighted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor([1.0, 2.0, 0.5]).double())

        def forward(self, readout: Tensor, target: Tensor) -> Tensor:
            return (readout * self.weight - target).square().sum(1)

    net, loss = network("dense-tanh"), Weighted()
    net.system.steps[1] = net.system.steps[0]
    problem, found = Problem(TorchLoss(loss), TorchLoss(loss), 0.7), []
    for passed in (rollout(net, inputs()), Segmented(net, inputs(), (3,))):
        smooth = problem.evaluate(passed, target("squared-error")).smooth
        found.append(torch.autograd.grad(smooth, [*net.parameters(), loss.weight]))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


def test_what_is_kept_is_the_first_state_of_each_segment() -> None:
    """Tensors held for the way back: not the states inside, wherever the cost reads them."""
    net, x, y = Network(DenseSystem(2, 3, depth=25, width=16, hidden=16)), torch.randn(64, 2), torch.arange(64) % 3
    kept: dict[bool, set[int]] = {}
    for whole in (True, False):
        held: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, held=held: held.append(t) or t, lambda t: t):
            smooth = Problem.classification(3).evaluate(rollout(net, x) if whole else Segmented(net, x), y).smooth
            kept[whole] = sum(t.numel() for t in held if len(t.shape) > 1 and 64 in t.shape)
        smooth.backward()
    assert cuts_of(net) == (9, 17)
    assert kept[False] < kept[True] / 2  # the first state of two segments, and the whole of the third


def test_cuts_follow_the_awake_steps() -> None:
    net = Network(DenseSystem(2, 2, depth=40, width=4, hidden=4), awake=range(0, 40, 4))
    assert cuts_of(net) == (20,)  # 10 awake steps: two segments of 5
    for few in ([], [7], [3, 5]):
        net.set_awake(few)
        assert cuts_of(net) == ()


@pytest.mark.parametrize("cuts", [(0,), (2, 2), (3, 1), (DEPTH,), (1.5,)])
def test_cuts_that_are_none_are_refused(cuts: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=rf"ascending layers 1..{DEPTH - 1}"):
        Segmented(network("dense-tanh"), inputs(), cuts)


def test_controls_stacked_for_other_cuts_are_refused() -> None:
    net = network("dense-tanh")
    controls = Controls(net)
    with pytest.raises(ShapeError, match=r"one of \[\(0, 1, 2, 3\)\]"):
        Problem.classification(OUTPUTS).evaluate(Segmented(net, inputs(), (2,), controls=controls), target("entropy"))


@pytest.mark.parametrize("price", [0.0, 0.1])
def test_a_training_in_segments_is_the_training(price: float) -> None:
    part, ends = spirals(train=64, val=4, test=4).train, []
    for segments in (False, True):
        net = Network(DenseSystem(2, 2, depth=6, width=4, hidden=5)).double()
        options = TrainingSection(batch=0, gradient_checkpointing=segments, precision="64-true")
        fit(net, Problem.classification(2).priced(price), part, options, plan=Plan(updates=20))
        ends.append(net.state_dict())
    for key, p in ends[0].items():
        torch.testing.assert_close(ends[1][key], p, rtol=1e-9, atol=1e-11)
