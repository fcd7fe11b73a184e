# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who keeps a machine's clock right."""

from __future__ import annotations

from typing import Mapping, NamedTuple, Sequence

# Services that synchronise the clock; those that somebody chose come before the system's default.
SERVICES = (
    "chrony.service",
    "chronyd.service",
    "ntpsec.service",
    "ntp.service",
    "ntpd.service",
    "openntpd.service",
    "systemd-timesyncd.service",
)


class Unit(NamedTuple):
    """A systemd unit as ``systemctl show`` has it."""

    load: str
    active: str
    file_state: str

    @property
    def usable(self) -> bool:
        """Whether it is there and not masked."""
        return self.load == "loaded"

    @property
    def enabled(self) -> bool:
        """Whether it is started at boot."""
        return self.file_state.startswith("enabled")


def parse_units(show_output: str) -> dict[str, Unit]:
    """Units by name, from ``systemctl show -p Id -p LoadState -p ActiveState -p UnitFileState``."""
    units = {}
    for block in show_output.split("\n\n"):
        got = dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        if got.get("Id"):
            units[got["Id"]] = Unit(
                *(got.get(key, "") for key in ("LoadState", "ActiveState", "UnitFileState"))
            )
    return units


def choose(units: Mapping[str, Unit], names: Sequence[str] = SERVICES) -> str:
    """The one that runs, else one that is started at boot, else one that is there, else nothing."""
    usable = [name for name in names if name in units and units[name].usable]
    for wanted in (
        [name for name in usable if units[name].active in ("active", "activating")],
        [name for name in usable if units[name].enabled],
        usable,
    ):
        if wanted:
            return wanted[0]
    return ""
