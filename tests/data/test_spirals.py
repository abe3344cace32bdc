"""Two spirals against their closed form."""

from __future__ import annotations

import math

import pytest
import torch

from node_oc.data import spirals, two_spirals
from node_oc.errors import DataError


def draw(n: int, turns: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return two_spirals(n, turns, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("turns", [0.25, 1.0, 1.5, 3.7])
def test_point_is_the_formula_of_its_uniform(turns: float) -> None:
    x, y = draw(501, turns)
    u = torch.rand(501, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = 2 * math.pi * turns * u.sqrt()
    arm = torch.stack([t * t.cos(), t * t.sin()], dim=1) / (2 * math.pi * turns)
    expected = torch.where((y == 0)[:, None], arm, -arm)
    torch.testing.assert_close(x, expected.float(), rtol=0, atol=1e-7)
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize("turns", [0.25, 1.5])
def test_angle_is_radius_times_full_angle(turns: float) -> None:
    x, y = draw(2000, turns)
    arm = (x * (1 - 2 * y)[:, None]).double()
    t = 2 * math.pi * turns * arm.norm(dim=1)
    assert arm.norm(dim=1).max() <= 1 + 1e-6
    # The cross product of the point with the direction of angle t vanishes; the dot product is the radius.
    torch.testing.assert_close(arm[:, 0] * t.sin() - arm[:, 1] * t.cos(), torch.zeros(2000).double(), rtol=0, atol=2e-6)
    torch.testing.assert_close(arm[:, 0] * t.cos() + arm[:, 1] * t.sin(), arm.norm(dim=1), rtol=0, atol=2e-6)


def test_classes_are_reflections_and_balanced() -> None:
    x, y = draw(1000, 1.5)
    assert y.bincount().tolist() == [500, 500]
    assert draw(7, 1.5)[1].bincount().tolist() == [4, 3]
    assert not torch.equal(x[y == 0], -x[y == 1])  # each class draws its own points


@pytest.mark.parametrize(("power", "mean", "variance"), [(2, 1 / 2, 1 / 12), (1, 2 / 3, 1 / 18), (4, 1 / 3, 4 / 45)])
def test_radius_has_the_law_of_the_root_of_a_uniform(power: int, mean: float, variance: float) -> None:
    n = 20_000
    x, _ = draw(n, 1.5, seed=3)
    # Normal bound at alpha = 1e-5, two-sided: 4.42 standard errors.
    assert abs(float((x.double().norm(dim=1) ** power).mean()) - mean) < 4.42 * math.sqrt(variance / n)


def test_split_has_its_sizes_names_and_no_standardisation() -> None:
    split = spirals(turns=2.0, train=10, val=20, test=30, seed=1)
    assert [len(split.train), len(split.val), len(split.test)] == [10, 20, 30]
    assert (split.features, split.classes, split.inputs, split.outputs) == (("x1", "x2"), ("0", "1"), 2, 2)
    assert torch.equal(split.x_scale.apply(split.train.x).float(), split.train.x)


def test_streams_are_deterministic_apart_and_not_shared_between_seeds() -> None:
    parts = {}
    for seed in range(3):
        split, again = (
            spirals(train=8, val=8, test=8, seed=seed),
            spirals(train=100, val=8, test=8, seed=seed),
        )
        assert torch.equal(split.val.x, again.val.x)
        assert torch.equal(split.test.x, again.test.x)
        parts |= {(seed, name): getattr(split, name).x for name in ("train", "val", "test")}
    firsts = {tuple(x[0].tolist()) for x in parts.values()}
    assert len(firsts) == 9


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: draw(0, 1.5), "number of points"),
        (lambda: draw(3, 0.0), "turns"),
        (lambda: draw(3, math.nan), "turns"),
        (lambda: draw(3, math.inf), "turns"),
        (lambda: spirals(seed=-1), "seed"),
        (lambda: spirals(train=1), "no sample of class '1'"),
        (lambda: spirals(val=1), "val part"),
    ],
)
def test_numbers_out_of_range_are_named(call, names: str) -> None:
    with pytest.raises(DataError, match=names):
        call()
