# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be built, as the role says it in JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .errors import BuildError

SUITES: Mapping[str, str] = {"debian-12": "bookworm", "debian-13": "trixie"}
ARCHITECTURES = ("amd64",)
KERNELS: Mapping[str, str] = {"generic": "linux-image-amd64", "cloud": "linux-image-cloud-amd64"}
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_COMPONENT = re.compile(r"[a-z][a-z-]*")
_MIRROR = re.compile(r"https?://[A-Za-z0-9._~:/\[\]-]+")


@dataclass(frozen=True)
class Settings:
    """Where images go, and what is in them."""

    destination: Path  # served as /boot
    state: Path  # work, logs, archives for the cache
    systems: tuple[str, ...]
    base: str  # the system that the deploy and the rescue system are made of
    kernel: str
    packages: tuple[str, ...]
    rescue_packages: tuple[str, ...]
    components: tuple[str, ...]
    mirror: str  # empty: what this machine's apt uses
    security_mirror: str
    max_age_days: int  # 0: for ever
    keep_archives: bool
    architecture: str = "amd64"

    @classmethod
    def read(cls, text: str) -> Settings:
        """Read what the role says; everything that is wrong is told at once."""
        values: dict[str, Any] = json.loads(text)
        for each in fields(cls):
            if each.type == "tuple[str, ...]":
                values[each.name] = tuple(values[each.name])
            elif each.type == "Path":
                values[each.name] = Path(values[each.name])
        settings = cls(**values)
        if problems := settings.problems():
            raise BuildError("; ".join(problems))
        return settings

    def problems(self) -> list[str]:
        """Say what cannot be built, or could mean something else to the programs that get it."""
        found = [
            f"boot_images_systems: no image of {name!r} can be made, expected {' or '.join(SUITES)}"
            for name in (*self.systems, self.base)
            if name not in SUITES
        ]
        if self.kernel not in KERNELS:
            found.append(f"boot_images_kernel is {self.kernel!r}, expected {' or '.join(KERNELS)}")
        if self.architecture not in ARCHITECTURES:
            found.append(f"architecture is {self.architecture!r}, expected {' or '.join(ARCHITECTURES)}")
        for names, pattern, what in (
            (self.packages, _PACKAGE, "boot_images_packages"),
            (self.rescue_packages, _PACKAGE, "boot_images_rescue_packages"),
            (self.components, _COMPONENT, "boot_images_components"),
            ([each for each in (self.mirror, self.security_mirror) if each], _MIRROR, "boot_images_mirror"),
        ):
            found += [
                f"{what}: {name!r} is not expected there" for name in names if not pattern.fullmatch(name)
            ]
        return found
