# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The registry as a file: JSON or YAML read without losing repeated keys, and rendered."""

from __future__ import annotations

import importlib
import json
import re
import typing as t
from dataclasses import dataclass, field

from .problems import Problem, RegistryError
from .registry_values import fits, unfit

YAML_SUFFIXES = (".yml", ".yaml")
# What is no text in YAML without quotes: as YAML 1.2 has it, where 1.1 takes a MAC for a number in base 60.
_PLAIN_SCALARS: t.Tuple[t.Tuple[str, str, t.Sequence[str]], ...] = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
)
_LINE_BREAKS = re.compile("[\x85\u2028\u2029]")
_EXPECTED_TOP = 'an object of machines by MAC, such as {"52:54:00:77:00:11": {"hostname": …}}'

Pairs = t.List[t.Tuple[str, t.Any]]


class _Repeated(t.Dict[str, t.Any]):
    """A mapping of which the file wrote a key more than once; the last one counts, `pairs` has them all."""

    pairs: Pairs


@dataclass
class Document:
    """What a file holds: its keys in order, and for each key that stands there twice its path."""

    pairs: Pairs
    repeated: t.List[t.Tuple[str, ...]] = field(default_factory=list)


def is_yaml(path: str) -> bool:
    """Tell by the name whether a file is YAML."""
    return path.lower().endswith(YAML_SUFFIXES)


def read_text(path: str, source: str = "") -> str:
    """Read a file as text; a failure is a RegistryError that says what to do and calls the file `source`."""

    def refuse(found: str, expectation: str) -> RegistryError:
        return RegistryError([Problem(source or path, None, None, None, expectation, found)])

    try:
        with open(path, encoding="utf-8-sig") as stream:
            return stream.read()
    except FileNotFoundError:
        raise refuse("is not there", "a machine registry (JSON or YAML)") from None
    except UnicodeDecodeError as error:
        raise refuse(f"is not UTF-8 at byte {error.start}", "a text file in UTF-8") from None
    except OSError as error:
        raise refuse(f"cannot be read ({error.strerror})", "a file that this user may read") from None


def parse(text: str, source: str) -> Document:
    """Turn the text of a registry into a document; `source` is its file name, for messages and its kind."""
    loaded, any_repeated = (_parse_yaml if is_yaml(source) else _parse_json)(text, source)
    if not isinstance(loaded, dict):
        raise RegistryError([Problem(source, None, None, loaded, _EXPECTED_TOP)])
    document = Document(pairs=loaded.pairs if isinstance(loaded, _Repeated) else list(loaded.items()))
    refuse_unfit(document, source)
    if any_repeated:
        found: t.Dict[t.Tuple[str, ...], None] = {}
        for key, value in document.pairs:
            _find_repeated(value, (key,), found)
        document.repeated = list(found)
    return document


def refuse_unfit(document: Document, source: str) -> None:
    """Raise RegistryError where a file could not hold what is in a document; all other checks rely on it."""
    problems = []
    for mac, value in document.pairs:
        if fits(value) and fits(mac):
            continue
        key, expectation = unfit(value) or ("", "text in Unicode")
        problems.append(Problem(source, mac, key, None, expectation, "cannot be kept"))
    if problems:
        raise RegistryError(problems)


def _mapping(pairs: Pairs) -> t.Dict[str, t.Any]:
    mapping = dict(pairs)
    if len(mapping) == len(pairs):
        return mapping
    repeated = _Repeated(mapping)
    repeated.pairs = pairs
    return repeated


def _find_repeated(value: t.Any, path: t.Tuple[str, ...], found: t.Dict[t.Tuple[str, ...], None]) -> None:
    if isinstance(value, _Repeated):
        seen: t.Set[str] = set()
        for pair in value.pairs:
            key = pair[0]
            if key in seen:
                found[(*path, key)] = None
            seen.add(key)
    if isinstance(value, dict):
        for key, inner in value.items():
            _find_repeated(inner, (*path, key), found)
    elif isinstance(value, list):
        for inner in value:
            _find_repeated(inner, path, found)


