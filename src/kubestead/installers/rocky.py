# SPDX-License-Identifier: GPL-3.0-or-later
"""The installer of Rocky Linux and of RHEL (Anaconda), told everything by a kickstart file."""

from __future__ import annotations

from pathlib import Path

from .distribution import SCRIPT, Distribution, answer_url, interface_argument, mirror, names, start
from .plan import Form, InstallPlan

#: The name of the mirror, and where below it one version for one architecture lies.
TREES = {"rocky-10": ("rocky", "10/{part}/{machine}/os"), "rhel-10": ("rhel", "{part}")}
KICKSTART = "ks.cfg"
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_RUN = "/tmp/kubestead"
_INSTALLER = Distribution(
    kernel="vmlinuz",
    initrd="initrd.img",
    more_files=(),
    answers={KICKSTART: "rocky/ks.cfg", SCRIPT: "rocky/install.sh"},
    run=_RUN,
    log="/tmp/anaconda.log",
    least_gib=8,
)


def problem(plan: InstallPlan, boot_dir: Path) -> str | None:
    """Say why this installation cannot be begun."""
    if plan.os not in TREES:
        return f"there is no installer for {plan.os}, only for {', '.join(TREES)}"
    return (
        _INSTALLER.files_problem(plan, boot_dir)
        or _INSTALLER.mirror_problem(plan, TREES[plan.os][0])
        or _INSTALLER.templates_problem(plan, _values(plan))
    )


def boot_script(plan: InstallPlan, form: Form) -> str:
    """Start the installer, whose second stage comes from the mirror."""
    arguments = [
        f"inst.ks={answer_url(plan, KICKSTART)}",
        f"inst.repo={_tree(plan, 'BaseOS')}",
        *([f"inst.proxy={plan.settings.proxy}"] if plan.settings.proxy else []),
        "inst.text",
        "ip=dhcp",
        interface_argument(plan),
        *plan.settings.kernel_arguments.split(),
    ]
    return _INSTALLER.boot_script(plan, form, arguments)


def answer_names(plan: InstallPlan) -> tuple[str, ...]:
    """The answers that this installer asks for."""
    return tuple(_INSTALLER.answers)


def answer(plan: InstallPlan, name: str) -> str:
    """One of them."""
    return _INSTALLER.answer(plan, name, _values(plan))


def _tree(plan: InstallPlan, part: str) -> str:
    name, below = TREES[plan.os]
    return f"{mirror(plan, name).url}/{below.format(part=part, machine=_MACHINES[plan.architecture])}"


def _values(plan: InstallPlan) -> dict[str, object]:
    settings = plan.settings
    return {
        **names(plan),
        "base_os": _tree(plan, "BaseOS"),
        "app_stream": _tree(plan, "AppStream"),
        "proxy": f' --proxy="{settings.proxy}"' if settings.proxy else "",
        "append": f' --append="{settings.kernel_arguments}"' if settings.kernel_arguments else "",
        "early": f"{start(plan, _RUN)} early",
        "script": f"{_RUN}/{SCRIPT}",
    }
