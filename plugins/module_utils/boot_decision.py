# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a machine that boots from the network does next, and the iPXE script that makes it do so.

The installer is given only to a machine of which somebody has asked for it and which has not completed that
installation. All else, and all doubt, boots the local disk.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .lifecycle import DISCOVERED, INSTALL_STATES
from .mac import normalise_mac

MOST_ATTEMPTS = 3
MENU_SECONDS = 10
BIOS, UEFI = "pcbios", "efi"
PLATFORMS: t.Tuple[str, ...] = (BIOS, UEFI)  # as iPXE names them in ${platform}

LOCAL, INSTALL, MENU = "local", "install", "menu"

_BASE = re.compile(r"http://(?:[A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_HOSTNAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")

_LOCAL_BOOT = {
    # A BIOS is told which disk; UEFI goes on with the next entry of its boot order.
    BIOS: "sanboot --no-describe --drive 0x80 || exit",
    UEFI: "exit",
}


@dataclass(frozen=True)
class BootFacts:
    """What is known of a machine when it asks what to boot. `registered`: it is in the registry."""

    registered: bool
    state: t.Optional[str] = None
    locked: bool = False
    desired_install_id: t.Optional[str] = None
    completed_install_id: t.Optional[str] = None
    install_attempts: int = 0
    hostname: t.Optional[str] = None


@dataclass(frozen=True)
class Decision:
    """What to boot (LOCAL, INSTALL or MENU), and why in words for a screen."""

    action: str
    reason: str


def decide(facts: t.Optional[BootFacts]) -> Decision:
    """Decide what a machine boots; None: it could not be found out what is known of it."""
    if facts is None:
        return Decision(LOCAL, "the state store gives no answer")
    if not facts.registered and facts.state in (None, DISCOVERED):
        return Decision(MENU, "it is not in the registry")
    reason = _why_not_installed(facts)
    return Decision(LOCAL, reason) if reason else Decision(INSTALL, "an installation is asked for")


def _why_not_installed(facts: BootFacts) -> t.Optional[str]:
    if not facts.registered:
        return "it is no longer in the registry"
    if facts.locked:
        return "it is locked"
    if facts.state not in INSTALL_STATES or not facts.desired_install_id:
        return "no installation is asked for"
    if facts.desired_install_id == facts.completed_install_id:
        return "its installation is complete"
    if facts.install_attempts >= MOST_ATTEMPTS:
        return "{0} attempts to install it have failed".format(facts.install_attempts)
    return None


def script(
    mac: str,
    facts: t.Optional[BootFacts],
    base: t.Optional[str] = None,
    platform: t.Optional[str] = None,
) -> str:
    """The iPXE script for a machine; raises ValueError when `mac` is none.

    base: where the boot files are, such as `http://10.0.0.10:8081`; one that is no such address is left out,
    and the files are looked for where this script came from.
    platform: what iPXE says of its firmware; unknown, both ways to the local disk are tried.
    """
    mac = normalise_mac(mac)
    decision = decide(facts)
    name = facts.hostname if facts and facts.hostname and _HOSTNAME.fullmatch(facts.hostname) else mac
    lines = ["#!ipxe"]
    if decision.action == MENU:
        return "\n".join(lines + _menu(mac, platform))
    if decision.action == INSTALL:
        where = base if base and _BASE.fullmatch(base) else ".."
        lines += [
            "echo Kubestead: {0} is being installed".format(name),
            "chain --autofree {0}/installers/{1}.ipxe ||".format(where, mac),
            "echo Kubestead: its installer cannot be fetched, booting the local disk",
        ]
    else:
        lines.append("echo Kubestead: {0} boots its local disk: {1}".format(name, decision.reason))
    return "\n".join(lines + _local_disk(platform)) + "\n"


def _menu(mac: str, platform: t.Optional[str]) -> t.List[str]:
    return [
        "menu Kubestead: {0} is not in the registry".format(mac),
        "item local Boot the local disk",
        "item shell Open a shell of iPXE",
        "choose --default local --timeout {0} what || set what local".format(MENU_SECONDS * 1000),
        "goto ${what}",
        ":shell",
        "shell ||",
        ":local",
        *_local_disk(platform),
        "",
    ]


def _local_disk(platform: t.Optional[str]) -> t.List[str]:
    if platform in _LOCAL_BOOT:
        return [_LOCAL_BOOT[str(platform)]]
    return [
        "iseq ${{platform}} {0} && goto efi ||".format(UEFI),
        _LOCAL_BOOT[BIOS],
        ":efi",
        _LOCAL_BOOT[UEFI],
    ]
