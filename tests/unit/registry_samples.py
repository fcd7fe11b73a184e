# SPDX-License-Identifier: GPL-3.0-or-later
"""Registries, good and bad, for hypothesis to draw from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy


def _anchored(value: Any) -> Any:
    """In JSON Schema `$` is the very end, in Python's `re` also before a last line break: that is `\\Z`."""
    if isinstance(value, dict):
        return {
            _end(key): _end(inner) if key == "pattern" else _anchored(inner) for key, inner in value.items()
        }
    return [_anchored(inner) for inner in value] if isinstance(value, list) else value


def _end(pattern: str) -> str:
    return (
        pattern.replace("$", r"\Z")
        if pattern not in ("$schema", "$id", "$comment", "$defs", "$ref")
        else pattern
    )


SCHEMA = _anchored(
    json.loads((Path(__file__).parents[2] / "registry.schema.json").read_text(encoding="utf-8"))
)
MACHINE = SCHEMA["$defs"]["machine"]

# What no JSON file in UTF-8 can hold is left out here: halves of surrogate pairs, NaN.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
VALUES: SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def of_schema(schema: dict[str, Any]) -> SearchStrategy[Any]:
    """Values that a part of our schema takes; it knows the words that are used there."""
    if "anyOf" in schema:
        common = {key: value for key, value in schema.items() if key != "anyOf"}
        return st.one_of([of_schema({**common, **part}) for part in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema["type"]
    if kind == "object":
        return _objects(schema)
    if kind == "string":
        pattern = schema.get("pattern")
        return st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True) if pattern else TEXT
    return {
        "array": lambda: st.lists(of_schema(schema.get("items", {"type": "null"})), max_size=4),
        "integer": lambda: st.integers(schema["minimum"], schema["maximum"]),
        "boolean": st.booleans,
        "null": st.none,
    }[kind]()


def _objects(schema: dict[str, Any]) -> SearchStrategy[dict[str, Any]]:
    known = {key: of_schema(value) for key, value in schema.get("properties", {}).items()}
    needed = set(schema.get("required", []))
    own: SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {key: value for key, value in known.items() if key in needed},
        optional={key: value for key, value in known.items() if key not in needed},
    )
    others = schema.get("additionalProperties")
    if others is False:
        return own
    names = schema.get("propertyNames", {})
    keys = of_schema({"type": "string", **names}) if "pattern" in names else TEXT
    unknown = keys.filter(lambda key: key not in known)
    more = st.dictionaries(unknown, of_schema(others) if others else VALUES, max_size=2)
    return st.builds(lambda extra, described: {**extra, **described}, more, own)


#: Entries that the schema takes (but for rules such as `if`, which it has to be asked about).
GOOD_ENTRIES = _objects(MACHINE)
GOOD_MACS = st.from_regex(next(iter(SCHEMA["patternProperties"])), fullmatch=True)


@st.composite
def near(draw: st.DrawFn, values: SearchStrategy[Any]) -> Any:
    """A value of the right kind with one thing about it changed."""
    value = draw(values)
    if isinstance(value, str):
        place = draw(st.integers(0, len(value)))
        cut = draw(st.integers(0, 2))
        return value[:place] + draw(TEXT) + value[place + cut :]
    if isinstance(value, dict) and value:
        key = draw(st.sampled_from(sorted(value)))
        change = draw(st.sampled_from(["drop", "rename", "replace"]))
        rest = {name: inner for name, inner in value.items() if name != key}
        if change == "replace":
            return {**value, key: draw(near(st.just(value[key])) | VALUES)}
        return rest if change == "drop" else {**rest, draw(near(st.just(key))): value[key]}
    if isinstance(value, list) and value:
        return [*value[:-1], draw(near(st.just(value[-1])))]
    if isinstance(value, int):
        return value + draw(st.sampled_from([-(10**9), -101, -1, 0.5, 1, 10**9]))
    return draw(VALUES)


KEYS = sorted(MACHINE["properties"])


@st.composite
def entries(draw: st.DrawFn) -> Any:
    """Entries most of which are nearly right."""
    entry = {"hostname": "lab-1", "role": "worker", "architecture": "amd64"}
    for key in draw(st.lists(st.sampled_from(KEYS), max_size=3, unique=True)):
        own = of_schema(MACHINE["properties"][key])
        entry[key] = draw(own | near(own) | VALUES)
    if draw(st.booleans()):
        return entry
    return draw(near(st.just(entry)))
