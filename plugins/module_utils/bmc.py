# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A machine's management controller, as the registry has it: where it is, and what opens it."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t
from urllib.parse import urlsplit

REDFISH, IPMI, WOL = "redfish", "ipmi", "wol"
IPMI_PORT, WOL_PORT = 623, 9
IPMI_PASSWORD = 20
EVERYBODY = "255.255.255.255"


class BmcError(ValueError):
    """What the registry says of a controller cannot be used; the text has no secret in it."""


class Credentials(t.NamedTuple):
    """What opens a controller."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r})"


def credentials(bmc: t.Mapping[str, t.Any], variable: t.Callable[[str], t.Any]) -> Credentials:
    """Follow the reference: `env:NAME`, `file:/path`, or `var:name`, which `variable` gives.

    There is the password where the entry has a `username`; else `USER:PASSWORD`, or an object with
    `username` and `password`.
    """
    reference = str(bmc.get("credentials") or "")
    kind, _dummy, where = reference.partition(":")
    if kind == "env":
        found: t.Any = os.environ.get(where)
    elif kind == "file":
        found = _read(where)
    elif kind == "var":
        found = variable(where)
    else:
        raise BmcError("bmc.credentials is missing, expected env:NAME, file:/path or var:name")
    if not found:
        raise BmcError(f"bmc.credentials is {reference}, and there is nothing there")
    return _made(found, str(bmc.get("username") or ""), reference)


def _read(path: str) -> str:
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as stream:
            return stream.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise BmcError(f"bmc.credentials is file:{path}, which cannot be read: {reason}") from None


def _made(found: t.Any, username: str, reference: str) -> Credentials:
    if isinstance(found, str) and found.lstrip().startswith("{"):
        with contextlib.suppress(ValueError):  # a password may begin with a brace
            found = json.loads(found)
    if isinstance(found, t.Mapping):
        username, password = str(found.get("username") or username), str(found.get("password") or "")
    elif username:
        password = str(found)
    else:
        username, _dummy, password = str(found).partition(":")
    if not username or not password:
        raise BmcError(
            f"bmc.credentials is {reference}, and there is no user and password: expected USER:PASSWORD, the "
            "password alone with bmc.username, or an object with username and password"
        )
    return Credentials(username, password)


def redfish_host(bmc: t.Mapping[str, t.Any]) -> str:
    """Host and port of a Redfish service, whose address may be written as a URL."""
    address = str(bmc["address"])
    parts = urlsplit(address if "://" in address else f"https://{address}")
    if parts.scheme != "https" or not parts.hostname:
        raise BmcError(f"bmc.address is {address}, expected a host or an address that begins with https://")
    return parts.netloc.rpartition("@")[2]


def port_of(bmc: t.Mapping[str, t.Any], default: int) -> t.Tuple[str, int]:
    """Host and port of an address that may have one."""
    parts = urlsplit(f"//{bmc['address']}" if bmc.get("address") else f"//{EVERYBODY}")
    try:
        return str(parts.hostname or ""), parts.port or default
    except ValueError:
        raise BmcError(f"bmc.address is {bmc['address']}, expected a host, and perhaps a port") from None
