"""The dense system: how it starts, how its rows are held, what it refuses."""

from __future__ import annotations

import pytest
import torch
from systems import randn, stir_

from node_oc.errors import ConfigError, ShapeError
from node_oc.system import DenseSystem

X = randn(5, 2).float()


def rows(system: DenseSystem) -> torch.Tensor:
    return torch.cat([system.control(k)[0].detach().norm(dim=1) for k in range(system.depth)])


def test_a_padding_lift_is_the_input_then_zeros() -> None:
    lifted = DenseSystem(2, 2, depth=1, width=5, lift="pad").lift(X)
    assert torch.equal(lifted[:, :2], X)
    assert (lifted[:, 2:] == 0).all()


def test_a_coordinate_head_is_the_first_entries_of_the_state() -> None:
    x = randn(4, 7)
    assert torch.equal(DenseSystem(2, 3, depth=1, width=7, head="coordinates").head(x), x[:, :3])


@pytest.mark.parametrize("norm", [1.0, 3.0])
def test_rows_start_at_their_norm_and_come_back_to_it(norm: float) -> None:
    system = DenseSystem(2, 2, depth=3, row_norm=norm)
    torch.testing.assert_close(rows(system), torch.full((96,), norm))
    stir_(system)
    assert (rows(system) - norm).abs().max() > 0.1
    system.constrain_()
    torch.testing.assert_close(rows(system), torch.full((96,), norm))


def test_constraining_keeps_directions_and_touches_nothing_else() -> None:
    system = DenseSystem(2, 2, depth=2)
    stir_(system)
    before = {name: p.clone() for name, p in system.named_parameters()}
    system.constrain_()
    for name, p in system.named_parameters():
        if name.endswith("inner.weight"):
            cosine = torch.nn.functional.cosine_similarity(p, before[name])
            torch.testing.assert_close(cosine, torch.ones(32))
        else:
            assert torch.equal(p, before[name])


@pytest.mark.parametrize("released", [False, True])
def test_free_rows_stay_as_they_are(released: bool) -> None:
    system = DenseSystem(2, 2, depth=2, row_norm=1.0 if released else 0.0)
    if released:
        system.release_()
    stir_(system)
    before = rows(system)
    system.constrain_()
    assert torch.equal(rows(system), before)
    assert system.spec()["row_norm"] == 0.0


def test_a_row_of_zeros_stays_finite() -> None:
    system = DenseSystem(2, 2, depth=1)
    with torch.no_grad():
        system.control(0)[0].zero_()
    system.constrain_()
    assert (system.control(0)[0] == 0).all()


def test_branches_start_small_and_without_bias() -> None:
    system = DenseSystem(2, 2, depth=8, width=64, hidden=64)
    for k in range(8):
        weight, bias = system.group(k)
        assert weight.std().item() == pytest.approx(0.1 / 8, rel=0.1)
        assert (bias == 0).all()


def test_without_a_generator_the_start_is_the_same_every_time() -> None:
    torch.manual_seed(1)
    one = DenseSystem(2, 2, depth=2).state_dict()
    torch.manual_seed(2)
    two = DenseSystem(2, 2, depth=2).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_another_seed_is_another_start() -> None:
    one, two = (DenseSystem(2, 2, depth=1, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert not torch.equal(one.group(0)[0], two.group(0)[0])


@pytest.mark.parametrize(
    "wrong", [{"lift": "pad", "features": 6}, {"head": "coordinates", "outputs": 6}, {"lift": "pad", "features": 9}]
)
def test_a_state_that_is_too_narrow_raises(wrong: dict) -> None:
    arguments = {"features": 2, "outputs": 2, "width": 5} | wrong
    need = max(arguments["features"] if "lift" in wrong else 0, arguments["outputs"] if "head" in wrong else 0)
    with pytest.raises(ShapeError, match=f"got 5, expected at least {need}"):
        DenseSystem(**arguments)


@pytest.mark.parametrize("name", ["activation", "lift", "head"])
def test_an_unknown_name_raises(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: got 'sine'"):
        DenseSystem(2, 2, **{name: "sine"})


@pytest.mark.parametrize("steps", [[0, 3], [-1], [7]])
def test_a_subsystem_of_steps_that_do_not_exist_raises(steps: list[int]) -> None:
    with pytest.raises(ShapeError, match="step k"):
        DenseSystem(2, 2, depth=3).subsystem(steps)


def test_a_subsystem_keeps_dtype_order_and_later_constraints() -> None:
    system = DenseSystem(2, 2, depth=3, row_norm=2.0).double()
    small = system.subsystem([2, 0])
    assert torch.equal(small.group(0)[0], system.group(2)[0])
    assert torch.equal(small.group(1)[0], system.group(0)[0])
    assert {p.dtype for p in small.parameters()} == {torch.float64}
    assert (small.depth, small.spec()["depth"], small.row_norm) == (2, 2, 2.0)
    system.release_()
    assert system.subsystem([0]).row_norm == 0.0


@pytest.mark.parametrize("lift", ["linear", "pad"])
@pytest.mark.parametrize("head", ["linear", "coordinates"])
def test_depth_zero_is_head_after_lift_and_has_a_readout(lift: str, head: str) -> None:
    system = DenseSystem(2, 3, depth=0, width=4, lift=lift, head=head)
    weight, bias = system.affine_readout()
    x = system.lift(X)
    torch.testing.assert_close(torch.nn.functional.linear(x, weight, bias), system.head(x))


@pytest.mark.parametrize("bad", [{"depth": -1}, {"row_norm": -1.0}, {"hidden": 0}, {"width": 0}])
def test_sizes_that_cannot_be_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least"):
        DenseSystem(2, 2, **bad)
