"""Models that are written in unusual ways: what is read, cut and trained is still what the model says."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

import node_oc as oc

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


class Form(nn.Module):
    """Three blocks x + combine(k, f_k(x)); what is unusual stands in ``combine``, ``trunk`` and ``end``."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.f = nn.ModuleList(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4)) for _ in range(3))
        self.w = nn.ParameterList(nn.Parameter(torch.zeros(4)) for _ in range(3))
        self.head = nn.Linear(4, 3)
        self.on = [True] * 3

    def combine(self, k: int, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    def trunk(self, x: Tensor) -> Tensor:
        return x

    def end(self, x: Tensor) -> Tensor:
        return self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        for k, f in enumerate(self.f):
            x = self.combine(k, x, f(x)) if self.on[k] else x
            x = self.trunk(x)
        return self.end(x)


def expect_readouts(model: Form, system: oc.AdoptedSystem, x: Tensor = X) -> None:
    """All depths against the model with the branches that follow left out in its own code."""
    readouts = oc.rollout(system, x).readouts
    for depth in range(4):
        model.on = [k < depth for k in range(3)]
        torch.testing.assert_close(readouts[depth], model(x), rtol=1e-5, atol=1e-6)
    model.on = [True] * 3


class Groupless(Form):
    """A factor 1 + w, an exponential, and a weight norm: their zero is no zero branch."""

    def __init__(self) -> None:
        super().__init__()
        self.f[2][2] = weight_norm(self.f[2][2])

    def combine(self, k: int, x: Tensor, y: Tensor) -> Tensor:
        return x + (y * (1 + self.w[0]), self.w[1].exp() * y, y)[k]


def test_a_group_whose_zero_is_no_zero_branch_is_none() -> None:
    model = Groupless().eval()
    system = oc.adopt(model, X)
    assert [b.group for b in system.branches] == [()] * 3
    assert oc.Network(system).zero_steps() == ()
    expect_readouts(model, system)


class Subtracted(Form):
    def combine(self, k: int, x: Tensor, y: Tensor) -> Tensor:
        return x - y if k else x + y


def test_a_subtraction_is_a_branch() -> None:
    model = Subtracted().eval()
    system = oc.adopt(model, X)
    assert [b.group for b in system.branches] == [(f"f.{k}.2.weight", f"f.{k}.2.bias") for k in range(3)]
    expect_readouts(model, system)
    assert torch.equal(oc.Network(system)(X), model(X))


class PooledTwice(Form):
    def end(self, x: Tensor) -> Tensor:
        return self.head(0.5 * (x.abs() + x.square()))


def test_a_sum_without_parameters_is_no_branch() -> None:
    model = PooledTwice().eval()
    system = oc.adopt(model, X)
    assert system.depth == 3
    expect_readouts(model, system)


class OnlyInTraining(Form):
    def trunk(self, x: Tensor) -> Tensor:
        return 2 * x if self.training else x


@pytest.mark.parametrize("training", [False, True])
def test_what_a_model_does_on_its_trunk_in_one_mode_alone_is_read(training: bool) -> None:
    model = OnlyInTraining()
    system = oc.adopt(model, X)
    model.train(training)
    expect_readouts(model, system)
    assert [b.skip for b in system.branches][1:] == ["trunk", "trunk"]


class Quiet(Form):
    def combine(self, k: int, x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            gate = torch.sigmoid(x.sum(-1, keepdim=True))
        return x + y * gate


def test_no_gradient_goes_back_into_what_stands_under_no_grad() -> None:
    model = Quiet().eval()
    system = oc.adopt(model, X)
    found = torch.autograd.grad(oc.rollout(system, X).readouts.square().sum(), list(model.f.parameters()))
    total: Tensor = torch.zeros(())
    for depth in range(4):
        model.on = [k < depth for k in range(3)]
        total = total + model(X).square().sum()
    for one, two in zip(found, torch.autograd.grad(total, list(model.f.parameters())), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_states_in_one_long_row() -> None:
    """(B L, D), as OPT has them: their rows do not say how many samples there are."""

    class Tokens(Form):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            batch, length = x.shape
            state = self.embedding(x).reshape(batch * length, 4)
            for k, f in enumerate(self.f):
                state = state + f(state).reshape(batch, length, 4).cumsum(1).reshape(-1, 4) if self.on[k] else state
            return self.head(state).reshape(batch, length, 3)

    model = Tokens().eval()
    ids = torch.arange(12).view(3, 4) % 4
    system = oc.adopt(model, ids)
    readouts = oc.rollout(system, ids[:2, :3]).readouts
    for depth in range(4):
        model.on = [k < depth for k in range(3)]
        torch.testing.assert_close(readouts[depth], model(ids[:2, :3]), rtol=1e-5, atol=1e-6)


class Scaled(Form):
    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        return scale * super().forward(x)


def test_what_was_traced_with_other_sizes_or_numbers_is_refused() -> None:
    model = Scaled().eval()
    system = oc.adopt(model, (X, 2.0))
    torch.testing.assert_close(oc.rollout(system, (X, 2.0)).readouts[-1], model(X, 2.0))
    with pytest.raises(oc.ShapeError, match="adopt the model again with this one"):
        oc.rollout(system, (X, 5.0))
    pooled = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), Form())
    system = oc.adopt(pooled, torch.zeros(2, 1, 8, 8))
    with pytest.raises(oc.ShapeError, match=r"got \(2, 1, 9, 9\), expected \('any', 1, 8, 8\)"):
        oc.rollout(system, torch.zeros(2, 1, 9, 9))


def test_mixed_precision_with_a_batch_norm_in_the_head() -> None:
    model = nn.Sequential(Form(), nn.BatchNorm1d(3), nn.Linear(3, 3)).train()
    system = oc.adopt(model, X)
    with torch.autocast("cpu", torch.bfloat16):
        low = oc.rollout(system, X).readouts
    torch.testing.assert_close(low.float(), oc.rollout(system, X).readouts, rtol=0.1, atol=0.1)
    assert model[1].running_mean.dtype == torch.float32


def test_one_mode_for_all_of_a_model_and_no_system_twice() -> None:
    model = nn.Sequential(Form(), nn.BatchNorm1d(3), nn.Linear(3, 3)).train()
    model[1].eval()
    with pytest.raises(oc.AdoptError, match="one mode"):
        oc.adopt(model, X)
    with pytest.raises(oc.AdoptError, match="adopted already"):
        oc.adopt(oc.adopt(Form(), X), X)


# -- residual sums that are written in other ways ---------------------------------------------------------------------


class TwoBranches(Form):
    """Two branches that read the same state; the way in which they are added is for the others to say."""

    def __init__(self) -> None:
        super().__init__()
        self.g = nn.ModuleList(nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4), nn.Tanh()) for _ in range(3))
        self.last = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def also(self, k: int, x: Tensor) -> Tensor:
        return self.last[k](self.g[k](x))


