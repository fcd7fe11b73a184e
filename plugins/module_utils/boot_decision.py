# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a machine that boots from the network does next, and the script for iPXE or GRUB that makes it do so.

The installer is given only to a machine of which somebody has asked for it and which has not completed that
installation. All else, and all doubt, boots the local disk.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .lifecycle import DISCOVERED, FAILED, INSTALL_STATES, RESCUE
from .mac import normalise_mac

MOST_ATTEMPTS = 3
SAME_ATTEMPT_SECONDS = 10  # firmware and boot loaders may fetch their script twice
MENU_SECONDS = 10
BIOS, UEFI = "pcbios", "efi"
PLATFORMS: t.Tuple[str, ...] = (BIOS, UEFI)  # as iPXE names them in ${platform}
IPXE, GRUB = "ipxe", "grub"

LOCAL, INSTALL, MENU, RESCUE_SYSTEM = "local", "install", "menu", "rescue"

_HOSTNAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_NOT_IN_SCRIPTS = re.compile(r"[^A-Za-z0-9 .,:()/_+-]+")

SANBOOT, EXIT = "sanboot", "exit"
LOCAL_BOOT: t.Mapping[str, str] = {BIOS: SANBOOT, UEFI: EXIT}
# A BIOS is told which disk. UEFI goes on with the next entry of its boot order where this one has failed;
# where it has not, many firmwares show their menu.
_IPXE_LOCAL: t.Mapping[t.Tuple[str, str], str] = {
    (BIOS, SANBOOT): "sanboot --no-describe --drive 0x80 || exit",
    (BIOS, EXIT): "exit",
    (UEFI, SANBOOT): "sanboot --no-describe --drive 0x80 || exit 1",
    (UEFI, EXIT): "exit 1",
}
_GRUB_SEARCH = (
    "for file in /EFI/debian/shimx64.efi /EFI/ubuntu/shimx64.efi /EFI/rocky/shimx64.efi "
    "/EFI/redhat/shimx64.efi /EFI/BOOT/BOOTX64.EFI /EFI/BOOT/BOOTAA64.EFI; do",
    "  if search --no-floppy --file --set=root $file; then chainloader $file; boot; fi",
    "done",
)


@dataclass(frozen=True)
class BootFacts:
    """What is known of a machine when it asks what to boot. `registered`: it is in the registry.

    handed_out, rescued: so many seconds ago it was given the installer, or the rescue system, last.
    """

    registered: bool
    state: t.Optional[str] = None
    locked: bool = False
    desired_install_id: t.Optional[str] = None
    completed_install_id: t.Optional[str] = None
    install_attempts: int = 0
    handed_out: t.Optional[float] = None
    rescued: t.Optional[float] = None


@dataclass(frozen=True)
class Decision:
    """What to boot (LOCAL, INSTALL, MENU or RESCUE_SYSTEM), and why in words for a screen.

    attempt: which one an installation is. used_up: all attempts are.
    rescue_ends: the rescue has had its boot.
    """

    action: str
    reason: str
    attempt: int = 0
    used_up: bool = False
    rescue_ends: bool = False


def decide(facts: t.Optional[BootFacts]) -> Decision:
    """Decide what a machine boots; None: it could not be found out what is known of it."""
    if facts is None:
        return Decision(LOCAL, "the state store gives no answer")
    if not facts.registered:
        if facts.state in (None, DISCOVERED):
            return Decision(MENU, "it is not in the registry")
        return Decision(LOCAL, "it is no longer in the registry")
    if facts.state == RESCUE:
        if facts.rescued is None or _just_now(facts.rescued):
            return Decision(RESCUE_SYSTEM, "a rescue is asked for")
        return Decision(LOCAL, "its rescue has ended", rescue_ends=True)
    reason = _why_not_installed(facts)
    return Decision(LOCAL, reason) if reason else _next_attempt(facts)


def _why_not_installed(facts: BootFacts) -> t.Optional[str]:
    if facts.locked:
        return "it is locked"
    if facts.state not in (*INSTALL_STATES, FAILED) or not facts.desired_install_id:
        return "no installation is asked for"
    if facts.desired_install_id == facts.completed_install_id:
        return "its installation is complete"
    return None


