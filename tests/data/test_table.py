"""A person's own table, as CSV, npz and Parquet: what is read, and what is said when it cannot be."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from node_oc.data import read_features, read_table, table
from node_oc.errors import DataError

numbers = st.floats(allow_nan=False, allow_infinity=False)
names = (
    st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=6)
    .map(str.strip)
    .filter(lambda name: name and not name.startswith("\ufeff"))
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("table") / "some.csv"


def put(tmp_path: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


tables = st.integers(1, 4).flatmap(
    lambda d: st.tuples(
        st.lists(names, min_size=d + 1, max_size=d + 1, unique=True),
        st.lists(st.tuples(*[numbers] * d, names), min_size=1, max_size=6),
    )
)


@given(tables, st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans())
def test_csv_tables_come_back(file: Path, content, ending: str, quote: bool, mark: bool) -> None:
    header, rows = content
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=ending, quoting=csv.QUOTE_ALL if quote else csv.QUOTE_MINIMAL)
    writer.writerows([[*header], *([*map(repr, row[:-1]), row[-1]] for row in rows)])
    file.write_bytes(text.getvalue().encode("utf-8-sig" if mark else "utf-8"))
    if any(row[-1].lower() == "nan" for row in rows):
        with pytest.raises(DataError, match="missing"):
            read_table(file, header[-1])
        return
    raw = read_table(file, header[-1])
    assert raw.names == tuple(header[:-1])
    assert raw.x.tolist() == [list(row[:-1]) for row in rows]
    assert raw.y.tolist() == [row[-1] for row in rows]
    # New data: the same columns in another order.
    assert read_features(file, header[-2::-1]).tolist() == [list(row[-2::-1]) for row in rows]


lines = st.text(st.sampled_from('ay,"\n\r\0 .1-\té;'), max_size=60)


@given(st.one_of(st.binary(), st.text().map(lambda t: t.encode("utf-8", "surrogatepass")), lines.map(str.encode)))
def test_any_text_is_a_table_or_a_data_error(file: Path, content: bytes) -> None:
    for text in (content, b"a,y\n" + content, b"a,y\n1,u\n2,v\n" + content):
        file.write_bytes(text)
        for read in (
            lambda: read_table(file, "y"),
            lambda: read_features(file, ["a"]),
            lambda: table(file, "y"),
        ):
            try:
                read()
            except DataError as error:
                assert str(error)  # noqa: PT017  # either outcome is right


IRIS = "length, width,kind\n" + "".join(f"{i},{i * i / 7},{'abc'[i % 3]}\n" for i in range(30))


def test_a_table_is_split_by_class_and_its_features_are_standardised(tmp_path: Path) -> None:
    split = table(put(tmp_path, IRIS), "kind")
    assert (split.features, split.classes, split.task) == (
        ("length", "width"),
        ("a", "b", "c"),
        "classification",
    )
    assert [part.y.bincount().tolist() for part in (split.train, split.val, split.test)] == [
        [6, 6, 6],
        [2, 2, 2],
        [2, 2, 2],
    ]
    torch.testing.assert_close(split.train.x.mean(0), torch.zeros(2), rtol=0, atol=1e-6)
    raw = split.x_scale.undo(split.test.x.double())
    torch.testing.assert_close(raw[:, 1], raw[:, 0] ** 2 / 7, rtol=0, atol=1e-4)
    assert (raw[:, 0].round() % 3).tolist() == split.test.y.tolist()  # rows keep their labels
    assert torch.equal(table(put(tmp_path, IRIS), "kind").val.x, split.val.x)
    assert not torch.equal(table(put(tmp_path, IRIS), "kind", seed=1).val.x, split.val.x)


def test_regression_needs_to_be_asked_for(tmp_path: Path) -> None:
    path = put(tmp_path, IRIS)
    with pytest.raises(DataError, match=r'width.*task = "regression"'):
        table(path, "width", drop=["kind"])
    split = table(path, "width", task="regression", drop=["kind"])
    assert (split.features, split.outputs, len(split.train)) == (("length",), 1, 18)
    assert table(path, "length", task="regression", drop=["kind"]).y_scale is not None
    with pytest.raises(DataError, match="column 'kind', line 2: got 'a', expected a number"):
        table(path, "kind", task="regression")
    with pytest.raises(DataError, match="task: got 'rank'"):
        table(path, "kind", task="rank")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "an empty file"),
        ("\n\n", "an empty file"),
        ("a,y\n", "only a header"),
        ("1,2\n3,4\n", "first line: got numbers only.*header"),
        ("a,y\n1,u\n\n2\n", "line 4: got 1 cells, expected 2"),
        ("a,y\n1,u\n2,v,w\n", "line 3: got 3 cells, expected 2"),
        ('a,y\n"1",u\n"2"3,v\n', "line 3: got text that is not CSV"),
        ('a,y\n1,u\n2,"v\n', "not CSV"),
        ("a,y\n1,u\nblue,v\n", "column 'a', line 3: got 'blue'.*numbers.*drop"),
        ('a,y\n1,"u\nu"\nblue,v\n', "column 'a', line 4: got 'blue'"),
        ("a,y\n1,u\n ,v\n", "column 'a', line 3: got a missing value"),
        ("a,y\nnan,u\n2,v\n", "column 'a', line 2: got 'nan', expected a finite number"),
        ("a,y\n-inf,u\n2,v\n", "column 'a', line 2: got '-inf'"),
        ("a,y\n1e400,u\n2,v\n", "column 'a', line 2: got '1e400'"),
        ("a,y\n1,\n2,v\n", "column 'y', line 2: got a missing value"),
        ("a,y\n1,u\n2,NaN\n", "column 'y', line 3: got a missing value"),
        ("a,b\n1,u\n", "column 'y': got no such column, expected one of 'a', 'b'"),
        ("a,Y\n1,u\n", r"Did you mean 'Y'\?"),
        ("a;y\n1;u\n", "semicolons"),
        ("y\nu\n", "no column beside 'y'"),
        ("a,a,y\n1,2,u\n", "the name 'a' 2 times"),
        (",a,y\n0,1,u\n", "without a name"),
        ("a,y\n1,é\n".encode("latin-1"), "not UTF-8"),
        ("a,y\n1,u\n".encode("utf-16"), "not UTF-8"),
        ("a,y\n1," + "u" * 200_000, "field larger"),
    ],
)
def test_wrong_csv_files_are_named(tmp_path: Path, text: str | bytes, says: str) -> None:
    path = put(tmp_path, text)
    with pytest.raises(DataError, match=says) as caught:
        read_table(path, "y")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,y\n" + "1,u\n" * 9, "single class 'u'"),
        ("a,y\n" + "1,-1\n2,1\n" * 9, "column 'y': got negative labels"),
        ("a,y\n" + "1,u\n" * 9 + "2,v\n", "class 'v': got 1 row"),
        ("a,y\n" + "1,0.5\n2,1\n" * 9, r'value 0.5.*set task = "regression"'),
        ("a,y\n" + "".join(f"1,{i}.0\n" for i in range(30)), r'set task = "regression"'),
    ],
)
def test_targets_that_are_no_labels_are_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        table(put(tmp_path, text), "y")


def test_columns_are_dropped_by_name(tmp_path: Path) -> None:
    path = put(tmp_path, ",id,age,y\n0,p1,3,u\n1,p2,4,v\n")
    raw = read_table(path, "y", drop=["", "id"])
    assert (raw.names, raw.x.tolist()) == (("age",), [[3.0], [4.0]])
    for drop, says in (
        (["idd"], "'idd'.*Did you mean 'id'.*drop"),
        ("id", r"Write \['id'\]"),
        (["y"], "the target itself"),
        (["", "id", "age"], "no column beside 'y'"),
    ):
        with pytest.raises(DataError, match=says):
            read_table(path, "y", drop=drop)


def test_blanks_and_empty_lines_do_not_count(tmp_path: Path) -> None:
    raw = read_table(put(tmp_path, 'a , "y"\n\n 1, "u, v"\n2 ,w \n\n'), "y")
    assert (raw.names, raw.x.tolist(), raw.y.tolist()) == (("a",), [[1.0], [2.0]], ["u, v", "w"])


def test_names_are_compared_without_case_when_guessing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Did you mean 'age'\?"):
        read_table(put(tmp_path, "age,y\n1,u\n"), "AGE")


def test_headers_of_numbers_are_headers_when_the_target_is_in_them(tmp_path: Path) -> None:
    raw = read_table(put(tmp_path, "0,1,2\n5,6,7\n"), "2")
    assert (raw.names, raw.x.tolist(), raw.y.tolist()) == (("0", "1"), [[5.0, 6.0]], ["7"])


def test_new_data_are_matched_by_name_or_counted(tmp_path: Path) -> None:
    named = put(tmp_path, "b,note,a\n2,hello,1\n")
    assert read_features(named, ["a", "b"]).tolist() == [[1.0, 2.0]]
    with pytest.raises(DataError, match=r"column 'aa': got no such column.*Did you mean 'a'.*model needs it"):
        read_features(named, ["aa", "b"])
    bare = put(tmp_path, "1,2\n3,4\n", "bare.csv")
    assert read_features(bare, ["a", "b"]).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    with pytest.raises(DataError, match="2 columns without names, expected 3"):
        read_features(bare, ["a", "b", "c"])
    with pytest.raises(DataError, match="line 1: got 'nan'"):
        read_features(put(tmp_path, "nan,2\n", "bare.csv"), ["a", "b"])
    with pytest.raises(DataError, match="only a header"):
        read_features(put(tmp_path, "a,b\n", "bare.csv"), ["a", "b"])


def test_files_that_are_not_there_or_of_no_known_kind_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.csv.*no such file"):
        read_table(tmp_path / "gone.csv", "y")
    with pytest.raises(DataError, match="a directory"):
        table(tmp_path, "y")
    for read in (lambda path: read_table(path, "y"), lambda path: read_features(path, ["a"])):
        with pytest.raises(DataError, match=r"ending '.xlsx', expected .csv, .npz or .parquet"):
            read(put(tmp_path, "a", "t.xlsx"))


X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
Y = np.array(["u", "v", "u"])


def npz(tmp_path: Path, **arrays: object) -> Path:
    path = tmp_path / "t.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("key", ["x", "X", "data"])
@pytest.mark.parametrize("target", [Y, Y[:, None]])
def test_npz_with_one_array_of_features(tmp_path: Path, key: str, target: np.ndarray) -> None:
    raw = read_table(npz(tmp_path, **{key: X, "label": target}), "label")
    assert (raw.names, raw.x.tolist(), raw.y.tolist()) == (("x_0", "x_1"), X.tolist(), Y.tolist())
    assert read_features(tmp_path / "t.npz", ["a", "b"]).tolist() == X.tolist()
    with pytest.raises(DataError, match="2 columns without names, expected 1"):
        read_features(tmp_path / "t.npz", ["a"])


def test_npz_with_columns(tmp_path: Path) -> None:
    objects = np.array([None, {}], dtype=object)
    path = npz(tmp_path, age=X[:, 0], height=X[:, 1].astype(int), y=Y, notes=objects, cube=np.zeros((1, 1, 1)))
    raw = read_table(path, "y", drop=["notes", "cube"])
    assert (raw.names, raw.x.tolist(), raw.y.tolist()) == (("age", "height"), X.tolist(), Y.tolist())
    assert read_features(path, ["height", "age"]).tolist() == X[:, ::-1].tolist()
    with pytest.raises(DataError, match=r"'agee'.*Did you mean 'age'"):
        read_features(path, ["agee", "height"])


def test_npz_with_all_columns_by_name_needs_no_array_beside_them(tmp_path: Path) -> None:
    path = npz(tmp_path, x=np.zeros((9, 4)), a=X[:, 0], b=X[:, 1])
    assert read_features(path, ["a", "b"]).tolist() == X.tolist()


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": X}, "column 'y': got no such column"),
        ({"y": Y}, "no column beside 'y'"),
        ({}, "no data"),
        ({"x": X[:0], "y": Y[:0]}, "no data"),
        ({"x": X, "y": Y[:2]}, "lengths 'x_0': 3"),
        ({"x": X, "data": X, "y": Y}, "2 arrays of features .x, data."),
        ({"x": X, "x_1": Y, "y": Y}, "'x_1' twice"),
        ({"z": X, "y": Y}, r"array 'z': got shape \(3, 2\)"),
        ({"x": X[None], "y": Y}, r"array 'x': got shape \(1, 3, 2\)"),
        ({"x": X, "y": np.float64(3)}, r"array 'y': got shape \(\)"),
        ({"x": X.astype(object), "y": Y}, "cannot be read.*[Oo]bject"),
        ({"x": X.astype(complex), "y": Y}, "column 'x_0': got values of type complex128"),
        ({"x": X * [1, np.nan], "y": Y}, "column 'x_1', row 0 .*got nan"),
        ({"a": Y, "y": Y}, "column 'a', row 0 .*got 'u'"),
        ({"x": X, "y": X[:, 0] * np.inf}, "column 'y': got the value inf"),
    ],
)
def test_wrong_npz_files_are_named(tmp_path: Path, arrays: dict, says: str) -> None:
    with pytest.raises(DataError, match=says):
        table(npz(tmp_path, **arrays), "y")


def test_npz_arrays_are_dropped_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'gone'.*no such array.*'x', 'y'.*drop"):
        read_table(npz(tmp_path, x=X, y=Y), "y", drop=["gone"])


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("npz") / "t.npz"
    np.savez_compressed(path, x=X, y=Y)
    return path


@given(st.data())
def test_damaged_archives_are_read_or_refused(archive: Path, data: st.DataObject) -> None:
    content = bytearray(archive.read_bytes())
    if data.draw(st.booleans()):
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
            content[place] = data.draw(st.integers(0, 255))
    else:
        content = content[: data.draw(st.integers(0, len(content)))]
    path = archive.with_name("damaged.npz")
    path.write_bytes(content)
    try:
        read_table(path, "y")
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017  # either outcome is right


def test_parquet_tables_come_back(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    frame = pd.DataFrame({"a": [1, 2, 3], "b": [True, False, True], "kind": ["u", "v", "u"]})
    frame.to_parquet(path)
    raw = read_table(path, "kind")
    assert (raw.names, raw.x.tolist(), raw.y.tolist()) == (
        ("a", "b"),
        [[1, 1], [2, 0], [3, 1]],
        ["u", "v", "u"],
    )
    assert read_features(path, ["b", "a"]).tolist() == [[1, 1], [0, 2], [1, 3]]
    frame.astype({"a": "Int64", "kind": "category"}).to_parquet(path)
    again = read_table(path, "kind")
    assert (again.x.tolist(), again.y.tolist()) == (raw.x.tolist(), raw.y.tolist())
    assert table_of(path, "a", n=9).classes == ("1", "2", "3")


def table_of(path: Path, target: str, n: int):
    """The table, each row ``n`` times, so that it can be split."""
    frame = pd.read_parquet(path).drop(columns="kind")
    pd.concat([frame] * n).to_parquet(path, index=False)
    return table(path, target)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"a": ["p", "q"], "y": [0, 1]}, "column 'a', row 0 .*got 'p'"),
        ({"a": [1.0, None], "y": [0, 1]}, "column 'a', row 1 .*got nan"),
        ({"a": pd.array([1, None], "Int64"), "y": [0, 1]}, "column 'a', row 1 .*got nan"),
        ({"a": pd.to_datetime(["2020", "2021"]), "y": [0, 1]}, "column 'a'.*datetime"),
        ({"a": [1, 2], "y": ["u", None]}, "column 'y', row 1 .*missing value"),
        ({"a": [1, 2], "y": pd.array([True, None], "boolean")}, "column 'y', row 1 .*missing value"),
        ({"a": [1, 2], "y": pd.array(["u", None], "string")}, "column 'y', row 1 .*missing value"),
        ({"a": pd.array([True, None], "boolean"), "y": [0, 1]}, "column 'a', row 1 .*missing value"),
        ({"a": [1, 2], "y": pd.array([1, None], "Int64")}, "column 'y', row 1 .*missing value"),
        ({"a": [], "y": []}, "no rows"),
        ({"a": [1, 2]}, "column 'y': got no such column"),
    ],
)
def test_wrong_parquet_tables_are_named(tmp_path: Path, columns: dict, says: str) -> None:
    pd.DataFrame(columns).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=says):
        read_table(tmp_path / "t.parquet", "y")


def test_parquet_files_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_table(put(tmp_path, b"PAR1nonsensePAR1", "t.parquet"), "y")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(DataError, match=r"no module 'pandas'.*pip install pandas pyarrow"):
        read_table(tmp_path / "t.parquet", "y")
