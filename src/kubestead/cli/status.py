# SPDX-License-Identifier: GPL-3.0-or-later
"""`kubestead status`: whether all is well, and with `--server` a closer look at the API's host."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

from rich.text import Text

from kubestead.model.state_api_client import StateApiError

from .output import one_line, print_json, show, width
from .session import Session
from .table import MachineTable
from .views import age, counts, summary

UNIT = "machine-state-api"
_SOON = 30
"""Days before its end at which a certificate is a problem: the role renews it by then."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    found: str


def show_status(session: Session, server: bool) -> None:
    """Print the API's health, how many machines are in which state, and which have failed."""
    health, views = session.api.health(), session.api.machines()
    registry = session.api.registry()
    problems, warnings = list(registry["problems"]), list(registry["warnings"])
    failed = {mac: view for mac, view in views.items() if view["state"] == "failed"}
    checks = _checks(session, health, registry) if server else []
    if session.json:
        found: dict[str, Any] = {
            "api": {"url": session.api.url, **health},
            "registry": {key: registry[key] for key in ("path", "condition", "problems", "warnings")},
            "states": counts(views.values()),
            "failed": failed,
        }
        if server:
            found["server"] = [asdict(check) for check in checks]
        print_json(found)
        return
    if server:
        show(*(_check_line(check) for check in checks))
    else:
        show(f"State API {health['version']} at {session.api.url}: {health['status']}, {health['store']}")
        condition = registry["condition"]
        line = Text(f"registry {one_line(registry['path'])}: ")
        line.append(condition, "green" if condition == "ok" else "bold red")
        if condition == "invalid":
            line.append(" (the last valid one is in force)")
        show(line)
    for problem in problems:
        show(Text(f"  - {one_line(problem)}", "red"))
    for warning in warnings:
        show(Text(f"  - {one_line(warning)}", "yellow"))
    show(summary(views))
    if failed:
        table = MachineTable(list(failed.values()), width())
        show("", table.heading(), *table.rows())


def _checks(session: Session, health: dict[str, Any], registry: dict[str, Any]) -> list[Check]:
    found = [Check("State API", health["status"] == "ok", f"{health['version']} at {session.api.url}")]
    if session.local and shutil.which("systemctl"):
        found += _unit()
    if session.api.url.startswith("https:"):
        found.append(_certificate(session))
    found.append(Check("store", True, str(health["store"])))
    if registry["condition"] == "ok":
        text = f"{registry['path']}, {health['machines']} machines"
    else:
        text = f"{registry['path']} is {registry['condition']}"
        text += "; the last valid one is in force" if registry["condition"] == "invalid" else ""
    found.append(Check("registry", registry["condition"] == "ok", text))
    pushed = registry["pushed_sha256"]
    if pushed is not None:
        same = pushed == registry["sha256"]
        found.append(
            Check(
                "last push", True, "in force as pushed" if same else "edited since (kubestead registry diff)"
            )
        )
    newest = session.api.events(limit=1)
    found.append(Check("last event", True, age(newest[0]["at"]) if newest else "none yet"))
    return found


def _unit() -> list[Check]:
    command = ["systemctl", "show", UNIT, "--property=ActiveState,SubState,NRestarts,LoadState"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    values = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    if values.get("LoadState") != "loaded":
        return []  # started in another way, by hand or in a container
    state = f"{UNIT} {values.get('ActiveState')} ({values.get('SubState')})"
    restarts = values.get("NRestarts", "0")
    again = "" if restarts in ("0", "") else f", started again {restarts} times"
    return [Check("unit", values.get("ActiveState") == "active", state + again)]


def _certificate(session: Session) -> Check:
    parts = urlsplit(session.api.url)
    context = ssl.create_default_context(cafile=session.ca_file)
    try:
        with (
            socket.create_connection((parts.hostname or "", parts.port or 443), 5) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as secured,
        ):
            certificate = secured.getpeercert() or {}
    except OSError as error:
        raise StateApiError(f"{session.api.url}: its certificate cannot be looked at: {error}") from None
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), timezone.utc)
    days = (ends - datetime.now(timezone.utc)).days
    return Check("certificate", days >= _SOON, f"valid until {ends:%Y-%m-%d} ({days} days)")


def _check_line(check: Check) -> Text:
    mark = Text("✔ ", "green") if check.ok else Text("✘ ", "bold red")
    return Text.assemble(mark, Text(f"{check.name:<12}", "bold"), one_line(check.found))