def _next_attempt(facts: BootFacts) -> Decision:
    attempt = facts.install_attempts
    if not (attempt and facts.state != FAILED and _just_now(facts.handed_out)):
        attempt += 1
    if attempt > MOST_ATTEMPTS:
        return Decision(LOCAL, f"{MOST_ATTEMPTS} attempts to install it have failed", used_up=True)
    return Decision(INSTALL, f"an installation is asked for, attempt {attempt} of {MOST_ATTEMPTS}", attempt)


def _just_now(seconds: t.Optional[float]) -> bool:
    return seconds is not None and abs(seconds) <= SAME_ATTEMPT_SECONDS


def script(
    mac: str,
    decision: Decision,
    *,
    form: str = IPXE,
    hostname: t.Optional[str] = None,
    platform: t.Optional[str] = None,
    local_boot: t.Optional[t.Mapping[str, str]] = None,
    loader: str = "",
) -> str:
    """The script for a machine; raises ValueError when `mac` is none.

    loader: the lines that load and start the installer or the rescue system. Behind them comes the label
    `local` (in GRUB: the next lines), where the local disk is booted.
    platform: what iPXE says of its firmware; unknown, both ways to the local disk are tried.
    """
    mac, local_boot = normalise_mac(mac), local_boot or LOCAL_BOOT
    name = hostname if hostname and _HOSTNAME.fullmatch(hostname) else mac
    # The reason may hold what a file or a person has said: nothing in it may mean anything to a boot loader.
    reason = _NOT_IN_SCRIPTS.sub(" ", decision.reason)[:200]
    told = {
        LOCAL: f"{name} boots its local disk: {reason}",
        MENU: f"{name} boots its local disk: {reason}",
        INSTALL: f"{name} is being installed: {reason}",
        RESCUE_SYSTEM: f"{name} boots its rescue system: {reason}",
    }[decision.action]
    if form == GRUB:
        lines = [*_grub_start(decision, told, loader), *_grub_disk(platform, local_boot)]
    else:
        lines = [*_ipxe_start(decision, mac, told, loader), *_ipxe_disk(platform, local_boot)]
    return "\n".join([*lines, ""])


def _ipxe_start(decision: Decision, mac: str, told: str, loader: str) -> t.List[str]:
    if decision.action == MENU:
        return ["#!ipxe", *_menu(mac)]
    lines = ["#!ipxe", f"echo Kubestead: {told}"]
    if decision.action in (INSTALL, RESCUE_SYSTEM):
        lines += [
            loader.strip("\n"),
            ":local",
            "echo Kubestead: that cannot be loaded, booting the local disk",
            "imgfree ||",
        ]
    return lines


def _menu(mac: str) -> t.List[str]:
    return [
        f"menu Kubestead: {mac} is not in the registry",
        "item local Boot the local disk",
        "item shell Open a shell of iPXE",
        f"choose --default local --timeout {MENU_SECONDS * 1000} what || set what local",
        "goto ${what}",
        ":shell",
        "shell ||",
        ":local",
    ]


def _ipxe_disk(platform: t.Optional[str], local_boot: t.Mapping[str, str]) -> t.List[str]:
    ways = {
        each: _IPXE_LOCAL.get((each, local_boot.get(each, "")), _IPXE_LOCAL[each, LOCAL_BOOT[each]])
        for each in PLATFORMS
    }
    if platform in ways:
        return [ways[str(platform)]]
    return [f"iseq ${{platform}} {UEFI} && goto efi ||", ways[BIOS], ":efi", ways[UEFI]]


def _grub_start(decision: Decision, told: str, loader: str) -> t.List[str]:
    lines = ["set timeout=0", f'echo "Kubestead: {told}"']
    if decision.action in (INSTALL, RESCUE_SYSTEM):
        lines += [loader.strip("\n"), 'echo "Kubestead: that cannot be loaded, booting the local disk"']
    return lines


def _grub_disk(platform: t.Optional[str], local_boot: t.Mapping[str, str]) -> t.List[str]:
    bios = ["set root=(hd0)", "chainloader +1", "boot"]
    efi = [*(_GRUB_SEARCH if local_boot.get(UEFI) == SANBOOT else ()), "exit 1"]
    if platform in PLATFORMS:
        return efi if platform == UEFI else bios
    return ['if [ "$grub_platform" = "efi" ]; then', *efi, "else", *bios, "fi"]
