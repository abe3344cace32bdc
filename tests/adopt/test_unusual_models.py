"""Models that are written in unusual ways: what is read, cut and trained is still what the model says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

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


class Gated(Form):
    def combine(self, k: int, x: Tensor, y: Tensor) -> Tensor:
        return x + y * (1 + self.w[k])


class Exponential(Form):
    def combine(self, k: int, x: Tensor, y: Tensor) -> Tensor:
        return x + self.w[k].exp() * y


class Normed(Form):
    def __init__(self) -> None:
        super().__init__()
        for f in self.f:
            f[2] = weight_norm(f[2])


@pytest.mark.parametrize("kind", [Gated, Exponential, Normed])
def test_a_group_whose_zero_is_no_zero_branch_is_none(kind: type[Form]) -> None:
    model = kind().eval()
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
