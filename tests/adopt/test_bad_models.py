"""Models and examples that are not what adopting expects: each works, or its error says what to do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn

import node_oc as oc
from node_oc.data.split import Part

X = torch.linspace(-1, 1, 6).view(3, 2)


class Base(nn.Module):
    """Lift, three branches, head; what a step does is for the others to say."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.lift = nn.Linear(2, width)
        self.f = nn.ModuleList(self.branch(width) for _ in range(3))
        self.head = nn.Linear(width, 3)

    def branch(self, width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width))

    def step(self, x: Tensor, f: nn.Module) -> Tensor:
        return x + f(x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x)
        for f in self.f:
            x = self.step(x, f)
        return self.head(x)


def made(kind: type[nn.Module] = Base, *args: int) -> nn.Module:
    torch.manual_seed(0)
    return kind(*args).eval()


@cache
def _plain() -> oc.AdoptedSystem:
    return oc.adopt(made(), X)


def reads_right(model: nn.Module, system: oc.AdoptedSystem, x: Tensor = X) -> None:
    """Outputs to the bit, readouts those of the model with zero branches, states as they were computed."""
    given = x.clone()
    assert torch.equal(oc.Network(system)(x), model(x.clone()))
    readouts = oc.rollout(oc.Network(system), x).readouts
    zeroed = copy.deepcopy(model)
    parameters = dict(zeroed.named_parameters())
    for k in reversed(range(system.depth + 1)):
        torch.testing.assert_close(readouts[k], zeroed(x.clone()))
        for name in system.branches[k - 1].group if k else ():
            nn.init.zeros_(parameters[name])
    assert torch.equal(x, given)


# -- nothing to find, or nothing that can be cut ----------------------------------------------------------------------


class Plain(Base):
    def step(self, x: Tensor, f: nn.Module) -> Tensor:
        return f(x)


class Dense(nn.Module):
    """Every layer reads all before it: no addition, and no state that everything goes through."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2 + 2 * k, 2) for k in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, torch.tanh(layer(x))], 1)
        return x


@pytest.mark.parametrize("kind", [Plain, Dense])
def test_no_residual_addition(kind: type[nn.Module]) -> None:
    with pytest.raises(oc.AdoptError, match=r"got none on the way .* no depth to cut\. Otherwise write the sum"):
        oc.adopt(made(kind), X)


class Mixture(Base):
    """A dense connection first, and one at the end: what lies between has a trunk."""

    def __init__(self, width: int = 4) -> None:
        super().__init__(width)
        self.early, self.late = nn.Linear(2 * width, width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x)
        x = self.early(torch.cat([x, x + self.f[0](x)], 1))
        x = x + self.f[1](x)
        x = x + self.f[2](x)
        return self.head(self.late(torch.cat([x, torch.tanh(x)], 1)))


def test_a_mixture_with_dense_connections_has_the_branches_on_its_trunk() -> None:
    model = made(Mixture)
    system = oc.adopt(model, X)
    assert [b.module for b in system.branches] == ["f.1", "f.2"]  # f.0 is read by the dense connection: of the lift
    reads_right(model, system)


class ReadLater(Base):
    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x)
        added = self.f[0](x)
        x = x + added
        x = x + self.f[1](x + added)
        return self.head(x + self.f[2](x))


class RoutedLater(Base):
    """The sign of a branch has no gradient, so it is no part of the trunk; but it is read."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x)
        added = self.f[0](x)
        x = x + added
        x = x + self.f[1](x)
        return self.head(x + self.f[2](x) * (added > 0))


