# SPDX-License-Identifier: GPL-3.0-or-later
"""The fast installation, which writes a prepared image to the disk, and the rescue system, in memory.

Both boot the same kernel and initrd, made by the role boot_images, and are told by the kernel's command line
where to ask for more (docs/image-install.md).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kubestead.model.machine import Machine

from .plan import Form, InstallPlan
from .settings import BootSettings

INSTALL_ENV = "install.env"
RESCUE_ENV = "rescue.env"
_KERNEL_FILES = ("vmlinuz", "initrd")
_BUILDS_THEM = "run playbooks/pxe_server.yml, whose role boot_images builds it"


def problem(plan: InstallPlan, boot_dir: Path) -> str | None:
    """Say why this installation cannot be begun."""
    name = _image_of(plan)
    where = boot_dir / "images" / name / "image.json"
    manifest = _manifest(where)
    if manifest is None:
        return (
            f"there is no image of {plan.os} for {plan.architecture} ({where}): name it in "
            f"boot_images_systems and {_BUILDS_THEM}; or set install_method: installer"
        )
    if manifest.get("os") != plan.os or manifest.get("architecture") != plan.architecture:
        return f"{where} is not of {plan.os} for {plan.architecture}: {_BUILDS_THEM}"
    return _kernel_problem(boot_dir, plan.architecture)


def boot_script(plan: InstallPlan, form: Form) -> str:
    """Load and start the installing system."""
    return _script("install", plan.machine, plan.settings, form)


def answer_names(plan: InstallPlan) -> tuple[str, ...]:
    """The one file that it asks for."""
    return (INSTALL_ENV,)


def answer(plan: InstallPlan, name: str) -> str:
    """All that makes the image this machine's system; with the token."""
    machine, settings = plan.machine, plan.settings
    short, _, domain = machine.hostname.partition(".")
    return _environment(
        {
            "MAC": machine.mac,
            "HOSTNAME": short,
            "DOMAIN": domain or settings.domain,
            "INSTALL_ID": plan.install_id,
            "ATTEMPT": str(plan.attempt),
            "OVERWRITE": "1" if plan.overwrite else "0",
            "TOKEN": plan.token or "",
            "BASE": settings.base,
            "API_URL": settings.api_url,
            "API_CA": _encoded(settings.api_ca),
            "IMAGE": f"{settings.base}/boot/images/{_image_of(plan)}/image.json",
            "DISK": plan.disk or "",
            "USER": settings.user,
            "SSH_KEYS": _keys(settings),
            "KERNEL_ARGUMENTS": settings.kernel_arguments,
            "TIMEZONE": settings.timezone,
            "NTP": " ".join(settings.ntp),
            "DNS": " ".join(settings.dns),
            "PROXY": settings.proxy,
            "MIRROR": settings.mirrors.get("debian", ""),
        }
    )


def rescue_problem(settings: BootSettings, architecture: str, boot_dir: Path) -> str | None:
    """Say why the rescue system cannot be booted."""
    where = boot_dir / "rescue" / architecture / "image.json"
    if _manifest(where) is None:
        return f"there is no rescue system for {architecture} ({where}): {_BUILDS_THEM}"
    return _kernel_problem(boot_dir, architecture)


def rescue_script(machine: Machine, settings: BootSettings, form: Form) -> str:
    """Load and start the rescue system."""
    return _script("rescue", machine, settings, form)


def rescue_answer(machine: Machine, settings: BootSettings) -> str:
    """Who may log in to the rescue system, and where it is."""
    return _environment(
        {
            "MAC": machine.mac,
            "HOSTNAME": machine.hostname.partition(".")[0],
            "BASE": settings.base,
            "SSH_KEYS": _keys(settings),
            "RESCUE": f"{settings.base}/boot/rescue/{machine.architecture}/image.json",
        }
    )


def _image_of(plan: InstallPlan) -> str:
    return f"{plan.os}-{plan.architecture}"


def _manifest(path: Path) -> Mapping[str, Any] | None:
    """What an image says of itself; None if it is not all there."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        sizes = found["files"].items()
        whole = all((path.parent / name).stat().st_size == size for name, size in sizes)
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return None
    return found if whole else None


def _kernel_problem(boot_dir: Path, architecture: str) -> str | None:
    folder = boot_dir / "deploy" / architecture
    lacking = [name for name in _KERNEL_FILES if not (folder / name).is_file()]
    if not lacking:
        return None
    return (
        f"the installing system for {architecture} is not there: {folder} lacks {', '.join(lacking)}; "
        f"{_BUILDS_THEM}"
    )


def _script(what: str, machine: Machine, settings: BootSettings, form: Form) -> str:
    arguments = [
        "boot=kubestead",
        f"kubestead={what}",
        f"kubestead.base={settings.base}",
        f"kubestead.mac={machine.mac}",
        f"BOOTIF=01-{machine.mac.replace(':', '-')}",
        "ip=dhcp",
        "panic=30",
        "quiet",
        *settings.kernel_arguments.split(),
    ]
    folder = f"boot/deploy/{machine.architecture}"
    said = f"Kubestead: the {'rescue' if what == 'rescue' else 'installing'} system cannot be fetched"
    if form == "grub":
        parts = urlsplit(settings.base)
        port = f",{parts.port}" if parts.port not in (None, 80) else ""
        root = f"(http,{parts.hostname}{port})/{folder}"
        words = " ".join(f"'{word}'" for word in arguments)
        return (
            f"if linux {root}/vmlinuz {words}; then\n  if initrd {root}/initrd; then\n    boot\n  fi\nfi\n"
            f'echo "{said}"\n'
        )
    place = f"{settings.base}/{folder}"
    # UEFI finds the initrd by the name that the command line gives.
    return (
        "imgfree\n"
        f"kernel --name vmlinuz {place}/vmlinuz initrd=initrd {' '.join(arguments)} && "
        f"initrd --name initrd {place}/initrd && boot ||\n"
        f"imgfree\necho {said}\n"
    )


def _environment(values: Mapping[str, str]) -> str:
    """Lines that a shell reads."""
    return "".join("KS_{}='{}'\n".format(name, value.replace("'", "'\\''")) for name, value in values.items())


def _keys(settings: BootSettings) -> str:
    return _encoded("".join(f"{key}\n" for key in settings.ssh_keys))


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")
