# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every registry, whatever is in it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kubestead.model.mac import is_mac, normalise_mac
from kubestead.model.registry import Problem, Registry, RegistryError
from tests.unit.registry_samples import GOOD_ENTRIES, GOOD_MACS, SCHEMA, TEXT, VALUES, entries, near

MAC = "52:54:00:77:00:11"
OTHER = "52:54:00:77:00:12"
PLAIN = {"hostname": "lab-1", "role": "worker", "architecture": "amd64"}
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
# The same examples in every run: a test that fails for one person fails for all. Time is not what is tested.
thorough = settings(max_examples=40, deadline=None, derandomize=True, database=None)
quick = settings(thorough, max_examples=15)
DEEP = "[" * 40 + "]" * 40


def taken(content: Any) -> bool:
    """Whether the code takes a registry."""
    try:
        Registry(content)
    except RegistryError:
        return False
    return True


def said(text: str, source: str) -> list[str]:
    """All sentences about a registry, whether it is taken or not; no other error leaves the parser."""
    try:
        return list(Registry.parse(text, source).warnings)
    except RegistryError as error:
        problems = error.problems
    assert problems
    for problem in problems:
        assert problem.file == source
        assert problem.expectation
    return [str(problem) for problem in problems]


@thorough
@given(st.binary(min_size=6, max_size=6))
def test_every_notation_of_a_mac_has_one_normal_form(octets: bytes) -> None:
    plain = octets.hex()
    colons = ":".join(plain[i : i + 2] for i in range(0, 12, 2))
    dashes, dots = colons.replace(":", "-"), ".".join(plain[i : i + 4] for i in range(0, 12, 4))
    for notation in (plain, colons, dashes, dots, f"01-{dashes}"):
        for text in (notation, notation.upper(), f" {notation}\n"):
            assert normalise_mac(text) == colons
            assert is_mac(text)


@thorough
@given(st.text() | near(GOOD_MACS))
def test_any_text_is_a_mac_or_a_value_error(text: str) -> None:
    if is_mac(text):
        mac = normalise_mac(text)
        assert normalise_mac(mac) == mac
    else:
        with pytest.raises(ValueError, match="six pairs of hexadecimal digits"):
            normalise_mac(text)


JSON_TEXTS = (
    st.text() | VALUES.map(json.dumps) | st.dictionaries(GOOD_MACS | TEXT, entries() | VALUES).map(json.dumps)
)


@thorough
@given(JSON_TEXTS, st.sampled_from(["r.json", "r.yml"]))
@example('{"a": 1e999}', "r.json")
@example('{"a": 1e999}', "r.yml")
@example('{"\\ud800": {"\\udc00": "\\ud800"}}', "r.json")
@example(json.dumps({MAC: {**PLAIN, "specs": {"\ud800": 1}}}), "r.json")
@example(f'{{"{MAC}": {{"hostname": {DEEP}, "hostname": {DEEP}}}}}', "r.json")
@example(f'{{"{MAC}": {DEEP}}}', "r.json")
@example('{"a":' * 900 + "1" + "}" * 900, "r.json")
@example('{"a": 1, "a":' * 400 + "1" + "}" * 400, "r.json")
@example("[" * 100_000, "r.json")
@example("- " * 3000, "r.yml")
@example("&a [*a]", "r.yml")
@example("a: &a\n  b: *a", "r.yml")
@example("<<: 1", "r.yml")
@example("a: !!binary x", "r.yml")
@example("a: !!set {x}", "r.yml")
@example("a: !!int x", "r.yml")
@example("!!str", "r.yml")
@example("\x00", "r.yml")
@example("9" * 5000, "r.json")
@example("a: " + "9" * 5000, "r.yml")
def test_any_text_is_a_registry_or_a_registry_error(text: str, source: str) -> None:
    for sentence in said(text, source):
        assert sentence.isprintable()
        sentence.encode("utf-8")


@quick
@given(st.binary())
@example(b"\xff\xfe{}")
@example(b"\xef\xbb\xbf{}")
def test_any_file_is_a_registry_or_a_registry_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "registry.json")
        path.write_bytes(content)
        problems: tuple[Problem, ...] = ()
        try:
            Registry.load(path)
        except RegistryError as error:
            problems = error.problems
        assert all(problem.file == str(path) for problem in problems)


@thorough
@given(entries())
def test_the_schema_and_the_code_take_the_same_machines(entry: Any) -> None:
    content = {MAC: entry}
    assert VALIDATOR.is_valid(content) == taken(content), json.dumps(entry)


@thorough
@given(GOOD_MACS, GOOD_ENTRIES)
def test_the_code_takes_what_the_schema_takes(mac: str, entry: Any) -> None:
    content = {mac: entry, "$schema": "x"}
    assert VALIDATOR.is_valid(content) == taken(content), json.dumps(content)


@thorough
@given(GOOD_MACS | near(GOOD_MACS) | TEXT)
@example("00:00:00:00:00:00")
@example("01-ff-FF-ff-ff-ff-ff")
@example("01-00-00-00-00-00")
@example(f"{MAC}\n")
def test_the_schema_and_the_code_take_the_same_macs(mac: str) -> None:
    assert VALIDATOR.is_valid({mac: PLAIN}) == taken({mac: PLAIN})


