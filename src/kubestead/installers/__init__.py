# SPDX-License-Identifier: GPL-3.0-or-later
"""How machines are installed: boot scripts and answer files, by system and method.

Each installer is a module of this package with the functions of `Installer`; the image's module also has
those of the rescue system, as `Rescue` names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, cast

from kubestead.model.machine import Machine

from .plan import Form, InstallPlan
from .settings import BootSettings, SettingsError, SettingsFile

__all__ = [
    "BootSettings",
    "Form",
    "InstallPlan",
    "NoInstallerError",
    "SettingsError",
    "SettingsFile",
    "answer",
    "answer_names",
    "boot_script",
    "load",
    "problem",
    "rescue_answer",
    "rescue_problem",
    "rescue_script",
]

IMAGE = "image"
_BY_FAMILY: Mapping[str, str] = {"debian": "debian", "ubuntu": "ubuntu", "rocky": "rocky", "rhel": "rocky"}


class NoInstallerError(Exception):
    """There is no installer for that system, or no such answer of it."""


class Installer(Protocol):
    """What the module of an installer has."""

    def problem(self, plan: InstallPlan, boot_dir: Path) -> str | None:
        """Say why this installation cannot be begun, such as a kernel that is not below `boot_dir`."""

    def boot_script(self, plan: InstallPlan, form: Form) -> str:
        """Give the lines that load and start the installer; without a token, see `InstallPlan`."""

    def answer_names(self, plan: InstallPlan) -> tuple[str, ...]:
        """Name the answer files that this installation asks for."""

    def answer(self, plan: InstallPlan, name: str) -> str:
        """Give one of them."""


class Rescue(Protocol):
    """What the module of the rescue system has."""

    def rescue_problem(self, settings: BootSettings, architecture: str, boot_dir: Path) -> str | None:
        """Say why the rescue system cannot be booted."""

    def rescue_script(self, machine: Machine, settings: BootSettings, form: Form) -> str:
        """Give the lines that load and start the rescue system."""

    def rescue_answer(self, machine: Machine, settings: BootSettings) -> str:
        """Give its answer file, `rescue.env`."""


def problem(plan: InstallPlan, boot_dir: Path) -> str | None:
    """Say why this installation cannot be begun; None: it can."""
    try:
        return _installer(plan).problem(plan, boot_dir)
    except NoInstallerError as error:
        return str(error)


def boot_script(plan: InstallPlan, form: Form) -> str:
    """The part of a boot script that loads and starts the installer."""
    return _installer(plan).boot_script(plan, form)


def answer_names(plan: InstallPlan) -> tuple[str, ...]:
    """The answer files that this installation asks for."""
    return _installer(plan).answer_names(plan)


def answer(plan: InstallPlan, name: str) -> str:
    """One of the answer files; NoInstallerError for a name that is not among `answer_names`."""
    names = answer_names(plan)
    if name not in names:
        raise NoInstallerError(
            f"the installation of {plan.os} by {plan.method} has no {name}, only {', '.join(names)}"
        )
    return _installer(plan).answer(plan, name)


def rescue_problem(settings: BootSettings, architecture: str, boot_dir: Path) -> str | None:
    """Say why the rescue system cannot be booted; None: it can."""
    try:
        return _rescue().rescue_problem(settings, architecture, boot_dir)
    except NoInstallerError as error:
        return str(error)


def rescue_script(machine: Machine, settings: BootSettings, form: Form) -> str:
    """The part of a boot script that loads and starts the rescue system."""
    return _rescue().rescue_script(machine, settings, form)


def rescue_answer(machine: Machine, settings: BootSettings) -> str:
    """The rescue system's answer file."""
    return _rescue().rescue_answer(machine, settings)


def load() -> None:
    """Load every installer now: the first machine that boots has no time to wait for that."""
    for name in sorted({IMAGE, *_BY_FAMILY.values()}):
        with suppress(NoInstallerError):
            _module(name, name)


def _installer(plan: InstallPlan) -> Installer:
    name = IMAGE if plan.method == IMAGE else _BY_FAMILY.get(plan.os.partition("-")[0], "")
    return cast(Installer, _module(name, f"no installer for {plan.os} by {plan.method}"))


def _rescue() -> Rescue:
    return cast(Rescue, _module(IMAGE, "no rescue system"))


def _module(name: str, otherwise: str) -> object:
    if not name or find_spec(f"{__name__}.{name}") is None:
        raise NoInstallerError(otherwise)
    return import_module(f"{__name__}.{name}")
