# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's own installer, told everything by a preseed file."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from .distribution import (
    SCRIPT,
    Distribution,
    answer_url,
    interface_argument,
    mirror,
    names,
    start,
)
from .plan import Form, InstallPlan

SUITES = {"debian-12": "bookworm", "debian-13": "trixie"}
PRESEED = "preseed.cfg"
_RUN = "/tmp/kubestead"
_INSTALLER = Distribution(
    kernel="linux",
    initrd="initrd.gz",
    more_files=(),
    answers={PRESEED: "debian/preseed.cfg", SCRIPT: "debian/install.sh"},
    run=_RUN,
    log="/var/log/syslog",
    least_gib=3,
)


def problem(plan: InstallPlan, boot_dir: Path) -> str | None:
    """Say why this installation cannot be begun."""
    if plan.os not in SUITES:
        return f"there is no installer for {plan.os}, only for {', '.join(SUITES)}"
    return (
        _INSTALLER.files_problem(plan, boot_dir)
        or _INSTALLER.mirror_problem(plan, "debian")
        or _INSTALLER.templates_problem(plan, _values(plan))
    )


def boot_script(plan: InstallPlan, form: Form) -> str:
    """Start the installer, with what it must know before it has the preseed file."""
    known = names(plan)
    arguments = [
        "auto=true",
        "priority=critical",
        f"url={answer_url(plan, PRESEED)}",
        "netcfg/choose_interface=auto",
        interface_argument(plan),
        # Where DHCP tells neither, the installer would ask, before it has read anything.
        "netcfg/no_default_route=true",
        f"netcfg/get_nameservers={plan.settings.dns[0] if plan.settings.dns else ''}",
        f"hostname={known['short_name']}",
        *([f"domain={known['domain']}"] if known["domain"] else []),
        f"log_host={urlsplit(plan.settings.base).hostname}",
        "DEBIAN_FRONTEND=text",
        "---",  # what follows is for the installed system too
        *plan.settings.kernel_arguments.split(),
    ]
    return _INSTALLER.boot_script(plan, form, arguments)


def answer_names(plan: InstallPlan) -> tuple[str, ...]:
    """The answers that this installer asks for."""
    return tuple(_INSTALLER.answers)


def answer(plan: InstallPlan, name: str) -> str:
    """One of them."""
    return _INSTALLER.answer(plan, name, _values(plan))


def _values(plan: InstallPlan) -> dict[str, object]:
    archive, suite = mirror(plan, "debian"), SUITES[plan.os]
    areas = "main non-free-firmware"
    repositories = [f"{archive.url} {suite}-updates {areas}"]
    if security := plan.settings.mirrors.get("debian-security"):
        repositories.append(f"{security} {suite}-security {areas}")
    return {
        **names(plan),
        "mirror": archive,
        "suite": suite,
        "repositories": repositories,
        "firmware": {"efi": "uefi", "pcbios": "bios"}.get(
            plan.platform or "", plan.machine.firmware or "bios"
        ),
        "early": f"{start(plan, _RUN)} early",
        "script": f"{_RUN}/{SCRIPT}",
    }
