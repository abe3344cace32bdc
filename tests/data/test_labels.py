"""Labels, the cells they come in, and what is refused as a label."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_oc.data import encode_labels
from node_oc.data.cells import as_numbers, first_missing
from node_oc.errors import DataError

texts = st.text(max_size=8).map(str.strip).filter(lambda text: text and text.lower() != "nan")


def objects(*cells: object) -> np.ndarray:
    array = np.empty(len(cells), dtype=object)
    array[:] = cells
    return array


@pytest.mark.parametrize(
    ("values", "codes", "classes"),
    [
        (np.array([7, 3, 7, 100]), [1, 0, 1, 2], ("3", "7", "100")),
        (np.array([1, 0], np.uint8), [1, 0], ("0", "1")),
        (np.array([True, False]), [1, 0], ("False", "True")),
        (np.array(["dog", "cat", "dog"]), [1, 0, 1], ("cat", "dog")),
        (np.array([b"dog", b"cat"]), [1, 0], ("cat", "dog")),
        (objects("10", " 9", "10 "), [1, 0, 1], ("9", "10")),  # as numbers: 9 before 10
        (objects("x10", "x9"), [0, 1], ("x10", "x9")),
        (objects("-1", "a"), [0, 1], ("-1", "a")),  # a text label may start with a minus
        (objects("cat", " cat", "dog\t"), [0, 0, 1], ("cat", "dog")),
        (objects("12345678901", "012345678901"), [1, 0], ("012345678901", "12345678901")),
        (objects("1" * 5000, "2"), [0, 1], None),  # int() refuses so many digits
        (objects(True, False), [1, 0], ("False", "True")),
        (objects(3, 1), [1, 0], ("1", "3")),
        (np.arange(40), list(range(40)), None),
    ],
)
def test_labels_become_indices_and_keep_their_names(values, codes, classes) -> None:
    encoded = encode_labels(values)
    assert encoded.codes.tolist() == codes
    assert encoded.codes.dtype == np.int64
    assert classes is None or encoded.classes == classes


@given(st.lists(st.integers(0, 10**9), min_size=2).filter(lambda cells: len(set(cells)) > 1))
def test_integers_are_recovered_from_codes_and_agree_with_their_text(cells: list[int]) -> None:
    codes, classes = encode_labels(np.array(cells))
    assert [int(classes[code]) for code in codes] == cells
    assert encode_labels(objects(*map(str, cells))).classes == classes


@given(st.lists(texts, min_size=1))
def test_text_is_recovered_from_codes_or_refused(cells: list[str]) -> None:
    try:
        codes, classes = encode_labels(objects(*cells))
    except DataError:
        return
    assert len(set(classes)) == len(classes) == codes.max() + 1
    if any(not set(cell) <= set("0123456789+-.eE_infINFtyTY") for cell in cells if cell.isascii()):
        assert [classes[code] for code in codes] == cells


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.array([]), r"shape \(0,\)"),
        (np.zeros((2, 2)), r"shape \(2, 2\)"),
        (np.array([-1, 1]), "negative labels.*Recode"),
        (objects("-1", "1"), "negative labels.*strings"),
        (np.array([2.0, 1.0]), r'value 2.0.*task = "regression".*without a decimal point'),
        (objects("1.0", "2"), r'value 1.0.*task = "regression"'),
        (objects(3, 1.0), r'task = "regression"'),
        (np.array([3, 3, 3]), "single class '3'"),
        (np.array([0.0, 1.5]), r'value 1.5.*task = "regression"'),
        (objects("0.1", "1.5"), r'task = "regression"'),
        (np.array([0.0, np.inf]), "value inf"),
        (np.array([0.0, np.nan, 1.0]), "row 1 .*missing"),
        (objects("a", "b", "  "), "row 2 .*missing"),
        (objects("a", "NaN"), "row 1 .*missing"),
        (objects("a", None), "row 1 .*missing"),
        (objects("a", float("nan")), "row 1 .*missing"),
        (objects("a", 1), "type int and str"),
        (objects([1], [2]), "type list"),
        (np.array([1j, 2j]), "complex"),
        (np.array(["2020-01-01", "2021-01-01"], "datetime64[D]"), "datetime"),
    ],
)
def test_what_is_no_label_is_refused(values, says: str) -> None:
    with pytest.raises(DataError, match=says):
        encode_labels(values)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.array([0.0, np.nan]), r"row 1 .* got nan"),
        (np.array([-np.inf]), r"row 0 .* got -inf"),
        (objects("1", "x"), r"row 1 .* got 'x'.*drop"),
        (objects("1", ""), r"row 1 .* missing value"),
        (objects("1", "1_000"), "'1_000'"),
        (objects("1e999"), "'1e999'"),
        (objects(10**400), "got 1000000"),
        (objects(None), "missing value"),
        (np.array([1j]), "complex"),
    ],
)
def test_what_is_no_number_is_refused(values, says: str) -> None:
    with pytest.raises(DataError, match=says):
        as_numbers(values, "column 'a'")


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_survive_as_text(cells: list[float]) -> None:
    assert as_numbers(objects(*map(repr, cells)), "column").tolist() == cells
    assert first_missing(np.array(cells)) is None
