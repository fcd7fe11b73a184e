# SPDX-License-Identifier: GPL-3.0-or-later
"""Printing: tables and sentences for people, JSON for programs, problems on standard error.

Text of machines is never trusted: no markup, and no character that a terminal would obey.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
from typing import Any

from rich.console import Console, RenderableType

from .errors import CliError

# Control characters, and those that turn the direction of writing round.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_CONTROL_BUT_LINES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_ESCAPED_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def one_line(value: object) -> str:
    """A text on one line, without what a terminal would obey."""
    return _CONTROL.sub(
        lambda found: " " if found[0] in "\n\r\t" else "\N{REPLACEMENT CHARACTER}", str(value)
    )


def lines(value: object) -> str:
    """A text with its lines, without what a terminal would obey."""
    return _CONTROL_BUT_LINES.sub("\N{REPLACEMENT CHARACTER}", str(value).replace("\r\n", "\n"))


def console() -> Console:
    """Where standard output goes; no text is taken for markup."""
    return Console(markup=False, emoji=False, highlight=False)


def width() -> int | None:
    """The columns of the terminal, or None where the output goes to a file or a pipe: it has no edge."""
    screen = console()
    return screen.width if screen.is_terminal else None


def show(*parts: RenderableType) -> None:
    """Print for a person; lines longer than the terminal are broken by it, and only by it."""
    screen = console()
    for part in parts:
        screen.print(part, soft_wrap=True)


def as_json(data: Any, indent: int | None = 2) -> str:
    """JSON that reads well and that a terminal may see."""
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    return _ESCAPED_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def print_json(data: Any) -> None:
    """Print JSON for a program."""
    print(as_json(data))


def give_up() -> None:
    """Let what is still to be written to standard output go nowhere: it cannot be written.

    The interpreter would try once more at its end, and take an exit code of its own.
    """
    with contextlib.suppress(io.UnsupportedOperation):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def note(text: str) -> None:
    """Say something beside the output: what standard output holds stays what was asked for."""
    print(lines(text), file=sys.stderr)


def report(error: CliError, json_wanted: bool) -> None:
    """Tell a problem on standard error."""
    if json_wanted:
        print(as_json(error.as_dict()), file=sys.stderr)
        return
    text = error.text if error.text.endswith((".", "?")) else f"{error.text}."
    note(f"kubestead: {text}")
    if error.problems and error.problems != (error.text,):
        note("\n".join(f"  - {problem}" for problem in error.problems))
    if error.difference:
        note(error.difference.rstrip("\n"))
    if error.advice:
        note(error.advice)