class Parallel(TwoBranches):
    def combine(self, k: int, x: Tensor, y: Tensor) -> Tensor:
        z = self.also(k, x)
        return (lambda: x + y + z, lambda: (y + x) + z, lambda: (y + z) + x)[k]()


class ParallelInOneCall(TwoBranches):
    def combine(self, k: int, x: Tensor, y: Tensor) -> Tensor:
        z = self.also(k, x)
        if k == 0:
            return sum([x, y, z])  # type: ignore[return-value]
        return torch.addcmul(torch.addcmul(x, y, self.w[k] + 1), self.w[k] - 1, z, value=0.5)


@pytest.mark.parametrize("kind", [Parallel, ParallelInOneCall])
def test_parallel_branches_are_one(kind: type[TwoBranches]) -> None:
    model = kind().eval()
    system = oc.adopt(model, X)
    assert [b.skip for b in system.branches] == ["identity"] * 3
    expect_readouts(model, system)
    if kind is ParallelInOneCall:
        return
    group = ("f.{}.2.weight", "f.{}.2.bias", "last.{}.weight", "last.{}.bias")
    assert [set(b.group) for b in system.branches] == [{name.format(k) for name in group} for k in range(3)]
    for p in system.group(1):
        nn.init.zeros_(p)
    assert oc.Network(system).zero_steps() == (1,)
    small = oc.crop(system)
    assert torch.equal(small(X), oc.Network(system)(X))
    assert not any(name.startswith(("f.1.", "g.1.", "last.1.")) for name in small.state_dict())


def test_one_of_two_parallel_branches_is_named_by_hand() -> None:
    model = Parallel().eval()
    system = oc.adopt(model, X, branches=[f"f.{k}" for k in range(3)])
    assert [b.module for b in system.branches] == ["f.0", "f.1", "f.2"]
    state = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(system.branch(1, state), model.f[1](state))
    torch.testing.assert_close(system.skip(1, state), state + model.also(1, state))


class PlaceInTheSum(TwoBranches):
    def combine(self, k: int, x: Tensor, y: Tensor) -> Tensor:
        return x + self.w[k] + y


def test_a_constant_in_a_sum_belongs_to_the_skip() -> None:
    model = PlaceInTheSum().eval()
    with torch.no_grad():
        for w in model.w:
            w.copy_(torch.arange(4.0))
    system = oc.adopt(model, X)
    assert [b.skip for b in system.branches] == ["projection"] * 3
    assert torch.equal(system.skip(0, X), X + model.w[0])


