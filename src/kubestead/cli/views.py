# SPDX-License-Identifier: GPL-3.0-or-later
"""What machines look like in a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kubestead.model.lifecycle import STATES

States = Mapping[str, Mapping[str, Any]]

SILENT = "not reported"
_COLOURS = {"ready": "green", "failed": "bold red", "retired": "dim", SILENT: "dim"}
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def machine_table(states: States, now: datetime | None = None) -> Table:
    """All machines, a line each."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("Hostname", "Role", "State", "Phase"):
        table.add_column(heading, no_wrap=True)
    table.add_column("%", justify="right")
    table.add_column("Reported", justify="right", no_wrap=True)
    table.add_column("MAC", no_wrap=True)
    table.add_column("Message", ratio=1)
    for mac, machine in states.items():
        progress = machine["progress"]
        table.add_row(
            machine["hostname"] or "-",
            machine["role"] or "-",
            _state(machine),
            machine["phase"] or "",
            "" if progress is None else str(progress),
            age(machine["updated_at"], now),
            mac,
            Text(machine["message"] or ""),
        )
    return table


def one_machine(mac: str, machine: Mapping[str, Any], now: datetime | None = None) -> Table:
    """One machine, a line for each thing that is known of it."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(ratio=1)
    table.add_row("hostname", machine["hostname"] or "- (not in the registry)")
    table.add_row("MAC", mac)
    table.add_row("role", machine["role"] or "-")
    table.add_row("state", _state(machine))
    table.add_row("phase", machine["phase"] or "-")
    table.add_row("progress", "-" if machine["progress"] is None else f"{machine['progress']} %")
    table.add_row("message", Text(machine["message"] or "-"))
    table.add_row("reported", f"{machine['updated_at'] or ''} ({age(machine['updated_at'], now)})".strip())
    for feature, status in machine["features"].items():
        table.add_row(f"feature {feature}", Text(status))
    return table


def summary(states: States) -> Text:
    """How many machines are in which state, on one line."""
    counted = counts(states)
    text = Text(f"{len(states)} machine{'' if len(states) == 1 else 's'}", style="bold")
    for state, number in counted.items():
        text.append("  ")
        text.append(f"{number} {state}", style=_COLOURS.get(state, "yellow"))
    return text


def counts(states: States) -> dict[str, int]:
    """How many machines are in which state, in the order of the lifecycle."""
    found = Counter(machine["state"] or SILENT for machine in states.values())
    return {state: found[state] for state in (*STATES, SILENT) if found[state]}


def overview(states: States, head: RenderableType = "", now: datetime | None = None) -> RenderableType:
    """The summary, and all machines below it."""
    above = [head] if head else []
    return Group(*above, summary(states), "", machine_table(states, now))


def age(moment: str | None, now: datetime | None = None) -> str:
    """How long ago something was, as short as a person would say it."""
    if moment is None:
        return "never"
    seconds = max(0.0, ((now or datetime.now(timezone.utc)) - datetime.fromisoformat(moment)).total_seconds())
    for length, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return f"{int(seconds)} s ago"


def _state(machine: Mapping[str, Any]) -> Text:
    state = machine["state"] or SILENT
    return Text(state, style=_COLOURS.get(state, "yellow"))
