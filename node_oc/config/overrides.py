"""Where values come from: presets, TOML files, and `section.key=value` on top."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, get_args

from node_oc.config.presets import PRESETS
from node_oc.config.sections import KEYS, SECTIONS, Overrides, Text
from node_oc.errors import ConfigError


def read_base(base: str | Path | None) -> Mapping[str, Any]:
    """The nested mapping of a preset or a TOML file."""
    if base is None:
        return {}
    if isinstance(base, str) and base in PRESETS:
        return PRESETS[base]
    known = f"a readable TOML file or one of the presets {', '.join(PRESETS)}"
    try:
        text = Path(base).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        what = f"configuration {str(base)!r}"
        raise ConfigError(what, got=why, expected=known, do="Check the path or name a preset.") from error
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{base}", got=error, expected="valid TOML", do="Correct that line.") from error


def pairs_of(overrides: Overrides) -> Iterator[tuple[str, Any]]:
    """("section.key", value) of either form of overrides, keys not yet checked."""
    if isinstance(overrides, Mapping):
        for name, value in overrides.items():
            # An empty unknown section falls through as a key, so that it is refused as one.
            if isinstance(value, Mapping) and (value or name in SECTIONS) and name not in KEYS:
                yield from ((f"{name}.{key}", item) for key, item in value.items())
            else:
                yield str(name), value
        return
    for entry in [overrides] if isinstance(overrides, str) else overrides:
        key, equals, value = (part.strip() for part in entry.partition("="))
        if not equals:
            raise ConfigError("override", got=repr(entry), expected="section.key=value", do="Add =value.")
        yield key, _parse(key, value)


def _parse(key: str, text: str) -> Any:
    """The value of `key=text`: TOML where it is TOML and the field wants it so, else the bare string."""
    annotation = KEYS[key].annotation if key in KEYS else None
    if text == "" and type(None) in get_args(annotation):
        return None
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    # More keys than ours means a line break in the text; a number in a text field is a name like "1".
    named = annotation == (Text | None) and not isinstance(table["value"], str)
    plain = named or table.keys() != {"value"}
    return text if plain else table["value"]


def nearest_key(bad: str) -> tuple[str, str]:
    """(expected, do) for a key that does not exist: whole names and bare key names both count."""
    if bad in SECTIONS:
        keys = ", ".join(key for key in KEYS if key.startswith(f"{bad}."))
        return f"a key inside of [{bad}]", f"Choose one of {keys}."

    def near(known: str) -> float:
        whole = SequenceMatcher(None, bad.lower(), known).ratio()
        return max(whole, SequenceMatcher(None, bad.lower().split(".")[-1], known.split(".")[-1]).ratio())

    scores = {known: near(known) for known in (*KEYS, *SECTIONS)}
    best = max(scores.values())
    if best < 0.6:
        return "a known key", f"Choose a key from the sections {', '.join(SECTIONS)}."
    names = " or ".join(known for known, score in scores.items() if score == best)
    return names, f"Did you mean {names}?"


def toml_value(value: object) -> str:
    """A TOML value: JSON scalars are TOML too, save for DEL, which TOML wants escaped."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml_value(key)} = {toml_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
