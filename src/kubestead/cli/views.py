# SPDX-License-Identifier: GPL-3.0-or-later
"""How machines are told to a person: states in colour, ages in words, how many are in which state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from rich.text import Text

from kubestead.model.boot_decision import MOST_ATTEMPTS
from kubestead.model.lifecycle import STATES
from kubestead.model.machine import Machine

from .output import one_line

View = Mapping[str, Any]
"""One machine as the State API shows it."""

SILENT = "not reported"
_STYLES = {"ready": "green", "failed": "bold red", "retired": "dim", SILENT: "dim"}
_OTHER_STYLE = "yellow"
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def view_of(machine: Machine) -> dict[str, Any]:
    """A machine of a registry file in the shape of the State API, which alone knows the rest."""
    return {
        "mac": machine.mac,
        "hostname": machine.hostname,
        "role": machine.role,
        "architecture": machine.architecture,
        "os": machine.os,
        "cluster": machine.cluster,
        "ip": machine.ip,
        "address": None,
        "registered": True,
        "features": list(machine.features),
        "feature_status": {},
        "state": None,
        "phase": None,
        "progress": None,
        "message": None,
        "error": None,
        "locked": machine.locked,
        "since": None,
        "updated_at": None,
        "deadline_at": None,
        "version": 0,
        "install": {
            "desired_id": None,
            "completed_id": None,
            "attempts": 0,
            "most_attempts": MOST_ATTEMPTS,
            "overwrite": False,
            "handed_out_at": None,
        },
        "rescue": {"from_state": None, "handed_out_at": None},
    }


def called(view: View) -> str:
    """What a machine is called in a sentence: its host name, or its MAC where it has none."""
    return one_line(view["hostname"] or view["mac"])


def titled(view: View) -> str:
    """What a machine is called where its MAC matters too."""
    mac = one_line(view["mac"])
    return f"{called(view)} ({mac})" if view["hostname"] else mac


def state_of(view: View) -> str:
    """The state in a word."""
    return str(view["state"] or SILENT)


def state_text(state: str) -> Text:
    """A state in its colour."""
    return Text(one_line(state), style=style_of(state))


def style_of(state: str) -> str:
    """The colour of a state."""
    return _STYLES.get(state, _OTHER_STYLE)


def said(view: View) -> str:
    """What a machine says, on one line: the message, but first what is wrong where something is."""
    message, error = one_line(view["message"] or ""), one_line(view["error"] or "")
    if message and error and error not in message:
        return f"{error} ({message})"
    return message if error in message else error


def counts(views: Iterable[View]) -> dict[str, int]:
    """How many machines are in which state, in the order of the lifecycle."""
    found = Counter(state_of(view) for view in views)
    known = [state for state in (*STATES, SILENT) if found[state]]
    return {state: found[state] for state in [*known, *(found.keys() - set(known))]}


def summary(views: Mapping[str, View]) -> Text:
    """How many machines there are, and how many in which state, on one line."""
    text = Text(f"{len(views)} machine{'' if len(views) == 1 else 's'}", style="bold")
    for state, number in counts(views.values()).items():
        text.append("  ")
        text.append(f"{number} {one_line(state)}", style=style_of(state))
    locked = sum(bool(view["locked"]) for view in views.values())
    if locked:
        text.append(f"  {locked} locked", style="dim")
    return text


def age(moment: str | None, now: datetime | None = None) -> str:
    """How long ago something was, as short as a person would say it."""
    if moment is None:
        return "never"
    return f"{duration(_since(moment, now))} ago"


def until(moment: str, now: datetime | None = None) -> str:
    """How long it is until something, or that it is over."""
    seconds = -_since(moment, now)
    return f"in {duration(seconds)}" if seconds > 0 else "past"


def duration(seconds: float) -> str:
    """A length of time in its largest unit."""
    for length, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"


def _since(moment: str, now: datetime | None) -> float:
    return ((now or datetime.now(timezone.utc)) - datetime.fromisoformat(moment)).total_seconds()
