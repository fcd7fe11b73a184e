# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Problems of a registry: what was found where, and what was expected instead."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

_SHOWN = 80


def show(value: t.Any) -> str:
    """Render a value for a message: as JSON, on one line, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        text = f"a {type(value).__name__} that is no JSON"
    return printable(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")


def printable(text: str) -> str:
    """`text` as it may go to any terminal or log: on one line, what cannot be printed as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def one_of(words: t.Iterable[str]) -> str:
    """Join words as a choice: `a, b or c`."""
    *some, last = words
    return f"{', '.join(some)} or {last}" if some else last


@dataclass(frozen=True)
class Problem:
    """One problem; its text is one sentence that names file, MAC, key, value and expectation."""

    file: str
    mac: t.Optional[str]
    key: t.Optional[str]
    value: t.Any
    expectation: str
    found: str = ""

    def __str__(self) -> str:
        where = [part for part in (self.file, self.mac) if part is not None]
        found = self.found or f"is {show(self.value)}"
        fact = f"{self.key} {found}" if self.key else found
        return printable(f"{': '.join([*where, fact])}, expected {self.expectation}")


class RegistryError(Exception):
    """A registry that cannot be used. `problems` holds all that is wrong with it."""

    def __init__(self, problems: t.Sequence[Problem]) -> None:
        self.problems: t.Tuple[Problem, ...] = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        return "\n".join(
            [f"{len(self.problems)} problems:", *(f"  - {problem}" for problem in self.problems)]
        )