@pytest.mark.parametrize(("kind", "said"), [
    (ReadLater, r"the branch 'f\.0', which is read by 'f\.1\.0' .* Let the later module read the state"),
    (RoutedLater, r"got a value from module f\.0.* it cannot be cut"),
])  # fmt: skip
def test_a_branch_that_something_else_reads_is_refused_by_name(kind: type[nn.Module], said: str) -> None:
    with pytest.raises(oc.AdoptError, match=said):
        oc.adopt(made(kind), X)


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("lifted", [True, False])
def test_a_cut_that_removes_everything_is_refused(zero: bool, lifted: bool) -> None:
    system = copy.deepcopy(_plain()) if lifted else oc.adopt(made(Liftless, 2), X)
    for k in range(3 * zero):
        for p in system.group(k):
            nn.init.zeros_(p)
    for options in ({},) if zero else ({"depth": 0}, {"steps": []}):
        with pytest.raises(oc.ShapeError, match=r"got no branch.* Keep one: crop\(system, depth=1\)"):
            oc.crop(system, **options)


class Liftless(Base):
    def forward(self, x: Tensor) -> Tensor:
        for f in self.f:
            x = x + f(x)
        return x


# -- additions that could be read in two ways -------------------------------------------------------------------------


class Parallel(Base):
    """f(x) + g(x): which of them is the skip?"""

    def __init__(self, width: int = 4) -> None:
        super().__init__(width)
        self.g = nn.ModuleList(self.branch(width) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x)
        for f, g in zip(self.f, self.g):
            x = f(x) + g(x)
        return self.head(x)


def test_an_addition_of_two_branches_is_named_by_hand() -> None:
    model = made(Parallel)
    with pytest.raises(oc.AdoptError, match=r"addition add .* branches=\['f\.0', \.\.\] or branches=\['g\.0', \.\.\]"):
        oc.adopt(model, X)
    system = oc.adopt(model, X, branches=["g.0", "g.1", "g.2"])
    assert [b.module for b in system.branches] == ["g.0", "g.1", "g.2"]
    reads_right(model, system)
    small = oc.crop(system, steps=[0, 2])
    gone = set(model.state_dict()) - set(small.state_dict())
    assert gone == {f"g.1.{name}" for name in model.g[1].state_dict()}


@pytest.mark.parametrize(("branches", "said"), [
    (["f.0", "f.7"], r"no module 'f\.7' in the model.* Correct the name"),
    (["f.0", "head"], "no addition on the trunk for 'head'.* Leave it out"),
])  # fmt: skip
def test_a_name_that_is_no_branch_is_told(branches: list[str], said: str) -> None:
    with pytest.raises(oc.AdoptError, match=said):
        oc.adopt(made(Parallel), X, branches=branches)


class Weighted(Base):
    """Factors on both operands, one of them hidden in the addition; a power of two rounds nothing."""

    def step(self, x: Tensor, f: nn.Module) -> Tensor:
        return torch.add(0.5 * x, f(x), alpha=0.25) if f is self.f[1] else torch.add(f(x), x, alpha=0.5)


def test_factors_in_an_addition_belong_to_its_operands() -> None:
    model = made(Weighted)
    system = oc.adopt(model, X)
    reads_right(model, system)
    state = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(system.skip(1, state), 0.5 * state)
    assert torch.equal(system.branch(1, state), 0.25 * model.f[1](state))


# -- in place ---------------------------------------------------------------------------------------------------------