class Fused(Form):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Parameter(torch.randn(4, 4))

    def combine(self, k: int, x: Tensor, y: Tensor) -> Tensor:
        if k == 0:
            return torch.addcmul(x, self.w[k] + 1, y)
        if k == 1:
            return torch.addcdiv(x, y, self.w[k] + 2, value=-2.0)
        return torch.addmm(x, y, self.last, alpha=0.5)


class Interpolated(Form):
    def combine(self, k: int, x: Tensor, y: Tensor) -> Tensor:
        return torch.lerp(x, y, 0.25)

    def forward(self, x: Tensor) -> Tensor:
        for k, f in enumerate(self.f):
            x = self.combine(k, x, f(x)) if self.on[k] else 0.75 * x
        return self.end(x)


class InPlaceAndTwice(Form):
    def combine(self, k: int, x: Tensor, y: Tensor) -> Tensor:
        if k == 0:
            x = x.clone()
            x -= y
            return x
        return torch.sub(x, y, alpha=2) if k == 1 else (x + 0).addcmul_(self.w[k] + 1, y, value=0.5)


@pytest.mark.parametrize("kind", [Fused, Interpolated, InPlaceAndTwice])
def test_an_addition_in_a_fused_operation_is_seen(kind: type[Form]) -> None:
    model = kind().eval()
    system = oc.adopt(model, X)
    assert [b.k for b in system.branches] == [0, 1, 2]
    expect_readouts(model, system)
    assert torch.equal(system(X), model(X))


