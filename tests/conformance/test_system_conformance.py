"""What every system promises, with every table: shapes, gradients, equilibria, sleep, copies, files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cases import (
    CHAINS,
    COSTS,
    DEPTH,
    OUTPUTS,
    SYSTEMS,
    TABLES,
    build,
    inputs,
    network,
    pairs,
    registered,
    steppable,
    target,
)
from systems import randn, zero_
from torch.nn import functional as F

from node_oc.data import Scale
from node_oc.discretization import Network
from node_oc.errors import ShapeError
from node_oc.exporting import load_model, save_model
from node_oc.inference import Model
from node_oc.problem import Problem, SoftCrossEntropy
from node_oc.system import SYSTEMS as REGISTERED
from node_oc.system import System
from node_oc.trajectory import rollout

every_kind = pytest.mark.parametrize("name", [*SYSTEMS, *CHAINS])
every_system = pytest.mark.parametrize("name", SYSTEMS)
every_pair = pytest.mark.parametrize(("name", "table"), pairs())


@every_pair
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_and_dtype(name: str, table: str, dtype: torch.dtype) -> None:
    net = network(name, table, dtype)
    trajectory = rollout(net, inputs(5, dtype))
    assert net(inputs(5, dtype)).shape == (5, OUTPUTS)
    assert trajectory.readouts.shape == (DEPTH + 1, 5, OUTPUTS)
    assert len(trajectory.states) == DEPTH + 1
    assert [len(stages) for stages in trajectory.stages] == [TABLES[table].stages] * DEPTH
    readouts, weights = trajectory.quadrature
    assert {*(x.dtype for x in trajectory.states), readouts.dtype, weights.dtype} == {dtype}


@every_kind
def test_same_seed_same_bits(name: str) -> None:
    one, two = build(name, seed=3).state_dict(), build(name, seed=3).state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


@every_pair
@pytest.mark.parametrize("cost", COSTS)
def test_gradient_of_j_in_every_weight_equals_finite_differences(name: str, table: str, cost: str) -> None:
    net = network(name, table)
    x, y = inputs(), target(cost)
    problem = Problem(COSTS[cost](), COSTS[cost](), stage_weight=0.7, energy=0.02, group_price=0.1)

    def j() -> torch.Tensor:
        return problem.evaluate(rollout(net, x), y).total

    params = list(net.parameters())
    gradients = torch.autograd.grad(j(), params)
    norm = float(torch.nn.utils.get_total_norm(gradients))
    for seed in range(3):
        ways = [(way := randn(*p.shape, seed=100 * seed + i)) / way.norm() for i, p in enumerate(params)]
        values = []
        with torch.no_grad():
            for size in (3e-5, -6e-5):
                torch._foreach_add_(params, ways, alpha=size)
                values.append(float(j()))
            torch._foreach_add_(params, ways, alpha=3e-5)
        slope = sum(float((g * way).sum()) for g, way in zip(gradients, ways, strict=True))
        assert (values[0] - values[1]) / 6e-5 == pytest.approx(slope, abs=1e-6 * norm)


@every_system
def test_zero_group_means_zero_branch_and_back(name: str) -> None:
    system = network(name).system
    for k in range(system.depth):
        x = system.lift(inputs())
        for j in range(k):
            x = system.skip(j, x)
        zero_(system, k)
        assert (branches(system, k, x) == 0).all()
        for p in system.group(k):
            with torch.no_grad():
                p.copy_(randn(*p.shape))
            assert (branches(system, k, x) != 0).any()
            zero_(system, k)


def branches(system: System, k: int, x: torch.Tensor) -> torch.Tensor:
    """The branch of step k wherever it can be asked for, or where it is likely to differ."""
    return torch.stack([system.branch_at(k, c, x) for c in system.nodes or (0.0, 0.3, 1.0)])


@every_kind
def test_a_control_holds_its_group_and_belongs_to_one_step_unless_it_is_tied(name: str) -> None:
    system = build(name)
    controls = [{id(p) for p in system.control(k)} for k in range(system.depth)]
    assert sum(map(len, controls)) == len(set.union(*controls)) * (DEPTH if system.tied else 1)
    assert all({id(p) for p in system.group(k)} <= controls[k] for k in range(system.depth))
    assert set.union(*controls) <= {id(p) for p in system.parameters()}


@every_kind
@pytest.mark.parametrize("k", [-1, DEPTH])
def test_a_step_that_does_not_exist_raises(name: str, k: int) -> None:
    system = build(name)
    for ask in (system.group, system.control, system.check_step):
        with pytest.raises(ShapeError, match=rf"got {k}, expected 0..{DEPTH - 1}"):
            ask(k)
    with pytest.raises(ShapeError):
        Network(system, awake=[0, k])


@every_pair
def test_a_zero_branch_preserves_equilibria_to_the_bit(name: str, table: str) -> None:
    net = network(name, table)
    zero_(net.system, *range(DEPTH))
    states = rollout(net, inputs()).states
    for k in range(DEPTH):
        assert torch.equal(states[k + 1], net.system.skip(k, states[k]))
        if net.system.is_identity(k):
            assert torch.equal(states[k + 1], states[k])


@every_pair
def test_readouts_are_those_of_one_layer_at_a_time(name: str, table: str) -> None:
    net = network(name, table)
    zero_(net.system, 1)
    net.set_awake([0, 2, 3])
    trajectory = rollout(net, inputs())
    for k, x in enumerate(trajectory.states):
        torch.testing.assert_close(trajectory.readouts[k], net.system.readout(x, k), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", [name for name in SYSTEMS if not network(name).untied().system.tied])
def test_a_readout_switches_off_the_branches_that_follow(name: str) -> None:
    net = network(name)
    trajectory = rollout(net, inputs())
    for k in range(DEPTH + 1):
        net = net.untied()
        zero_(net.system, *range(k, DEPTH))
        torch.testing.assert_close(net(inputs()), trajectory.readouts[k], rtol=1e-12, atol=1e-12)
        net = network(name)


@every_pair
def test_the_final_readout_is_the_output(name: str, table: str) -> None:
    net = network(name, table)
    trajectory = rollout(net, inputs())
    torch.testing.assert_close(trajectory.final, net(inputs()), rtol=1e-13, atol=1e-13)
    assert trajectory.quadrature  # the same from the batched readouts
    torch.testing.assert_close(rollout(net, inputs()).final, trajectory.readouts[-1], rtol=1e-13, atol=1e-13)


@every_system
def test_an_affine_readout_is_the_head_or_raises(name: str) -> None:
    system = network(name).system
    x = rollout(network(name), inputs()).states[-1]
    try:
        weight, bias = system.affine_readout()
    except ShapeError:
        a, b = system.lift(inputs()), system.lift(inputs(seed=3))
        bent = system.readout(a + b, 0) + system.readout(0 * a, 0) - system.readout(a, 0) - system.readout(b, 0)
        assert (bent.abs() > 1e-3).any(), "this readout is affine: say so"
    else:
        torch.testing.assert_close(F.linear(x, weight, bias), system.head(x), rtol=1e-14, atol=1e-14)


@every_pair
def test_a_zero_step_asleep_costs_what_it_costs_awake(name: str, table: str) -> None:
    net, x, y = network(name, table), inputs(), target("soft-cross-entropy")
    problem = Problem(SoftCrossEntropy(OUTPUTS), SoftCrossEntropy(OUTPUTS), 0.7, group_price=0.1)
    zero_(net.system, 0, 2)
    awake = problem.evaluate(rollout(net, x), y)
    net.set_awake([1, 3])
    trajectory = rollout(net, x)
    asleep = problem.evaluate(trajectory, y)
    for k in (0, 2):
        handed_on = trajectory.states[k + 1] is trajectory.states[k]
        assert handed_on == net.system.is_identity(k)
    torch.testing.assert_close(asleep.total, awake.total, rtol=1e-14, atol=0)
    torch.testing.assert_close(asleep.stage, awake.stage, rtol=1e-14, atol=0)


@every_pair
def test_a_sleeping_step_adds_nothing_whatever_its_weights(name: str, table: str) -> None:
    net = network(name, table)
    net.set_awake([0, 3])
    increments = rollout(net, inputs()).increments
    assert [bool((i == 0).all()) for i in increments] == [False, True, True, False]


@every_kind
def test_constraining_twice_changes_nothing_more(name: str) -> None:
    system = network(name).system
    system.constrain_()
    once = [p.clone() for p in system.parameters()]
    system.constrain_()
    for p, q in zip(system.parameters(), once, strict=True):
        torch.testing.assert_close(p.data, q, rtol=1e-15, atol=1e-15)


def storages(module: torch.nn.Module) -> set[int]:
    return {p.untyped_storage().data_ptr() for p in module.parameters()}


@pytest.mark.parametrize("name", [name for name in SYSTEMS if name != "projecting"])
def test_kept_steps_are_equal_copies_without_shared_storage(name: str) -> None:
    table = steppable(name)
    net = network(name, table)
    net.set_awake([0, 3])
    small = net.keep([1, 3])
    assert not storages(net) & storages(small)
    assert not storages(net.system) & storages(net.system.subsystem([0]))
    assert (small.depth, small.h, small.table.name) == (2, (net.h[1], net.h[3]), table)
    assert small.awake == (1,)
    net = net.untied()
    assert type(small.system) is type(net.system)
    for new, old in ((0, 1), (1, 3)):
        for p, q in zip(small.system.control(new), net.system.control(old), strict=True):
            assert torch.equal(p, q)
    assert torch.equal(small.system.lift(inputs()), net.system.lift(inputs()))
    x = rollout(net, inputs()).states[-1]
    assert torch.equal(small.system.head(x), net.system.head(x))


@pytest.mark.parametrize(("name", "table"), [pair for pair in pairs(CHAINS) if pair[0] in registered()])
def test_a_spec_survives_json(name: str, table: str) -> None:
    net = network(name, table)
    net.set_awake(range(DEPTH) if name in CHAINS else [0, 3])
    again = Network.from_spec(json.loads(json.dumps(net.spec()))).double().eval()
    assert again.spec() == net.spec()
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(inputs()), net(inputs()))


@pytest.mark.parametrize(("name", "steps"), [  # a chain is kept whole
    (name, steps) for name in registered() for steps in (((0, 1, 2, 3),) if name in CHAINS else ((), (0, 2, 3)))
])  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_saved_and_loaded_to_the_bit(name: str, dtype: torch.dtype, steps: tuple[int, ...], tmp_path: Path) -> None:
    net = network(name, steppable(name), dtype).keep(steps)
    scale = Scale(torch.tensor([0.5, -1.0]), torch.tensor([2.0, 0.1]))
    meta = {"task": "classification", "classes": ["a", "b", "c"], "features": ["x", "y"]}
    model = Model(net, scale, None, meta)
    save_model(model, tmp_path / "net")
    again = load_model(tmp_path / "net")
    assert again.network.spec() == net.spec()
    assert again.meta == meta
    assert again.dtype == dtype or not list(net.parameters())
    assert torch.equal(again(inputs()), model(inputs()))


@pytest.mark.parametrize(
    ("name", "table"), [(name, "euler") for name in (*SYSTEMS, *CHAINS)] + [("dense-tanh", table) for table in TABLES]
)
def test_torch_can_export_a_network(name: str, table: str) -> None:
    net = network(name, table)
    net.set_awake([0, 1, 2, 3] if name in CHAINS else [0, 1, 3])  # a chain that sleeps has a constant output
    x = inputs(4)
    program = torch.export.export(net, (x,), dynamic_shapes={"x": {0: torch.export.Dim("batch", min=1)}})
    torch.testing.assert_close(program.module()(inputs(9)), net(inputs(9)), rtol=1e-13, atol=1e-13)


@every_pair
def test_a_sample_does_not_depend_on_its_batch(name: str, table: str) -> None:
    net, x = network(name, table), inputs(6)
    torch.testing.assert_close(net(x[2:3]), net(x)[2:3], rtol=1e-13, atol=1e-13)


def test_every_registered_kind_is_under_test() -> None:
    assert {build(name).spec()["kind"] for name in registered()} == set(REGISTERED)
