# SPDX-License-Identifier: GPL-3.0-or-later
"""What a virtual machine starts with: SeaBIOS, which QEMU brings, or UEFI by OVMF, its variables its own."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.errors import HostError

BIOS = "bios"
UEFI = "uefi"
KINDS = (BIOS, UEFI)

# Debian's package ovmf; the other file of the pair must be of the same size class.
CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")


def ensure_variables(target: Path) -> None:
    """Give a machine the memory of its UEFI, empty, unless it has one."""
    if target.is_file() and target.stat().st_size == VARIABLES.stat().st_size:
        return
    if not VARIABLES.is_file():
        raise HostError(f"{VARIABLES} is missing; install with: apt-get install ovmf")
    unfinished = target.with_suffix(".new")
    shutil.copyfile(VARIABLES, unfinished)
    unfinished.rename(target)
