# SPDX-License-Identifier: GPL-3.0-or-later
"""Ubuntu's own installer (subiquity), told everything by autoinstall: cloud-init's NoCloud, by HTTP."""

from __future__ import annotations

from pathlib import Path

from .distribution import (
    SCRIPT,
    Distribution,
    answer_url,
    folder_of,
    interface_argument,
    mirror,
    names,
    start,
)
from .plan import Form, InstallPlan

SYSTEMS = ("ubuntu-24.04",)
IMAGE = "live-server.iso"
_RUN = "/run/kubestead"
_INSTALLER = Distribution(
    kernel="vmlinuz",
    initrd="initrd",
    more_files=(IMAGE,),
    answers={
        "user-data": "ubuntu/user-data",
        "meta-data": "ubuntu/meta-data",
        "vendor-data": "ubuntu/vendor-data",
        SCRIPT: "ubuntu/install.sh",
    },
    run=_RUN,
    log="/var/log/installer/subiquity-server-debug.log",
    least_gib=8,
)


def problem(plan: InstallPlan, boot_dir: Path) -> str | None:
    """Say why this installation cannot be begun."""
    if plan.os not in SYSTEMS:
        return f"there is no installer for {plan.os}, only for {', '.join(SYSTEMS)}"
    return (
        _INSTALLER.files_problem(plan, boot_dir)
        or _INSTALLER.mirror_problem(plan, _archive(plan))
        or _INSTALLER.templates_problem(plan, _values(plan))
    )


def boot_script(plan: InstallPlan, form: Form) -> str:
    """Start the live system, which is held in memory, with autoinstall."""
    arguments = [
        "ip=dhcp",
        interface_argument(plan),
        f"url={plan.settings.base}/boot/installers/{folder_of(plan)}/{IMAGE}",
        "cloud-config-url=/dev/null",  # else cloud-init would take the image for its configuration
        "autoinstall",
        f"ds=nocloud;s={answer_url(plan)}",
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


def _archive(plan: InstallPlan) -> str:
    return "ubuntu" if plan.architecture == "amd64" else "ubuntu-ports"


def _values(plan: InstallPlan) -> dict[str, object]:
    name = _archive(plan)
    return {
        **names(plan),
        "archive": mirror(plan, name).url,
        "security": plan.settings.mirrors.get(f"{name}-security", ""),
        "early": f"{start(plan, _RUN)} early",
        "script": f"{_RUN}/{SCRIPT}",
    }