class InPlace(Base):
    """Sums, activations and factors that write over their argument; the first on the input itself."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x)
        for f in self.f:
            y = torch.relu_(x)
            x = x.add_(f(y)).mul_(2)
            x += 0.5
        return self.head(x)


def test_additions_in_place_work() -> None:
    model = made(InPlace)
    system = oc.adopt(model, X)
    assert system.depth == 3
    reads_right(model, system)
    states = oc.rollout(oc.Network(system), X).states
    again = oc.rollout(oc.Network(system), X).states
    assert all(torch.equal(a, b) for a, b in zip(states, again))


class InPart(Base):
    def step(self, x: Tensor, f: nn.Module) -> Tensor:
        x = x + f(x)
        x[:, :2] *= 2
        return x


def test_a_state_that_is_written_over_in_part_is_refused() -> None:
    with pytest.raises(oc.AdoptError, match=r"a part of a state written over.* x = torch\.cat"):
        oc.adopt(made(InPart), X)


# -- what torch.export cannot trace ----------------------------------------------------------------------------------


class Branching(Base):
    def step(self, x: Tensor, f: nn.Module) -> Tensor:
        return x + f(x) if x.sum() > 0 else x


class OneBatch(Base):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(3, 2))


class Variadic(Base):
    def forward(self, *x: Tensor) -> Tensor:
        return super().forward(x[0])


@pytest.mark.parametrize(("kind", "said"), [
    (Branching, r"Data-dependent control flow.* must go: replace it by torch\.where"),
    (OneBatch, r"batch size: got fixed at 3.* Put the batch first.* write x\.shape\[0\]"),
    (Variadic, r"got forward\(\*x\).* Give forward one name for each input"),
])  # fmt: skip
def test_what_cannot_be_traced_says_why(kind: type[nn.Module], said: str) -> None:
    with pytest.raises(oc.AdoptError, match=said):
        oc.adopt(made(kind), X)


@pytest.mark.filterwarnings("ignore")
def test_a_quantised_model_is_refused() -> None:
    model = torch.ao.quantization.quantize_dynamic(made(), {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(oc.AdoptError, match=r"module 'lift': got a quantised one.* before it is quantised"):
        oc.adopt(model, X)


@pytest.mark.parametrize(("wrap", "said"), [
    (torch.compile, r"got a OptimizedModule.* Adopt model\._orig_mod"),
    (lambda model: torch.jit.trace(model, X), r"Adopt the nn\.Module that it was scripted from"),
    (nn.DataParallel, r"got a DataParallel.* Adopt model\.module"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_a_model_in_a_wrapper_is_refused(wrap: Callable[[nn.Module], nn.Module], said: str) -> None:
    with pytest.raises(oc.AdoptError, match=said):
        oc.adopt(wrap(made()), X)


@pytest.mark.parametrize(("example", "said"), [
    (X[0], r"batch size: got fixed at 4.* Put the batch first"),
    (X[:0], r"example input: got no sample"),
    (torch.zeros(2, 5), r"mat1 and mat2.* expected an example that the model takes.* shape and type that it takes"),
    (X.numpy(), r"got TypeError.*numpy.* expected an example that the model takes"),
    (torch.zeros(2, 2, dtype=torch.long), r"got torch\.float32 and torch\.int64, expected one type"),
])  # fmt: skip
def test_an_example_that_is_none(example: object, said: str) -> None:
    with pytest.raises(oc.AdoptError, match=said):
        oc.adopt(made(), example)  # type: ignore[arg-type]


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(oc.AdoptError, match=r"got a str, expected an nn\.Module.* Make it first"):
        oc.adopt("resnet18", X)  # type: ignore[arg-type]


# -- inputs and outputs -----------------------------------------------------------------------------------------------


class Gated(Base):
    """The states come from the second input; the branches read the first."""

    def forward(self, gate: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.lift(x)
        for f in self.f:
            x = x + f(x) * gate
        return x.tanh(), self.head(x)


def test_several_inputs_and_outputs() -> None:
    model, gate = made(Gated), torch.linspace(0, 2, 12).view(3, 4)
    with pytest.raises(oc.AdoptError, match=r"got \['0', '1'\].* output='\.\.'"):
        oc.adopt(model, (gate, X))
    with pytest.raises(oc.AdoptError, match=r"and output='logits'.* Choose it: output='\.\.'"):
        oc.adopt(model, (gate, X), output="logits")
    with pytest.raises(oc.AdoptError, match=r"Give every input that model\(\*example\) wants"):
        oc.adopt(model, X)
    system = oc.adopt(model, (gate, X), output="1")
    assert [b.module for b in system.branches] == ["f.0", "f.1", "f.2"]
    features, logits = system(gate, X)
    assert torch.equal(logits, model(gate, X)[1])
    assert torch.equal(features, model(gate, X)[0])
    zeroed = copy.deepcopy(model)
    nn.init.zeros_(zeroed.f[1][2].weight)
    nn.init.zeros_(zeroed.f[1][2].bias)
    small = oc.crop(system, steps=[0, 2])
    assert torch.equal(small(gate, X), zeroed(gate, X)[1])  # the readout alone
    with pytest.raises(oc.ShapeError, match=r"got one tensor, expected 2 inputs.* Give a tuple"):
        oc.Network(system)(X)
    with pytest.raises(oc.ShapeError, match="A cut model takes what the example input had"):
        small(X)


def test_an_example_on_another_device_is_refused() -> None:
    with pytest.raises(oc.AdoptError, match=r"got on \['meta'\], the model on \['cpu'\].* example\.to\(device\)"):
        oc.adopt(made(), X.to("meta"))
    with pytest.raises(oc.AdoptError, match=r"without values.* Make them on the CPU"):
        oc.adopt(made().to("meta"), X.to("meta"))


# -- parameters -------------------------------------------------------------------------------------------------------


class OneNorm(Base):
    """The same norm before every branch: a module used in several places."""

    def __init__(self, width: int = 4) -> None:
        super().__init__(width)
        self.norm = nn.LayerNorm(width)

    def step(self, x: Tensor, f: nn.Module) -> Tensor:
        return x + f(self.norm(x))


def test_a_module_used_in_several_places_stays_one() -> None:
    model = made(OneNorm)
    system = oc.adopt(model, X)
    assert [b.module for b in system.branches] == ["f.0", "f.1", "f.2"]
    assert all(b.shared for b in system.branches)
    reads_right(model, system)
    small = oc.crop(system, steps=[1])
    assert set(small.state_dict()) == {n for n in model.state_dict() if not n.startswith(("f.0", "f.2"))}
    small(X).sum().backward()
    assert small.get_parameter("model.norm.weight").grad is not None


def test_frozen_parameters_stay_frozen_and_as_they_are() -> None:
    model = made()
    for frozen in (model.lift, model.f[0], model.f[1][2].weight, model.f[2][0]):  # a whole group, and a part of one
        frozen.requires_grad_(False)
    system = oc.adopt(model, X)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    before = {name: p.clone() for name, p in model.named_parameters()}
    problem = oc.Problem(oc.CrossEntropy(), oc.CrossEntropy(), 0.5, group_price=0.1)
    with pytest.raises(oc.ConfigError, match=r"frozen, in the control of a step.* Freeze lift, head"):
        oc.fit(oc.Network(system), problem, Part(X, torch.tensor([0, 1, 2])))  # our own loop prices every branch
    cost = oc.StageCost(system, problem)
    optimizer = torch.optim.SGD([p for p in system.parameters() if p.requires_grad], 0.1)
    price = oc.Price(cost, optimizer)
    for _ in range(3):
        cost(X, torch.tensor([0, 1, 2])).backward()
        optimizer.step()
        price.step()
        optimizer.zero_grad(set_to_none=True)
    after = system.state_dict()
    assert {name for name in before if torch.equal(before[name], after[name])} == frozen
    small = oc.crop(system, depth=2)
    left = {name.removeprefix("model."): p.requires_grad for name, p in small.named_parameters()}
    assert {name for name, grad in left.items() if not grad} == {name for name in frozen if not name.startswith("f.2")}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    model, x = made().to(dtype), X.to(dtype)
    system = oc.adopt(model, x)
    reads_right(model, system, x)
    assert oc.rollout(oc.Network(system), x).readouts.dtype == dtype
    assert oc.crop(system, depth=1)(x).dtype == dtype


def test_an_example_of_another_type_than_the_model_is_refused() -> None:
    with pytest.raises(oc.AdoptError, match=r"got torch\.bfloat16 and torch\.float32.* Give an example of the model's"):
        oc.adopt(made().bfloat16(), X)
