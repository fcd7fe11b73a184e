# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""Reads the small ``go.mod`` and ``go.sum`` files that pin what is built."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from pathlib import Path

from bundle.errors import WrongInputError

_DIRECTIVE = re.compile(r"^(tool|require|replace)\s+(.*)$")


@dataclass(frozen=True)
class Pinned:
    """A module that programs are built from: path, version, the sum that the checksum database agreed to."""

    path: str
    version: str
    sum: str


@dataclass(frozen=True)
class GoModule:
    """One of our small modules: the packages to build and the modules that they come from."""

    folder: Path
    tools: tuple[str, ...]
    requires: dict[str, str]
    sums: dict[str, str]

    @property
    def sources(self) -> list[Pinned]:
        """The modules that hold the tools themselves."""
        found = {}
        for tool in self.tools:
            holders = [m for m in self.requires if tool == m or tool.startswith(m + "/")]
            if not holders:
                raise WrongInputError(f"{self.folder / 'go.mod'}: no module is required that holds {tool}")
            path = max(holders, key=len)
            found[path] = Pinned(
                path, self.requires[path], self.sums.get(f"{path} {self.requires[path]}", "")
            )
        return list(found.values())


def read(folder: Path) -> GoModule:
    """Read a folder's ``go.mod`` (and ``tools.go``, for Go before 1.24) and ``go.sum``."""
    tools: list[str] = []
    requires: dict[str, str] = {}
    block = ""
    for raw in (folder / "go.mod").read_text(encoding="utf-8").splitlines():
        line = raw.split("//")[0].strip()
        if block and line == ")":
            block = ""
        elif block:
            _take(block, line, tools, requires)
        elif match := _DIRECTIVE.match(line):
            if match[2] == "(":
                block = match[1]
            else:
                _take(match[1], match[2], tools, requires)
    tools_go = folder / "tools.go"
    if tools_go.exists():
        tools += re.findall(r'^\s*_\s+"([^"]+)"', tools_go.read_text(encoding="utf-8"), re.MULTILINE)
    sums = {}
    for line in (folder / "go.sum").read_text(encoding="utf-8").splitlines():
        module, version, checksum = line.split()
        sums[f"{module} {version}"] = checksum
    return GoModule(folder, tuple(tools), requires, sums)


def _take(directive: str, line: str, tools: list[str], requires: dict[str, str]) -> None:
    words = line.split()
    if directive == "tool" and words:
        tools.append(words[0])
    elif directive == "require" and len(words) >= 2:
        requires[words[0]] = words[1]


def matches(patterns: str, module: str) -> bool:
    """Whether a module is covered by a list like ``GOPRIVATE`` (globs for a leading part of the path)."""
    elements = module.split("/")
    for pattern in filter(None, (p.strip().rstrip("/") for p in patterns.split(","))):
        head = "/".join(elements[: pattern.count("/") + 1])
        if fnmatch.fnmatchcase(head, pattern):
            return True
    return False
