# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role pxe_server tells of the server that it has made: /etc/kubestead/pxe-server/server.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

SETTINGS = Path("/etc/kubestead/pxe-server/server.json")


class ServerSettingsError(Exception):
    """The file is no good; the message says what to do."""


@dataclass(frozen=True)
class ServerSettings:
    """A PXE server, as it was set up."""

    dhcp: str  # dnsmasq | kea | isc | proxy | none
    unit: str  # the DHCP server's; empty for none
    plan: Mapping[str, Any]  # network, address, router, first, last of the range for unknown machines
    config: str
    reservations: str  # the file that the configuration includes; empty where this server has no reservations
    include: str  # the line that does so
    check: tuple[str, ...]  # the command that checks a configuration, with %s for its file
    check_in: str
    leases: str
    registry: str  # the live registry that is followed; empty for none
    url: str
    boot_url: str

    @classmethod
    def load(cls, path: Path = SETTINGS) -> ServerSettings:
        """Read the file; FileNotFoundError where there is none, ServerSettingsError where it is no good."""
        text = path.read_text(encoding="utf-8")
        try:
            given = json.loads(text)
            values = {field.name: given[field.name] for field in fields(cls)}
            return cls(**{**values, "check": tuple(values["check"])})
        except (ValueError, KeyError, TypeError) as error:
            raise ServerSettingsError(
                f"{path} is not as the role pxe_server writes it ({error!r}): run playbooks/pxe_server.yml"
            ) from None
