# SPDX-License-Identifier: GPL-3.0-or-later
"""The PXE server at a look, on its own host: each service is asked for what firmware asks it for."""

from __future__ import annotations

import socket
import struct
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kubestead.dhcp.leases import Lease, read_leases
from kubestead.dhcp.service import OUTCOME, known_outcome
from kubestead.dhcp.settings import SETTINGS, ServerSettings, ServerSettingsError

from .checks import Check, unit_check
from .views import age

TFTP_PORT = 69
_SECONDS = 3.0
_READ, _DATA, _ERROR = 1, 3, 5
# Nobody's address: it is asked about by HEAD, which changes nothing.
_NOBODY = "/boot/02-00-00-00-00-00.ipxe"


@dataclass
class PxeStatus:
    """What was found; `unseen` says what could not be looked at, and why."""

    checks: list[Check] = field(default_factory=list)
    leases: list[Lease] | None = None
    unseen: list[str] = field(default_factory=list)


def look(settings_file: Path = SETTINGS, outcome_file: Path = OUTCOME) -> PxeStatus:
    """Look at the PXE server of this host."""
    status = PxeStatus()
    try:
        settings = ServerSettings.load(settings_file)
    except FileNotFoundError:
        status.unseen.append(
            "TFTP, DHCP, HTTP, leases: this host has no PXE server (playbooks/pxe_server.yml)"
        )
        return status
    except (OSError, ServerSettingsError) as error:
        status.checks.append(Check("PXE server", False, str(error)))
        return status
    address = str(settings.plan["address"])
    status.checks += [
        _dhcp(settings),
        _asked("TFTP", "pxe-tftp", lambda: fetch_by_tftp(address, "boot.ipxe")),
        _asked("HTTP", "pxe-http", lambda: _fetch(f"{settings.url}/boot.ipxe")),
        _answering("boot port", lambda: _fetch(settings.boot_url + _NOBODY, "HEAD")),
    ]
    if settings.registry:
        status.checks.append(_reservations(settings, outcome_file))
    if settings.leases:
        try:
            status.leases = read_leases(settings.dhcp, Path(settings.leases))
        except OSError as error:
            status.unseen.append(f"leases: {settings.leases} cannot be read ({error.strerror}); root may")
    return status


def _dhcp(settings: ServerSettings) -> Check:
    if not settings.unit:
        return Check("DHCP", True, "none here: the router's (pxe_server_dhcp: none)")
    return unit_check("DHCP", settings.unit) or Check("DHCP", False, f"there is no {settings.unit}")


def _asked(name: str, unit: str, ask: Callable[[], str]) -> Check:
    found = unit_check(name, f"{unit}.service") or Check(name, False, f"there is no {unit}.service")
    if not found.ok:
        return found
    answer = _answering(name, ask)
    return Check(name, answer.ok, f"{found.found}, {answer.found}")


def _answering(name: str, ask: Callable[[], str]) -> Check:
    try:
        return Check(name, True, ask())
    except (OSError, ValueError) as error:
        return Check(name, False, f"does not answer: {error}")


def _fetch(url: str, method: str = "GET") -> str:
    # Proxies of the environment lead elsewhere.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, method=method), timeout=_SECONDS) as answer:
            if method == "GET" and not answer.read(16).startswith(b"#!ipxe"):
                raise ValueError(f"{url} is no script of iPXE")
    except urllib.error.HTTPError as error:
        raise ValueError(f"{url} answers {error.code}") from None
    return f"{url} answers"


def fetch_by_tftp(address: str, name: str, port: int | None = None) -> str:
    """Fetch the first block of a file, and leave it at that."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(_SECONDS)
        client.sendto(struct.pack("!H", _READ) + name.encode() + b"\0octet\0", (address, port or TFTP_PORT))
        answer, sender = client.recvfrom(1024)
        kind = struct.unpack("!H", answer[:2])[0]
        client.sendto(struct.pack("!HH", _ERROR, 0) + b"enough\0", sender)
    if kind != _DATA:
        raise ValueError(f"{name}: {answer[4:].rstrip(bytes(1)).decode(errors='replace') or 'no data'}")
    return f"{name} answers"


def _reservations(settings: ServerSettings, outcome_file: Path) -> Check:
    name = "reservations"
    unit = unit_check(name, "pxe-reservations.service")
    if unit is not None and not unit.ok:
        return unit
    outcome = known_outcome(outcome_file)
    if outcome is None:
        return Check(name, False, f"{settings.registry} was not read yet (journalctl -u pxe-reservations)")
    if outcome.problems:
        stay = f"those of {outcome.machines} machines stay in force"
        return Check(name, False, f"{settings.registry}: {' / '.join(outcome.problems)}; {stay}")
    found = f"{settings.registry} in force, {outcome.machines} machines, read {age(outcome.at)}"
    return Check(name, True, found)
