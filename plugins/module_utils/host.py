# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine says of itself in its file systems. Functions take the root, so that tests bring one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class FileChange(NamedTuple):
    """One file as it is and as it should be; ``None`` means that it does not exist."""

    path: str
    before: str | None
    after: str | None

    @property
    def needed(self) -> bool:
        """Whether the file has to be touched."""
        return self.before != self.after


def read_text(path: Path) -> str | None:
    """The file's text, or ``None`` when there is no such file."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None


def container_kind(root: Path = Path("/")) -> str:
    """The kind of container that this machine is (``systemd-nspawn``, ``lxc``, …), nothing for none."""
    named = (read_text(root / "run/systemd/container") or "").strip()
    if named:
        return named
    try:
        environment = (root / "proc/1/environ").read_bytes().split(b"\0")
    except OSError:
        environment = []
    for entry in environment:
        if entry.startswith(b"container="):
            return entry.partition(b"=")[2].decode(errors="replace") or "container"
    for mark, kind in (("run/.containerenv", "podman"), (".dockerenv", "docker")):
        if (root / mark).exists():
            return kind
    return ""


def cgroup_version(root: Path = Path("/")) -> int:
    """2 where the unified hierarchy is mounted at its usual place, else 1."""
    return 2 if (root / "sys/fs/cgroup/cgroup.controllers").exists() else 1
