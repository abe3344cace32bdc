"""Systems of discrete weights: int8 that stays int8, a chain that knows it has no skips, a residual net that crops."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import pytest
import torch
from cases import CHAINS, build, inputs, network, target
from systems import randn
from torch import Tensor, nn

from node_oc.cropping import crop
from node_oc.data import Scale
from node_oc.discretization import Network
from node_oc.errors import ConfigError, DivergenceError, ShapeError
from node_oc.inference import Model
from node_oc.problem import CrossEntropy, Problem, SoftCrossEntropy, SquaredHinge, costate_sweep, discrete_slopes
from node_oc.system import DiscreteResidualSystem, DiscreteSystem, System
from node_oc.system.discrete import DiscreteConv2d, DiscreteLinear, check_values
from node_oc.trajectory import rollout

PLAIN = Problem(CrossEntropy(), CrossEntropy(), 0.0)


def chain(layers: tuple[str, ...] = ("6", "5"), features: int = 8, values: str = "ternary") -> DiscreteSystem:
    return DiscreteSystem(features, 3, layers=layers, values=values, generator=torch.Generator().manual_seed(1))


# -- layers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("values", "known"), [("binary", [-1, 1]), ("ternary", [-1, 0, 1])])
def test_weights_are_int8_and_uniform_on_their_set(values: str, known: list[int]) -> None:
    layer = DiscreteLinear(300, 200, values, generator=torch.Generator().manual_seed(0))
    assert layer.weight.dtype == torch.int8
    found, counts = layer.weight.unique(return_counts=True)
    assert found.tolist() == known
    expected = layer.weight.numel() / len(known)
    assert float(((counts - expected).square() / expected).sum()) < 23.0  # chi square, two degrees at most, 1e-5
    assert not list(layer.parameters())
    assert layer.nonzero == int((layer.weight != 0).sum()) / layer.weight.numel()


def test_a_layer_is_the_linear_map_of_its_weights() -> None:
    g = torch.Generator().manual_seed(0)
    line, image = DiscreteLinear(5, 4, generator=g), DiscreteConv2d(2, 3, 3, generator=g)
    x, pixels = randn(6, 5), randn(2, 2, 4, 5)
    assert torch.equal(line(x), x @ line.weight.double().T)
    assert torch.equal(image(pixels), torch.conv2d(pixels, image.weight.double(), padding=1))
    w = line.relax_(torch.float64)
    (slope,) = torch.autograd.grad(line(x).sum(), w)
    torch.testing.assert_close(slope, x.sum(0).expand(4, 5))
    with torch.no_grad():
        w.fill_(-1.0)
    assert bool((line.state_dict()["weight"] == -1).all())  # asking for the state writes what is in use


@pytest.mark.parametrize("make", [lambda s: s.double(), lambda s: s.to(torch.float64), lambda s: s.half(),
                                  copy.deepcopy, lambda s: s.subsystem(range(s.depth)),
                                  lambda s: s.insert([], torch.Generator())])  # fmt: skip
@pytest.mark.parametrize("name", ["chain-conv", "discrete-residual"])
def test_conversions_and_copies_leave_them_int8(name: str, make: Callable[[System], System]) -> None:
    system = build(name)
    before = [layer.weight.clone() for k in range(system.depth) for layer in system.discrete(k)]
    made = make(system)
    after = [layer.weight for k in range(made.depth) for layer in made.discrete(k)]
    assert all(w.dtype == torch.int8 and torch.equal(v, w) for v, w in zip(before, after, strict=True))
    model = Model(Network(made), Scale(torch.zeros(2), torch.ones(2)), None, {})
    assert model.dtype == next(made.parameters()).dtype


@pytest.mark.parametrize("bad", [2, 0, 0.5, float("nan")])
def test_weights_outside_the_set_are_refused_when_loaded(bad: float) -> None:
    net = Network(chain(values="binary"))
    state = net.state_dict()
    state["system.steps.1.layer.weight"] = state["system.steps.1.layer.weight"].float()
    state["system.steps.1.layer.weight"][2, 3] = bad
    with pytest.raises(ConfigError, match=r"system.steps.1.layer.weight: got 1 weights outside of \{.*1\}"):
        net.load_state_dict(state)


def test_unsigned_weights_do_not_wrap_into_the_set() -> None:
    with pytest.raises(ConfigError, match=r"weight: got 2 weights outside of \{.*\}, 255 the first"):
        check_values(torch.tensor([1, 255, 0, 255], dtype=torch.uint8), "ternary")


def test_values_and_layers_that_are_not_known_are_refused() -> None:
    with pytest.raises(ConfigError, match="got 'quaternary', expected one of"):
        DiscreteLinear(2, 2, "quaternary")
    for layers, message in (
        (("big",), "got 'big', expected 2048"), (("4", "MP2"), "got MP2 behind 4"), (("MP2",), "got MP2 behind the"),
        (("4", "4C3"), "got 4C3, expected an odd kernel"), (("4C2",), "got 4C2"), (("4C3", "D0.5", "MP2"), "got MP2"),
        (("4C3", "MP9"), "a pool of 9 on 3 x 3 pixels"), (("0",), r"sizes of a DiscreteLinear: got \(0, 9\)"),
        (("D1.5",), "got 'D1.5'"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            DiscreteSystem(9, 2, layers=layers)
    with pytest.raises(ShapeError, match=r"image: got \[1, 3, 3\] for 10 features"):
        DiscreteSystem(10, 2, layers=("4C3",))
    with pytest.raises(ConfigError, match="image: got"):
        DiscreteSystem(9, 2, layers=("4",), image=(1, 3, 3))
    with pytest.raises(ConfigError, match="layers: got '512', expected one text a layer"):
        DiscreteSystem(9, 2, layers="512")  # and not layers of 5, 1 and 2
    assert DiscreteSystem(9, 2, layers=(7, "5")).spec()["layers"] == ["7", "5"]  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="got 'quaternary', expected one of"):
        DiscreteResidualSystem(9, 2, depth=0, values="quaternary")
    with pytest.raises(RuntimeError):  # two images in a row are not two samples
        Network(DiscreteSystem(9, 2, layers=("4C3",))).eval()(torch.zeros(1, 18))
    with pytest.raises(ConfigError, match="sizes: got depth -1"):
        DiscreteResidualSystem(2, 2, depth=-1)


# -- the chain ------------------------------------------------------------------------------------------------


def test_a_chain_is_the_modules_in_their_order() -> None:
    """Conv -> pool -> batch norm -> ReLU, linear -> batch norm at the end, written down once more in torch."""
    system = DiscreteSystem(2 * 6 * 6, 3, layers=("4C3", "5C3", "MP2", "D0.5", "7"), image=(2, 6, 6)).double().train()
    x, (one, two, three, last) = randn(9, 72), system.steps

    def norm(y: Tensor) -> Tensor:
        dims = [0, *range(2, y.dim())]
        mean, var = y.mean(dims, keepdim=True), y.var(dims, unbiased=False, keepdim=True)
        return (y - mean) / (var + 1e-4).sqrt()

    y = x.view(9, 2, 6, 6)
    y = norm(torch.conv2d(y, one.layer.weight.double(), padding=1)).relu()
    y = torch.conv2d(y, two.layer.weight.double(), padding=1)
    y = norm(torch.max_pool2d(y, 2)).relu().flatten(1)
    torch.manual_seed(3)
    y = norm(torch.dropout(y, 0.5, True) @ three.layer.weight.double().T).relu()
    torch.manual_seed(3)
    torch.testing.assert_close(Network(system)(x), norm(y @ last.layer.weight.double().T), rtol=1e-12, atol=1e-12)
    assert [step.shape for step in system.steps] == [(4, 6, 6), (5, 3, 3), (7,), (3,)]
    assert (system.noisy, system.coupled, chain().noisy) == (True, True, False)
    assert float(one.norm.running_mean.abs().max()) > 0
    assert (one.norm.momentum, last.norm.eps) == (0.1, 1e-4)


@pytest.mark.parametrize("name", CHAINS)
def test_without_skips_there_are_no_readouts_and_no_stage_costs(name: str) -> None:
    net, x, y = network(name), inputs(), target("entropy")
    trajectory = rollout(net, x)
    assert torch.equal(trajectory.final, net(x))
    cost = CrossEntropy()
    assert float(PLAIN.evaluate(trajectory, y).stage.abs().sum()) == 0.0
    for ask in (
        lambda: trajectory.readouts, lambda: Problem(cost, cost, 0.5).evaluate(rollout(net, x), y),
        lambda: costate_sweep(trajectory, Problem(cost, cost, 0.5), y), lambda: net.system.readout(x, 0),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="a chain without skips, S_k = 0"):
            ask()
    with pytest.raises(ConfigError, match="steps of a chain"):
        net.keep([0, 2])
    with pytest.raises(ConfigError, match="new steps"):
        net.system.insert([1], torch.Generator())
    assert (net.system.group(1), net.zero_steps()) == ([], ())
    assert not any(map(net.system.is_identity, range(net.depth)))
    for k, state in enumerate(trajectory.states[:-1]):
        assert torch.equal(net.system.skip(k, state), torch.zeros_like(trajectory.states[k + 1]))


def in_training(name: str) -> tuple[Network, Problem]:
    """A network whose samples are coupled by batch norms, in float64; stage costs where it has readouts."""
    net = network(name).train()
    if name == "chain-binary":
        for step in net.system.steps:
            step.dropout = 0.0  # another draw in each pass
    return net, PLAIN if name in CHAINS else Problem(SoftCrossEntropy(3), SquaredHinge(), 0.7)


@pytest.mark.parametrize("name", [*CHAINS, "discrete-residual"])
def test_costates_are_the_gradients_of_j_in_the_states(name: str) -> None:
    net, problem = in_training(name)
    x, y = inputs(), target("entropy")
    sweep = costate_sweep(rollout(net, x), problem, y)
    state = net.system.lift(x).requires_grad_()
    states = [state]
    for k in range(net.depth):
        state = net.advance(k, state)[0]
        states.append(state)
    j = problem.terminal(net.system.head(states[-1])[None], y).mean()
    for k in range(net.depth) if problem.stage_weight else ():
        j = j + 0.7 * net.h[k] * problem.stage(net.system.readout(states[k], k)[None], y).mean()
    for p, g in zip(sweep.p, torch.autograd.grad(j, states), strict=True):
        assert (p - g).norm() <= 1e-12 * g.norm()
        assert g.norm() > 0


@pytest.mark.parametrize("name", [*CHAINS, "discrete-residual"])
def test_slopes_of_the_hamiltonians_are_those_of_one_backward_pass(name: str) -> None:
    net, problem = in_training(name)
    x, y, before = inputs(), target("entropy"), {k: v.clone() for k, v in net.state_dict().items()}
    slopes = discrete_slopes(net, problem, x, y)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    layers = [net.system.discrete(k) for k in range(net.depth)]
    leaves = [[layer.relax_(torch.float64) for layer in each] for each in layers]
    problem.evaluate(rollout(net, x), y).smooth.backward()
    for each, found in zip(leaves, slopes, strict=True):
        assert len(each) == len(found) > 0
        for w, g in zip(each, found, strict=True):
            assert (g - w.grad).norm() <= 1e-12 * w.grad.norm()
            assert g.norm() > 0


def test_a_sleeping_step_has_no_slope() -> None:
    net = network("discrete-residual")
    net.set_awake([0, 2, 3])
    slopes = discrete_slopes(net, Problem.classification(3), inputs(), target("entropy"))
    assert [bool((g != 0).any()) for each in slopes for g in each] == [True, True, False, False, *[True] * 4]


# -- the residual system --------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_zero_group_is_nothing_in_training_too_and_is_cropped_to_the_bit() -> None:
    system = DiscreteResidualSystem(2, 3, depth=5, width=6, hidden=7, values="binary")
    net, x = Network(system), inputs(dtype=torch.float32)
    for k in (1, 3):
        for p in system.group(k):
            p.zero_()
    for mode in (True, False):
        net.train(mode)
        states = rollout(net, x).states
        assert [torch.equal(a, b) for a, b in itertools.pairwise(states)] == [k in (1, 3) for k in range(5)]
    assert net.zero_steps() == (1, 3)
    small = crop(net)
    assert small.depth == 3
    assert torch.equal(small(x), net(x))
    assert [layer.values for k in range(3) for layer in small.system.discrete(k)] == ["binary"] * 6


def test_a_branch_does_not_see_the_scale_of_what_comes_before_its_group() -> None:
    """Rows of W times c leave the branch as it is, up to eps: no price can be evaded there."""
    net = Network(DiscreteResidualSystem(2, 3, depth=1, width=6, hidden=7)).double().train()
    layer, x = net.system.discrete(0)[1], inputs()
    with torch.no_grad():
        once = net(x)
        layer.relax_(torch.float64).mul_(1e3)
        larger = net(x)
    torch.testing.assert_close(larger, once, rtol=1e-2, atol=1e-3)
    assert isinstance(net.system.group(0)[0], nn.Parameter)


def test_costates_that_are_not_finite_are_named() -> None:
    net = network("chain-binary")
    with torch.no_grad():
        net.system.steps[2].norm.weight.fill_(torch.nan)
    with pytest.raises(DivergenceError, match="layer 3"):
        discrete_slopes(net, PLAIN, inputs(), target("entropy"))
