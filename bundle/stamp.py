# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""What is remembered of a finished part: from what it was made, and what came out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bundle import compile as compiling
from bundle import places, recipe
from bundle.oci import Layer
from bundle.recipe import Part

# Raised when the way in which parts are put together changes, so that they are made anew.
FORM = 1


@dataclass(frozen=True)
class Output:
    """A file of a finished part, under its path in the bundle."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Stamp:
    """A finished part."""

    name: str
    version: str
    inputs: str
    sources: list[dict[str, str]]
    toolchain: str = ""
    seconds: int = 0
    layers: dict[str, Layer] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As the manifest has it."""
        return asdict(self)


def load(data: dict[str, Any]) -> Stamp:
    """A stamp from the manifest or from a file."""
    layers = {name: Layer(**layer) for name, layer in data["layers"].items()}
    outputs = [Output(**output) for output in data["outputs"]]
    return Stamp(**{**data, "layers": layers, "outputs": outputs})


def inputs(part: Part, minor: str, go: str) -> str:
    """A digest of all that a part is made from, how it is packed included."""
    said: list[Any] = [FORM, asdict(part), go if part.program else ""]
    if part.program is None:
        said += [recipe.DEBIAN_BASE, recipe.DEBIAN_TOOLS, recipe.DEBIAN_SHELL]
    else:
        said.append(compiling.inputs(part.program, minor, go))
    for entry in said:
        if isinstance(entry, dict):
            entry.pop("seconds", None)
            program = entry.get("program") or {}
            program.pop("seconds", None)
            if not program.get("tests"):
                program.pop("tests", None)
            for described in (entry, *entry["packages"]):
                # They came later: a part without them is what it was before.
                for key in ("archives", "relations", "homepage", "furniture"):
                    if not described.get(key):
                        described.pop(key, None)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def output(root: Path, path: str) -> Output:
    """Describe a file that lies at ``root / path``."""
    with (root / path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Output(path, digest, (root / path).stat().st_size)


def known(folder: Path, minor: str) -> dict[str, Stamp]:
    """The parts of a minor that are finished: those of the manifest, then newer ones of a build under way."""
    found: dict[str, Stamp] = {}
    for path, pick in ((folder / places.MANIFEST, True), *_stamp_files(folder, minor)):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            stamps = data["minors"].get(minor, {"parts": []})["parts"] if pick else [data]
            found |= {entry["name"]: load(entry) for entry in stamps}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # unreadable is the same as not there: the part is built again
    return found


def _stamp_files(folder: Path, minor: str) -> Iterable[tuple[Path, bool]]:
    return [(path, False) for path in sorted((folder / places.BUILDING / minor).glob("*/stamp.json"))]