class Stacked(Form):
    def combine(self, k: int, x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([x, y]).sum(0)


def test_a_join_that_is_no_addition_is_named() -> None:
    with pytest.raises(oc.AdoptError, match=r"in stack in module .* meet.* write the sum as x \+ f\(x\)"):
        oc.adopt(Stacked(), X)


class OwnLinear(nn.Linear):
    """A linear map whose bias is an addition."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T + self.bias


class OwnBias(TwoBranches):
    def __init__(self) -> None:
        super().__init__()
        for f in self.f:
            f[2] = OwnLinear(6, 4)

    def combine(self, k: int, x: Tensor, y: Tensor) -> Tensor:
        return x + y if k < 2 else x + self.also(k, x) + y


def test_a_bias_that_is_added_in_a_branch_belongs_to_it() -> None:
    model = OwnBias().eval()
    system = oc.adopt(model, X)
    assert [b.skip for b in system.branches] == ["identity"] * 3
    assert set(system.branches[0].group) == {"f.0.2.weight", "f.0.2.bias"}
    expect_readouts(model, system)
    assert not any(name.startswith("f.1.") for name in oc.crop(system, steps=[0, 2]).state_dict())


class Turned(Form):
    """The state is subtracted, with its mean taken off; the second time by the function that swaps its arguments."""

    def combine(self, k: int, x: Tensor, y: Tensor) -> Tensor:
        return (lambda: y - x, lambda: torch.rsub(y, x, alpha=0.5), lambda: y + (x - x.mean(-1, keepdim=True)))[k]()


def test_a_state_that_is_subtracted_is_a_linear_skip() -> None:
    model = Turned().eval()
    system = oc.adopt(model, X)
    assert [b.skip for b in system.branches] == ["projection", "identity", "projection"]
    assert torch.equal(oc.Network(system)(X), model(X))
    assert torch.equal(system.skip(0, X), -X)
    torch.testing.assert_close(system.branch(1, X), -0.5 * model.f[1](X))
    torch.testing.assert_close(system.skip(2, X), X - X.mean(-1, keepdim=True))


class SquareOfAMap(Form):
    """A product of two linear maps of the state is none."""

    def combine(self, k: int, x: Tensor, y: Tensor) -> Tensor:
        inner = self.f[k][0](x)[:, :4]
        return inner * inner + self.f[k][0](x)[:, 2:]


def test_a_square_is_no_linear_skip() -> None:
    model = SquareOfAMap().eval()
    system = oc.adopt(model, X)
    torch.testing.assert_close(system.skip(0, X), model.f[0][0](X)[:, 2:])


class WrittenInto(Form):
    """Parts of a branch, of a skip and of the output are written over before they are read."""

    def combine(self, k: int, x: Tensor, y: Tensor) -> Tensor:
        if k < 2:
            y[:, 0] = k
            return x + y
        x = x.clone()
        x[:, 1] = 0
        return x + y

    def end(self, x: Tensor) -> Tensor:
        logits = self.head(x)
        logits[:, 2] = -1.0
        return logits


def test_what_is_written_into_a_branch_before_it_is_added_is_part_of_it() -> None:
    model = WrittenInto().eval()
    system = oc.adopt(model, X)
    assert torch.equal(oc.Network(system)(X), model(X))
    assert torch.equal(system.branch(1, X)[:, 0], torch.ones(5))
    assert torch.equal(system.skip(2, X)[:, 1], torch.zeros(5))
    readouts = oc.rollout(system, X).readouts
    assert torch.equal(readouts[..., 2], torch.full((4, 5), -1.0))
    torch.testing.assert_close(readouts[-1], model(X))


# -- samples of a batch that see each other ----------------------------------------------------------------------------


class MixingHead(Form):
    def end(self, x: Tensor) -> Tensor:
        return self.head(x * x.mean(0))


class MixingSkip(Form):
    def trunk(self, x: Tensor) -> Tensor:
        return x / (1 + x.std(0)) if self.training else x


class Similarities(Form):
    def end(self, x: Tensor) -> Tensor:
        return x @ x.T


class BatchSecond(Form):
    """States (L, B, D), turned at the beginning and the end."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.embedding(x).transpose(0, 1)).transpose(0, 1)


@pytest.mark.parametrize(("kind", "x", "said"), [
    (MixingHead, X, r"the head, in evaluation mode: got a map that mixes the samples"),
    (MixingSkip, X, r"the skip of branch 'f\.1', in training mode: got .* Compute what is common to a batch"),
    (Similarities, X, r"the head, in evaluation mode"),
    (BatchSecond, torch.arange(12).view(3, 4) % 4, r"elsewhere than in dimension 0.* states with the batch first"),
])  # fmt: skip
def test_a_skip_or_head_that_mixes_samples_is_refused(kind: type[Form], x: Tensor, said: str) -> None:
    with pytest.raises(oc.AdoptError, match=said):
        oc.adopt(kind(), x)


class MixingBranch(Form):
    """A branch may: it is computed for one depth at a time."""

    def combine(self, k: int, x: Tensor, y: Tensor) -> Tensor:
        return x + y * x.mean(0)


def test_a_branch_that_mixes_samples_is_read_right() -> None:
    model = MixingBranch().eval()
    expect_readouts(model, oc.adopt(model, X))


class Fixed(Form):
    """Precision chosen by the model itself."""

    def combine(self, k: int, x: Tensor, y: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return x + self.f[k](x)


def test_autocast_inside_of_a_model_is_refused() -> None:
    with pytest.raises(oc.AdoptError, match=r"got torch\.autocast\('cpu', torch\.bfloat16\) in it.* Take it out"):
        oc.adopt(Fixed(), X)


class OneNorm(Form):
    """One batch norm in every branch, and an average that the model keeps by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("average", torch.zeros(4))
        self.register_buffer("calls", torch.zeros(()))

    def combine(self, k: int, x: Tensor, y: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            with torch.no_grad():
                self.average.mul_(0.9).add_(x.mean(0), alpha=0.1)
        return x + self.f[k](self.norm(x) - self.average)


def test_buffers_of_several_branches_are_written_as_often_as_in_the_model() -> None:
    model = OneNorm().train()
    system, alone = oc.adopt(model, X), copy.deepcopy(model)
    assert torch.equal(oc.Network(system)(X), alone(X))
    assert alone.calls == 3
    for (name, one), two in zip(alone.state_dict().items(), model.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, msg=name)


class Mixing(nn.Module):
    """A branch without parameters, as a Fourier transform is."""

    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(-1).tanh()


def test_a_branch_without_parameters_is_named_by_hand() -> None:
    model = Form()
    model.f = nn.ModuleList(Mixing() for _ in range(3))
    model.eval()
    with pytest.raises(oc.AdoptError, match=r"name the modules of branches without parameters"):
        oc.adopt(model, X)
    system = oc.adopt(model, X, branches=["f.0", "f.1", "f.2"])
    expect_readouts(model, system)


class Spectral(Form):
    """Each call makes one step of a power iteration, under no_grad, into buffers."""

    def __init__(self) -> None:
        super().__init__()
        for f in self.f:
            spectral_norm(f[2])


def test_spectral_norm_is_trained_and_iterates_as_in_the_model() -> None:
    model = Spectral().train()
    system, alone = oc.adopt(model, X), copy.deepcopy(model)
    oc.rollout(system, X).readouts[-1].square().sum().backward()
    alone(X).square().sum().backward()
    for (name, one), two in zip(alone.state_dict().items(), model.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, msg=name)
    for one, two in zip(alone.parameters(), model.parameters(), strict=True):
        assert one.grad is None or torch.allclose(one.grad, two.grad, rtol=1e-4, atol=1e-6)
    assert [b.group for b in system.branches] == [()] * 3  # zero weights have no direction
    expect_readouts(model.eval(), system)
