# SPDX-License-Identifier: GPL-3.0-or-later
"""Telling machines what to do, and asking before what cannot be undone."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from kubestead.exit_codes import ExitCode
from kubestead.model.state_api_client import StateApiRefusedError

from .errors import CliError
from .names import find
from .output import note, one_line, print_json, show
from .session import Session
from .views import View, called, state_of, titled

_CONFLICT = 409
_DONE = {
    "approve": "approved",
    "install": "will be installed at its next boot, if its disk is empty",
    "reinstall": "will be installed at its next boot, its disk erased",
    "rescue": "will boot the rescue system once",
    "lock": "locked",
    "unlock": "not locked",
    "retire": "retired",
}


def act(
    session: Session,
    names: Sequence[str],
    action: str,
    views: Mapping[str, View] | None = None,
    **body: Any,
) -> None:
    """Do one thing to each machine; a name that is none stops it all, a refusal only that machine."""
    views = session.api.machines() if views is None else views
    macs = list(dict.fromkeys(find(views, name) for name in names))
    done: dict[str, Any] = {}
    problems: list[str] = []
    for mac in macs:
        try:
            done[mac] = session.api.act(mac, action, **body)
        except StateApiRefusedError as error:
            if error.status != _CONFLICT:
                raise
            problems.append(f"{titled(views[mac])}: {one_line(error.detail)}")
    if session.json:
        print_json(done)
    else:
        for view in done.values():
            done_word = _DONE[action]
            if action == "unlock" and view["locked"]:
                done_word = "still locked, by `locked` in its registry entry: take it out there"
            show(f"{titled(view)}: {done_word} ({state_of(view)})")
    if problems:
        text = problems[0] if len(problems) == 1 else f"{len(problems)} machines refuse to {action}"
        look = f" {called(views[macs[0]])}" if len(macs) == 1 else ""
        raise CliError(
            text.rstrip("."),
            f"`kubestead machines status{look}` shows how it is now."
            if len(problems) == 1
            else "`kubestead machines list` shows how they are now.",
            problems=problems,
        )


def confirm(question: str, yes: bool) -> None:
    """Go on only when a person says so, or has said so beforehand."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CliError("there is no terminal to ask on", "Add --yes to go ahead.", ExitCode.WRONG_INPUT)
    print(f"{one_line(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        note("Nothing was changed.")
        raise typer.Exit(int(ExitCode.INTERRUPTED))
