# SPDX-License-Identifier: GPL-3.0-or-later
"""What a DHCP server has handed out, read from the files in which dnsmasq, Kea and ISC keep it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from kubestead.model.mac import normalise_mac

_KEA_HANDED_OUT = "0"  # the others were declined, or have ended and been taken back
# Kea writes to the first; the others are left while it cleans up, oldest last.
_KEA_FILES = (".completed", ".output", ".2", ".1", "")
_ISC_LEASE = re.compile(r"^lease ([0-9.]+) \{(.*?)^\}", re.MULTILINE | re.DOTALL)
_ISC_LINE = re.compile(
    r'^\s+(hardware ethernet|binding state|client-hostname|starts|ends) "?([^";]*)"?;', re.MULTILINE
)


@dataclass(frozen=True)
class Lease:
    """An address that was handed out."""

    ip: str
    mac: str
    hostname: str
    ends: str | None  # None: never


def read_leases(kind: str, path: Path) -> list[Lease]:
    """The leases that run now, the one that runs longest first, which is the last that was handed out.

    OSError where the file cannot be read. One that is not there yet has no leases.
    """
    found = {"dnsmasq": _of_dnsmasq, "kea": _of_kea, "isc": _of_isc}[kind](path)
    now = datetime.now(timezone.utc)
    running = [(lease, ends) for lease, ends in found if ends is None or ends > now]
    running.sort(key=lambda each: (each[1] is None, each[1] or now), reverse=True)
    return [lease for lease, _ends in running]


_Found = list[tuple[Lease, datetime | None]]


def _of_dnsmasq(path: Path) -> _Found:
    """Lines `ENDS MAC ADDRESS NAME CLIENT-ID`; ENDS is 0 for ever and NAME `*` for none."""
    found: _Found = []
    for line in _text(path).splitlines():
        ends, mac, ip, name, *_rest = [*line.split(), "", "", ""]
        if ends.isdigit() and ip:
            moment = _moment(int(ends)) if int(ends) else None
            found.append((_lease(ip, mac, "" if name == "*" else name, moment), moment))
    return found


def _of_kea(path: Path) -> _Found:
    """Lines of a table, of which the last about an address counts."""
    last: dict[str, tuple[Lease, datetime | None] | None] = {}
    for suffix in _KEA_FILES:
        for row in _rows(path.with_name(path.name + suffix)):
            ip, expire = row.get("address") or "", row.get("expire") or ""
            if not ip or not expire.isdigit():
                continue
            moment = _moment(int(expire))
            handed_out = row.get("state") == _KEA_HANDED_OUT and row.get("valid_lifetime") != "0"
            lease = _lease(ip, row.get("hwaddr") or "", row.get("hostname") or "", moment)
            last[ip] = (lease, moment) if handed_out else None
    return [each for each in last.values() if each is not None]


def _rows(path: Path) -> Iterable[dict[str, str]]:
    return csv.DictReader(_text(path).splitlines())


def _of_isc(path: Path) -> _Found:
    """Declarations `lease ADDRESS { … }`, of which the last about an address counts."""
    last: dict[str, tuple[Lease, datetime | None] | None] = {}
    for ip, body in _ISC_LEASE.findall(_text(path)):
        values = dict(_ISC_LINE.findall(body))
        moment = _isc_moment(values.get("ends", "never"))
        lease = _lease(ip, values.get("hardware ethernet", ""), values.get("client-hostname", ""), moment)
        last[ip] = (lease, moment) if values.get("binding state") == "active" else None
    return [each for each in last.values() if each is not None]


def _isc_moment(text: str) -> datetime | None:
    """A time such as `6 2026/11/21 19:30:08`, in UTC, or `never`."""
    try:
        return datetime.strptime(text.partition(" ")[2], "%Y/%m/%d %H:%M:%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return None


def _lease(ip: str, mac: str, hostname: str, ends: datetime | None) -> Lease:
    with suppress(ValueError):  # what is no Ethernet card is shown as the server has it
        mac = normalise_mac(mac)
    return Lease(ip, mac, hostname.rstrip("."), ends.isoformat(timespec="seconds") if ends else None)


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
