# SPDX-License-Identifier: GPL-3.0-or-later
"""One attempt at one installation: all that a boot script or an answer file is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from kubestead.model.machine import Machine

from .settings import BootSettings

DEFAULT_SYSTEM = "debian-13"

Form = Literal["ipxe", "grub"]


@dataclass(frozen=True)
class InstallPlan:
    """Which machine is to be installed, how, and for the how manieth time.

    overwrite: a disk that is not empty may be written; otherwise the installer has to refuse it.
    platform: what iPXE or GRUB has said of the firmware (`pcbios`, `efi`), or None.
    token: the secret with which the installer reports; only an answer has it, never a boot script.
    """

    machine: Machine
    settings: BootSettings
    install_id: str
    attempt: int = 1
    overwrite: bool = False
    platform: str | None = None
    token: str | None = field(default=None, repr=False)

    @property
    def os(self) -> str:
        """The system to be installed, such as `debian-13`."""
        return self.machine.os or DEFAULT_SYSTEM

    @property
    def architecture(self) -> str:
        """The processor architecture, by Debian's name."""
        return self.machine.architecture

    @property
    def method(self) -> str:
        """How it is installed: `image` or `installer`."""
        return self.machine.install_method or self.settings.method

    @property
    def disk(self) -> str | None:
        """The disk to write; None: the only one that there is, and where there are more, none."""
        return self.machine.disk
