"""Checks, standardisation and the split of rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from node_oc.data import Rows, digits, fit_scale, partition, prepare, prepare_rows, standardised
from node_oc.errors import DataError

TWO = np.array([0, 1])


def rows(x: object, y: object = TWO) -> Rows:
    return Rows(np.asarray(x, dtype=float), np.asarray(y))


GOOD = rows([[0.0, 1.0], [2.0, 5.0]])


def three(**parts: Rows):
    return prepare(**({"train": GOOD, "val": GOOD, "test": GOOD} | parts), task="classification", features=("a", "b"))


def test_feature_scale_is_the_population_mean_and_std_of_the_training_part() -> None:
    split = three(val=rows([[1.0, 3.0], [100.0, 3.0]]))
    assert split.x_scale.mean.tolist() == [1.0, 3.0]
    assert split.x_scale.std.tolist() == [1.0, 2.0]
    assert split.train.x.tolist() == [[-1.0, -1.0], [1.0, 1.0]]
    assert split.val.x.tolist() == [[0.0, 0.0], [99.0, 0.0]]  # nothing is learnt from validation


def test_global_scale_is_one_number() -> None:
    scale = fit_scale(np.array([[0, 2], [4, 6]], np.uint8), "global")
    assert scale.mean.tolist() == [3.0]
    assert scale.std.tolist() == [5**0.5]


def test_no_scale_is_the_identity() -> None:
    x = torch.randn(3, 2)
    scale = fit_scale(x.numpy(), "none")
    assert torch.equal(scale.apply(x), x.double())


def test_a_constant_feature_becomes_zero_even_where_its_std_rounds_to_more() -> None:
    x = np.full((1000, 1), 0.1)
    assert x.std() > 0  # what makes this test worth having
    scale = fit_scale(x, "feature")
    assert (scale.mean.item(), scale.std.item()) == (0.1, 1.0)
    assert not standardised(x, scale, "train").any()


def test_large_offsets_keep_their_digits() -> None:
    x = 1.7e9 + np.arange(4.0)[:, None]
    z = standardised(x, fit_scale(x, "feature"), "train")
    torch.testing.assert_close(z[:, 0].diff(), torch.full((3,), 1.25**-0.5))


@given(st.lists(st.floats(-1e100, 1e100), min_size=2, max_size=20), st.sampled_from(["feature", "global"]))
def test_scale_undoes_itself(column: list[float], mode) -> None:
    x = np.array(column)[:, None]
    scale = fit_scale(x, mode)
    back = scale.undo(scale.apply(torch.from_numpy(x))).numpy()
    np.testing.assert_allclose(back, x, rtol=1e-9, atol=1e-9 * np.abs(x).max())


def test_the_split_applies_its_own_scale() -> None:
    x = np.random.default_rng(0).normal(size=(60, 3)) * [1, 10, 0] + 5
    split = prepare_rows(Rows(x, np.arange(60) % 3), task="classification", features=("a", "b", "c"))
    everything = torch.cat([split.train.x, split.val.x, split.test.x])
    raw = split.x_scale.apply(torch.from_numpy(x)).float()
    assert sorted(map(tuple, everything.tolist())) == sorted(map(tuple, raw.tolist()))
    torch.testing.assert_close(split.train.x.mean(0), torch.zeros(3), rtol=0, atol=1e-6)
    torch.testing.assert_close(split.train.x.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]))


def test_regression_standardises_its_target() -> None:
    x = np.arange(50.0)[:, None]
    split = prepare_rows(Rows(x, 3 * x[:, 0] + 7), task="regression", features=("a",))
    assert (split.train.y.shape, split.train.y.dtype) == ((30, 1), torch.float32)
    assert (split.classes, split.outputs) == ((), 1)
    # The target is linear in the feature with a positive slope, so standardised they are the same.
    for part in (split.train, split.val, split.test):
        torch.testing.assert_close(part.y, part.x)
    assert split.y_scale is not None
    raw = split.y_scale.undo(split.test.y.double())
    torch.testing.assert_close(raw, 3 * split.x_scale.undo(split.test.x.double()) + 7, rtol=1e-6, atol=1e-4)


@given(st.integers(20, 200), st.floats(0.1, 0.4), st.floats(0.1, 0.4), st.integers(0, 2**32 - 1), st.booleans())
def test_partition_is_a_partition_and_repeats_itself(n, val, test, seed, stratify) -> None:
    strata = np.arange(n) % 2 if stratify else None
    parts = partition(n, strata, val, test, seed)
    assert sorted(np.concatenate(parts)) == list(range(n))
    assert (len(parts.val), len(parts.test)) == (round(n * val), round(n * test))
    for part, again in zip(parts, partition(n, strata, val, test, seed)):
        assert np.array_equal(part, again)
        if stratify:
            assert abs(int((part % 2 == 0).sum()) - len(part) / 2) <= 1.5


def test_digits_have_every_class_in_proportion() -> None:
    split = digits()
    assert [len(split.train), len(split.val), len(split.test)] == [1079, 359, 359]
    assert (split.inputs, split.classes) == (64, tuple("0123456789"))
    for part in (split.train, split.val, split.test):
        assert part.y.bincount().div(len(part)).sub(0.1).abs().max() < 0.01
    assert split.features[:2] == ("pixel_0", "pixel_1")
    assert abs(split.train.x.mean()) < 1e-5
    assert abs(split.train.x.std() - 1) < 1e-4
    assert torch.equal(digits(0).val.x, split.val.x)
    assert not torch.equal(digits(1).val.y, split.val.y)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"train": rows(np.zeros((0, 2)), [])}, r"train.*\(0, 2\)"),
        ({"test": rows(np.zeros((0, 2)), [])}, r"test.*\(0, 2\)"),
        ({"val": rows([[0.0], [1.0]])}, r"val.*shapes \(n, 2\)"),
        ({"val": rows([[0.0, 0.0]])}, "val"),
        ({"val": rows([[0.0, 1.0], [np.nan, 1.0]])}, r"val, column 'a', row 1 .*got nan"),
        ({"train": rows([[0.0, np.inf], [0.0, 1.0]])}, r"train, column 'b', row 0 .*got inf"),
        ({"val": rows(GOOD.x, [0, 0])}, "val part: got no sample of class '1'"),
        ({"test": rows(GOOD.x, [1, 1])}, "test part: got no sample of class '0'"),
        ({"train": rows(GOOD.x, [1, 1])}, "train part: got no sample of class '0'"),
        ({"train": rows(GOOD.x, [0, 2])}, "class '1'|class '2'"),
        ({"train": rows(GOOD.x, [-1, 1])}, "negative"),
        ({name: rows(GOOD.x, [4, 4]) for name in ("train", "val", "test")}, "single class '4'"),
        ({"train": rows([[0.0, 1e200], [0.0, -1e200]])}, "feature 1 .*too large"),
        ({"test": rows([[0.0, 1.0], [0.0, 1e39]])}, r"test part, row 1, feature 1.*1e\+39"),
    ],
)
def test_bad_parts_are_named(parts, says: str) -> None:
    with pytest.raises(DataError, match=says):
        three(**parts)


def whole(x: object = None, y: object = None, **options):
    x = np.arange(20.0)[:, None] if x is None else x
    y = np.arange(20) % 2 if y is None else y
    return prepare_rows(Rows(x, np.asarray(y)), **({"task": "classification", "features": ("a",)} | options))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: whole(y=[0] * 18 + [1] * 2), "class '1': got 2 row"),
        (lambda: whole(y=np.arange(20)), r'class.*1 row.*task = "regression"'),
        (lambda: whole(y=[0] * 17 + [1] * 3, val_fraction=0.05), "cannot be split"),
        (lambda: whole(val_fraction=0.0), "val_fraction"),
        (lambda: whole(val_fraction=0.5, test_fraction=0.5), "sum is below 1"),
        (lambda: whole(test_fraction=float("nan")), "test_fraction"),
        (lambda: whole(seed=-1), "seed"),
        (lambda: whole(task="classify"), "task: got 'classify'"),
        (lambda: whole(standardise="columns"), "standardise: got 'columns'"),
        (lambda: whole(x=np.array([[1.0]] * 7 + [[np.nan]] * 13)), "table, column 'a', row 7 "),
        (lambda: whole(task="regression", y=[1.0] * 20), "single value 1.0"),
        (lambda: whole(task="regression", y=["1"] * 19 + ["x"]), "target, row 19 .*got 'x'"),
        (lambda: whole(x=np.zeros((2, 1)), y=[0.0, 1.0], task="regression"), "cannot be split"),
        (lambda: whole(x=np.zeros((20, 0)), features=()), "at least one feature"),
    ],
)
def test_bad_tables_are_named(call, says: str) -> None:
    with pytest.raises(DataError, match=says):
        call()
