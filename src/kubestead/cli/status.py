# SPDX-License-Identifier: GPL-3.0-or-later
"""`kubestead status`: whether all is well, and with `--server` a closer look at the API's host."""

from __future__ import annotations

import shutil
import socket
import ssl
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

from rich.text import Text

from kubestead.dhcp.leases import Lease
from kubestead.model.state_api_client import StateApiError

from .checks import Check, unit_check
from .output import one_line, print_json, show, width
from .pxe_status import PxeStatus, look
from .session import Session
from .table import MachineTable, simple_table
from .views import age, counts, summary, until

UNIT = "machine-state-api"
_LEASES = 10
_SOON = 30
"""Days before its end at which a certificate is a problem: the role renews it by then."""


def show_status(session: Session, server: bool) -> None:
    """Print the API's health, how many machines are in which state, and which have failed."""
    health, views = session.api.health(), session.api.machines()
    registry = session.api.registry()
    problems, warnings = list(registry["problems"]), list(registry["warnings"])
    failed = {mac: view for mac, view in views.items() if view["state"] == "failed"}
    asking = [each["code"] for each in session.api.enrolments() if each["condition"] == "waiting"]
    checks = _checks(session, health, registry) if server else []
    pxe = _pxe(session) if server else PxeStatus()
    checks += pxe.checks
    if session.json:
        found: dict[str, Any] = {
            "api": {"url": session.api.url, **health},
            "registry": {key: registry[key] for key in ("path", "condition", "problems", "warnings")},
            "states": counts(views.values()),
            "failed": failed,
            "asking": asking,
        }
        if server:
            found["server"] = [asdict(check) for check in checks]
            found["leases"] = None if pxe.leases is None else [asdict(lease) for lease in pxe.leases]
            found["unseen"] = pxe.unseen
        print_json(found)
        return
    if server:
        show(*(check.line() for check in checks))
        show(*(Text(f"? {one_line(unseen)}", "yellow") for unseen in pxe.unseen))
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
    if asking:
        ask = "1 machine asks" if len(asking) == 1 else f"{len(asking)} machines ask"
        show(Text(f"{ask} to be adopted: kubestead machines adopt", "yellow"))
    if failed:
        table = MachineTable(list(failed.values()), width())
        show("", table.heading(), *table.rows())
    if pxe.leases is not None:
        _show_leases(pxe.leases)


def _pxe(session: Session) -> PxeStatus:
    if session.local:
        return look()
    host = urlsplit(session.url).hostname
    return PxeStatus(unseen=[f"TFTP, DHCP, HTTP, leases: only {host} itself can see them; run this there"])


def _show_leases(leases: list[Lease]) -> None:
    if not leases:
        show("", "no leases")
        return
    rows = [
        [lease.ip, lease.mac, lease.hostname or "-", until(lease.ends) if lease.ends else "never"]
        for lease in leases[:_LEASES]
    ]
    show("", *simple_table(["Lease", "MAC", "Hostname", "Ends"], rows))
    if len(leases) > _LEASES:
        show(Text(f"and {len(leases) - _LEASES} more (--json)", "dim"))


def _checks(session: Session, health: dict[str, Any], registry: dict[str, Any]) -> list[Check]:
    found = [Check("State API", health["status"] == "ok", f"{health['version']} at {session.api.url}")]
    if session.local and shutil.which("systemctl") and (unit := unit_check("unit", UNIT)):
        found.append(unit)
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