@pytest.mark.parametrize(
    "change",
    [
        {"hostname": "\u212aelvin"},
        {"hostname": "a\n"},
        {"ip": "ff::1"},
        {"ip": "::0:0"},
        {"ip": "1::2::3"},
        {"ip": "1:2:3:4:5:6:7::"},
        {"ip": "::ffff:1.2.3.4"},
        {"ip": "::ffff:102:304"},
        {"ip": "0:0:0:0:0:ffff:1::"},
        {"ip": "0:ffff::"},
        {"labels": {f"{'a.' * 126}a/b": "c"}},
        {"labels": {f"{'a.' * 127}a/b": "c"}},
        {"taints": [f"{'a.' * 127}a/b:NoExecute"]},
        {"taints": [{"key": f"{'a.' * 127}a/b", "effect": "NoExecute"}]},
        {"proxmox": {"vmid": 101.0, "cores": 0.5}},
        {"proxmox": {"vmid": 101.0}},
        {"proxmox": {"node": "\u212a"}},
        {"bmc": {"type": "wol", "pa\u017f\u017fword": "x"}},
        {"bmc": {"type": "wol", "password\n": "x"}},
    ],
    ids=repr,
)
def test_where_the_schema_and_the_code_might_part(change: dict[str, Any]) -> None:
    content = {MAC: {**PLAIN, **change}}
    assert VALIDATOR.is_valid(content) == taken(content)


def test_the_name_of_the_schema_is_text_for_both() -> None:
    values: list[Any] = [1, None, {}]
    for value in values:
        assert not VALIDATOR.is_valid({"$schema": value})
        with pytest.raises(RegistryError, match=r"registry.json: \$schema is .*expected where the schema is"):
            Registry({"$schema": value})


@st.composite
def registries(draw: st.DrawFn) -> dict[str, Any]:
    """Registries that are taken, of up to three machines, with keys of all kinds."""
    macs = draw(st.lists(GOOD_MACS, max_size=3, unique_by=normalise_mac))
    content = {}
    for number, mac in enumerate(macs):
        entry = draw(GOOD_ENTRIES)
        more = draw(st.dictionaries(TEXT.map("x-{}".format), VALUES, max_size=3))
        own = {"hostname": f"node-{number}", "ip": f"10.0.0.{number}", "cluster": f"c-{number}"}
        content[mac] = {**{key: value for key, value in more.items() if key not in entry}, **entry, **own}
    if not taken(content):  # `if` in the schema: a controller without an address
        for entry in content.values():
            entry["bmc"] = None
    return content


@thorough
@given(registries(), st.sampled_from(["registry.json", "registry.yml"]))
@example(
    {MAC: {**PLAIN, "specs": {"a": "1e5", "b": "09", "1e5": 1e16, "c": "<<", "d": "=", "on": "on"}}}, "r.yml"
)
@example({MAC: {**PLAIN, "x-\x85": "\u2028 ", "x-": ["\u2029", "\ufeff"]}}, "r.yml")
@example({MAC: {**PLAIN, "specs": {"x": "\x85\u2028\ufeff\r\n \t", "y": " a\n\n b ", "z": ""}}}, "r.yml")
@example({MAC: {**PLAIN, "x-\x85": "\u2028 ", "x-": ["\u2029", "\ufeff"]}}, "r.yml")
@example({MAC: {**PLAIN, "specs": {"x": "\x85\u2028\ufeff\r\n \t\x7f\x00"}}}, "r.json")
def test_what_is_saved_is_loaded_again(content: dict[str, Any], name: str) -> None:
    registry = Registry(content)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        registry.save(path)
        first = path.read_bytes()
        loaded = Registry.load(path)
        assert json.dumps(loaded.content()) == json.dumps(content), "with its order"
        assert dict(loaded.machines) == dict(registry.machines)
        loaded.save(path)
        assert path.read_bytes() == first


@quick
@given(registries())
def test_a_machine_added_and_removed_leaves_no_trace(content: dict[str, Any]) -> None:
    registry = Registry(content)
    try:
        added = registry.with_machine(MAC, {**PLAIN, "hostname": "new"})
    except RegistryError:  # by chance it was there, or has its name
        return
    if registry.find(MAC) is None:
        assert added.without_machine("01-52-54-00-77-00-11").content() == registry.content()


@quick
@given(VALUES | entries())
def test_a_wrong_value_is_named_with_file_machine_and_key(value: Any) -> None:
    with pytest.raises(RegistryError) as caught:
        Registry({MAC: {**PLAIN, "role": value, "features": [value]}, OTHER: PLAIN}, "machines.json")
    found = {(problem.file, problem.mac, problem.key) for problem in caught.value.problems}
    assert ("machines.json", OTHER, "hostname") in found
    assert {("machines.json", MAC, "role"), ("machines.json", MAC, "features")} & found
