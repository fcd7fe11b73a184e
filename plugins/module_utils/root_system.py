# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a running system has its root file system: on a disk, in memory, or elsewhere."""

from __future__ import annotations

import os
import re
import stat
import typing as t
from pathlib import Path

DISK, MEMORY, OTHER = "disk", "memory", "other"

_IN_MEMORY = ("tmpfs", "ramfs", "rootfs", "squashfs")
_UPPER = re.compile(r"(?:^|,)upperdir=([^,]+)")
_OURS = re.compile(r"(?:^|\s)kubestead=(?:install|rescue)(?:\s|$)")
_ESCAPE = re.compile(r"\\([0-7]{3})")


class Root(t.NamedTuple):
    """The root file system."""

    source: str
    type: str
    kind: str


def find_root(top: Path) -> Root:
    """What is mounted at `/`. top: where /proc and /dev are found."""
    mounts = _mounts((top / "proc/self/mounts").read_text(encoding="utf-8", errors="replace"))
    source, type_, options = mounts["/"]
    if (
        _OURS.search((top / "proc/cmdline").read_text(encoding="utf-8", errors="replace"))
        or type_ in _IN_MEMORY
    ):
        return Root(source, type_, MEMORY)
    upper = _UPPER.search(options) if type_ == "overlay" else None
    if upper and _type_of(mounts, upper[1]) in _IN_MEMORY:
        return Root(source, type_, MEMORY)
    on_disk = type_ == "zfs" or _is_block_device(top / source.lstrip("/")) or _has_device(top)
    return Root(source, type_, DISK if on_disk else OTHER)


def _mounts(text: str) -> t.Dict[str, t.Tuple[str, str, str]]:
    """Source, type and options by where it is mounted; of two at one place the later one is seen."""
    found = {}
    for line in text.splitlines():
        source, where, type_, options = (_ESCAPE.sub(_character, word) for word in line.split()[:4])
        found[where] = (source, type_, options)
    return found


def _character(match: t.Match[str]) -> str:
    return chr(int(match[1], 8))


def _type_of(mounts: t.Mapping[str, t.Tuple[str, str, str]], path: str) -> str:
    """The type of the file system that a path is on, where anything but `/` itself holds it."""
    place = Path(path)
    for folder in (place, *place.parents):
        if str(folder) != "/" and str(folder) in mounts:
            return mounts[str(folder)][1]
    return ""


def _has_device(top: Path) -> bool:
    """Whether the kernel knows the file system's device; what is called /dev/root has no file there."""
    number = top.stat().st_dev
    return (top / f"sys/dev/block/{os.major(number)}:{os.minor(number)}").exists()


def _is_block_device(path: Path) -> bool:
    try:
        return stat.S_ISBLK(path.stat().st_mode)
    except OSError:
        return False
