# SPDX-License-Identifier: GPL-3.0-or-later
"""Registry entries as files to hand on: JSON, YAML, and CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from kubestead.exit_codes import ExitCode
from kubestead.model.atomic import write_atomically
from kubestead.model.mac import normalise_mac
from kubestead.model.machine import KEYS
from kubestead.model.registry import Problem, Registry, RegistryError
from kubestead.model.registry_checks import SCHEMA_KEY
from kubestead.model.registry_file import is_yaml, read_text, render

from .errors import CliError

STANDARD = "-"
"""The name that stands for standard input or output."""
_FIRST = "mac"
_LISTS = ("features",)
_PAIRS = ("labels",)
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class Format(StrEnum):
    """How entries are written."""

    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


def format_of(name: str, wanted: Format | None) -> Format:
    """The format of a file: the one wanted, else what its name says."""
    if wanted is not None:
        return wanted
    if name.lower().endswith(".csv"):
        return Format.CSV
    return Format.YAML if is_yaml(name) else Format.JSON


def read(name: str, wanted: Format | None = None) -> Registry:
    """Read entries from a file, or from standard input; RegistryError with all problems."""
    if name == STANDARD:
        return parse(sys.stdin.read(), format_of(name, wanted), "standard input")
    if not Path(name).exists():
        raise CliError(f"there is no file {name}", code=ExitCode.LACKING)
    return parse(read_text(name), format_of(name, wanted), name)


def parse(text: str, kind: Format, source: str) -> Registry:
    """Read entries from text; `source` is what messages call it."""
    if kind is Format.CSV:
        return Registry(_from_csv(text, source), source)
    if is_yaml(source) is (kind is Format.YAML):
        return Registry.parse(text, source)
    return Registry.parse(text, f"{source} as .{kind}")


def write(registry: Registry, kind: Format) -> str:
    """The text of a file with all entries of a registry."""
    if kind is Format.CSV:
        return _to_csv(registry.content())
    return render(registry.content(), f"registry.{kind}")


def _to_csv(content: Mapping[str, Any]) -> str:
    entries = {key: entry for key, entry in content.items() if key != SCHEMA_KEY}
    used = {key: None for entry in entries.values() for key in entry}
    columns = [_FIRST, *(key for key in KEYS if key in used), *(key for key in used if key not in KEYS)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for mac, entry in entries.items():
        writer.writerow([mac, *(_cell(key, entry[key]) if key in entry else "" for key in columns[1:])])
    return text.getvalue()


def _cell(key: str, value: Any) -> str:
    if value is None and key in KEYS:
        return ""
    if key in _LISTS and isinstance(value, list):
        return " ".join(map(str, value))
    if key in _PAIRS and _are_words(value):
        return " ".join(f"{name}={item}" for name, item in value.items())
    if isinstance(value, str) and (key in KEYS or not _means_json(value)):
        return value
    return json.dumps(value, ensure_ascii=False)


def _are_words(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(item, str) and " " not in item for item in value.values()
    )


def _means_json(text: str) -> bool:
    """Whether a cell would be read as something else than this text."""
    try:
        json.loads(text)
    except ValueError:
        return not text.strip()
    return True


def _from_csv(text: str, source: str) -> dict[str, Any]:
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    problems: list[Problem] = []
    content: dict[str, Any] = {}
    written: dict[str, str] = {}
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise RegistryError(
            [Problem(source, None, None, None, "comma-separated values", f"line {reader.line_num}: {error}")]
        ) from None
    columns = [name.strip() for name in rows[0][1]] if rows else []
    if _FIRST not in columns or len(set(columns)) != len(columns):
        raise RegistryError(
            [
                Problem(
                    source,
                    None,
                    "the first line",
                    ",".join(columns),
                    "the names of the columns, each once: mac,hostname,role,architecture,features,…",
                )
            ]
        )
    for line, row in rows[1:]:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(columns):
            found = f"line {line} has {len(row)} cells"
            problems.append(
                Problem(source, None, None, None, f"{len(columns)}, as the first line has", found)
            )
            continue
        cells = dict(zip(columns, (cell.strip() for cell in row), strict=True))
        mac = cells.pop(_FIRST)
        try:
            key = normalise_mac(mac)
        except ValueError:
            key = mac  # the registry's own check says what is wrong with it
        if key in written:
            problems.append(
                Problem(source, mac, None, mac, "each machine once", f"is there twice (line {line})")
            )
        written[key] = mac
        content[mac] = {name: _value(name, cell) for name, cell in cells.items() if cell}
    if problems:
        raise RegistryError(problems)
    return content


def _value(key: str, cell: str) -> Any:
    if key in _LISTS:
        return cell.replace(",", " ").replace(";", " ").split()
    if key in _PAIRS and not cell.startswith("{"):
        return dict(word.partition("=")[::2] for word in cell.split())
    if key == "locked":
        return _TRUTH.get(cell.lower(), cell)
    if key not in KEYS or cell[0] in "{[":
        try:
            return json.loads(cell)
        except ValueError:
            return cell
    return cell


def save(path: Path, text: str, force: bool) -> None:
    """Write a file in one step; one that is there is replaced only by force."""
    if path.exists() and not force:
        raise CliError(f"{path} is there already", "Choose another name, or add --force.")
    write_atomically(path, text)