def _parse_json(text: str, source: str) -> t.Tuple[t.Any, bool]:
    any_repeated = False

    def mapping(pairs: Pairs) -> t.Dict[str, t.Any]:
        nonlocal any_repeated
        result = _mapping(pairs)
        any_repeated = any_repeated or isinstance(result, _Repeated)
        return result

    def constant(name: str) -> t.NoReturn:
        raise ValueError(f"{name} is no JSON value")

    try:
        return json.loads(text, object_pairs_hook=mapping, parse_constant=constant), any_repeated
    except json.JSONDecodeError as error:
        found = f"is no JSON at line {error.lineno}, column {error.colno}: {error.msg}"
    except (ValueError, RecursionError) as error:
        found = f"is no JSON: {error}"
    raise RegistryError([Problem(source, None, None, None, _EXPECTED_TOP, found)])


def _pyyaml() -> t.Any:
    """PyYAML, looked for only where it is needed: JSON, the usual form, works without."""
    return importlib.import_module("yaml")


def _parse_yaml(text: str, source: str) -> t.Tuple[t.Any, bool]:
    try:
        yaml = _pyyaml()
    except ImportError:
        raise RegistryError(
            [
                Problem(
                    source,
                    None,
                    None,
                    None,
                    "PyYAML (Debian: python3-yaml), or the registry as JSON",
                    "is YAML, and this Python has no PyYAML",
                )
            ]
        ) from None

    any_repeated = False
    base: t.Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    # Scalars as in YAML 1.2: for YAML 1.1, 52:54:00:12:34:56 is a number in base 60, and `no` is false.
    loader_class: t.Any = type("Loader", (base,), {"yaml_implicit_resolvers": {}})

    def mapping(loader: t.Any, node: t.Any) -> t.Dict[str, t.Any]:
        nonlocal any_repeated
        own = [str(pair[0].value) for pair in node.value if pair[0].tag != "tag:yaml.org,2002:merge"]
        loader.flatten_mapping(node)
        pairs: Pairs = []
        for key, value in node.value:
            if not isinstance(key.value, str):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be plain text", key.start_mark
                )
            pairs.append((key.value, loader.construct_object(value, deep=True)))
        if len(set(own)) == len(own):
            return dict(pairs)  # keys taken over from `<<` may be overridden
        any_repeated = True
        return _mapping(pairs)

    _add_resolvers(loader_class)
    loader_class.add_constructor("tag:yaml.org,2002:map", mapping)
    loader_class.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))
    loader_class.add_constructor("tag:yaml.org,2002:float", lambda loader, node: float(node.value))

    try:
        return yaml.load(text, Loader=loader_class), any_repeated
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        found = f"is no YAML{place}: {error.problem}"
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        found = f"is no YAML: {error}"
    raise RegistryError([Problem(source, None, None, None, _EXPECTED_TOP, found)])


def _add_resolvers(loader_or_dumper: t.Any) -> None:
    for tag, pattern, first in _PLAIN_SCALARS:
        loader_or_dumper.add_implicit_resolver(
            f"tag:yaml.org,2002:{tag}", re.compile(f"(?:{pattern})\\Z"), list(first)
        )


def render(content: t.Mapping[str, t.Any], path: str) -> str:
    """The text of a registry file: a key a line, lists and small objects on one line."""
    if is_yaml(path):
        return _render_yaml(dict(content))
    entries = []
    for key, value in content.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, dict) and value:
            lines = (f"    {_json(name)}: {_json(inner)}" for name, inner in value.items())
            text = "{\n" + ",\n".join(lines) + "\n  }"
        entries.append(f"  {_json(key)}: {text}")
    return "{\n" + ",\n".join(entries) + "\n}\n" if entries else "{}\n"


def _render_yaml(content: t.Dict[str, t.Any]) -> str:
    yaml = _pyyaml()
    dumper: t.Any = type("Dumper", (yaml.SafeDumper,), {"ignore_aliases": lambda *_: True})

    def text(to: t.Any, value: str) -> t.Any:
        style = '"' if _LINE_BREAKS.search(value) else None  # PyYAML loses these in other quotes
        return to.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    dumper.add_representer(str, text)
    # Quoted is what YAML 1.1, as other programs read it, or we would not take for text.
    _add_resolvers(dumper)
    options = {"sort_keys": False, "allow_unicode": True, "default_flow_style": None, "width": 110}
    return str(yaml.dump(content, Dumper=dumper, **options))


def _json(value: t.Any) -> str:
    return json.dumps(value, ensure_ascii=False)
