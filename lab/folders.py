# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders that may hold mounts."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.errors import LabError
from lab.process import run


def mounts_below(folder: Path) -> list[Path]:
    """Return the mount points in a folder (or the folder itself), the deepest first."""
    prefix = str(folder.resolve())
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point == prefix or point.startswith(prefix + "/"):
            found.append(Path(point))
    return found[::-1]


def remove(folder: Path) -> None:
    """Remove a folder and what is mounted in it; never reach through a mount."""
    if not folder.is_symlink() and not folder.exists():
        return
    for point in mounts_below(folder):
        run(["umount", str(point)])
    if still := mounts_below(folder):
        raise LabError(f"{still[0]} is still mounted; unmount it, then run this again")
    shutil.rmtree(folder)
