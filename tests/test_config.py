"""The configuration: presets, overrides, nearest keys, cross-field rules, and fuzzing of all of it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from node_oc.config import KEYS, PRESETS, Config
from node_oc.errors import ConfigError

TABLE = ["data.source=table", "data.path=my.csv", "data.target=y"]


def test_defaults_and_meanings() -> None:
    config = Config.load()
    assert (config.system.depth, config.problem.price, config.training.learning_rate) == (20, "auto", 3e-3)
    assert config == Config()
    assert all(info.description for info in KEYS.values())


def test_presets() -> None:
    spirals = Config.preset("spirals")
    assert (spirals.system.lift, spirals.system.head, spirals.training.batch) == ("pad", "coordinates", 0)
    assert Config.load("digits").system.depth == 16
    assert Config.preset("mnist", ["data.path=/data"]).system.activation == "relu"
    with pytest.raises(ConfigError, match=r"data\.path"):
        Config.preset("mnist")
    with pytest.raises(ConfigError, match="spirals or digits or mnist"):
        Config.preset("cifar")


def test_frozen_and_strict() -> None:
    with pytest.raises(ValidationError):
        Config().system.depth = 3
    with pytest.raises(ValidationError):
        Config.model_validate({"system": {"dept": 3}})


@pytest.mark.parametrize(
    ("entry", "field", "value"),
    [
        ("data.path=my.csv", "path", "my.csv"),
        ('data.path="my.csv"', "path", "my.csv"),
        ("data.path = a=b.csv", "path", "a=b.csv"),
        ("data.target=1", "target", "1"),
        ("data.target=2024-01-01", "target", "2024-01-01"),
        ("data.target=true", "target", "true"),
        ("data.target=", "target", None),
        ('data.drop=["a", "b c"]', "drop", ("a", "b c")),
        ("data.turns=2", "turns", 2.0),
        ("data.train=1_000", "train", 1000),
    ],
)
def test_override_values(entry: str, field: str, value: object) -> None:
    base = {"source": "table", "path": "x.csv", "target": "y"}
    if value is None:
        base["source"] = "idx"
    config = Config.load(None, {"data": base}).replace([entry])
    assert getattr(config.data, field) == value


def test_override_forms_agree_and_the_last_wins() -> None:
    wanted = Config.load(None, ["system.depth=5", "problem.price=0.5"])
    assert wanted == Config.load(None, {"system": {"depth": 5}, "problem.price": 0.5})
    assert wanted == Config.load("digits").replace(wanted.model_dump())
    assert Config.load(None, ["system.depth=5", "system.depth=6"]).system.depth == 6
    assert Config.load(None, "system.depth=5").system.depth == 5


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("system.dpeth", "system.depth"),
        ("sytem.depth", "system.depth"),
        ("training.depth", "system.depth"),
        ("depth", "system.depth"),
        ("Learning_Rate", "training.learning_rate"),
        ("seed", "data.seed or training.seed"),
        ("trainning.seed", "training.seed"),
        ("system.depth.x", "system.depth"),
        ("system", "system.width"),
        ("zzz", "sections data"),
    ],
)
def test_nearest_key(key: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.load(None, [f"{key}=1"])
    assert nearest in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("system.depth=0", ["system.depth", "got 0", "greater than or equal to 1", "residual steps"]),
        ("system.depth=10001", ["less than or equal to 10000"]),
        ("system.depth=abc", ["'abc'", "valid integer", "system.depth=20"]),
        ("system.depth=2.5", ["2.5", "valid integer"]),
        ("system.depth=true", ["True", "valid integer"]),
        ("system.depth=" + "0x" + "f" * 5000, ["20000 bits"]),
        ("system.activation=swish", ["'swish'", "'tanh', 'relu' or 'gelu'"]),
        ("problem.price=-1", ["-1", "0 or 'auto'"]),
        ("problem.eps=nan", ["nan", "finite"]),
        ("search.heal=yes", ["'yes'", "boolean", "search.heal=true"]),
        ("data.drop=id", ["'id'", "valid list"]),
        ("system.depth", ["section.key=value"]),
        ("data.path=\x00", ["data.path"]),
        ("data.path=\udcff", ["data.path"]),
    ],
)
def test_bad_values_teach(entry: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.load(None, [entry])
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("entries", "key"),
    [
        (["data.source=idx"], "data.path"),
        (["data.path=x.csv"], "data.path"),
        (TABLE[:2], "data.target"),
        (["data.task=regression"], "data.task"),
        ([*TABLE, "data.task=regression", "system.head=coordinates"], "system.head"),
        (["data.val_fraction=0.5", "data.test_fraction=0.5"], "data.val_fraction"),
    ],
)
def test_fields_must_agree(entries: list[str], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.load(None, entries)
    assert caught.value.what == key
    assert Config.load(None, [*TABLE, "data.task=regression"]).data.task == "regression"


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("\ufeff[system]\ndepth = 7\n", encoding="utf-8")
    assert Config.load(file, ["system.width=4"]).system.depth == 7
    for text, word in [
        ("[system]\ndepth = = 3", "line 2"),
        ("[sytem]", "system"),
        ("depth = 3", "system.depth"),
        ("system = 3", "inside of"),
        ("[system]\ndepth = 1979-05-27", "valid integer"),
    ]:
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=word):
            Config.load(str(file))
    file.write_bytes(b"\xff\xfe")
    for bad in [file, tmp_path, tmp_path / "none.toml", Path("spiral")]:
        with pytest.raises(ConfigError, match="spirals, digits, mnist"):
            Config.load(bad)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_toml_round_trip_and_digest(name: str, tmp_path: Path) -> None:
    odd = 'a "b" \\ \t\x7f\x01 é𝄞'
    image = {"system.image": [1, 2, 2]} if PRESETS[name]["system"].get("kind") == "conv" else {}
    changes = {"data.source": "table", "data.path": odd, "data.target": "y", "data.drop": [odd], **image}
    config = Config.load(name, changes)
    file = tmp_path / "run.toml"
    file.write_text(config.to_toml(), encoding="utf-8")
    again = Config.load(file)
    assert again == config
    assert again.digest() == config.digest()
    assert len(config.digest()) == 64
    assert config.digest() != config.replace(["training.seed=1"]).digest()


VALUES = st.one_of(
    st.text(max_size=12),
    st.integers().map(str),
    st.floats().map(repr),
    st.sampled_from(["true", "auto", "[]", "[1, 'a']", "{}", "1979-05-27", "'", "[" * 5000, "1\nb = 2", "table"]),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.one_of(st.sampled_from(sorted(KEYS)), st.text(max_size=15)), VALUES), max_size=3))
@example([("data.path", "\ud800")])
def test_any_override_builds_or_raises(pairs: list[tuple[str, str]]) -> None:
    try:
        config = Config.load(None, [f"{key}={value}" for key, value in pairs])
    except ConfigError:
        return
    assert config.replace(()) == config
    config.to_toml().encode()
    assert len(config.digest()) == 64


@settings(max_examples=100, deadline=None)
@example({"data.drop": range(10**12)})
@given(st.dictionaries(st.one_of(st.sampled_from(sorted(KEYS)), st.text()), st.from_type(object), max_size=3))
def test_any_mapping_builds_or_raises(overrides: dict[str, object]) -> None:
    with contextlib.suppress(ConfigError):
        Config.load(None, overrides)


def test_a_table_has_no_image_of_its_own() -> None:
    table = {"data.source": "table", "data.path": "x.csv", "data.target": "y", "system.kind": "conv"}
    with pytest.raises(ConfigError, match=r"system\.image: got none"):
        Config.load(overrides=table)
    assert Config.load(overrides={**table, "system.image": [1, 2, 2]}).system.image == (1, 2, 2)
