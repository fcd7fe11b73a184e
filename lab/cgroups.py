# SPDX-License-Identifier: GPL-3.0-or-later
"""How this computer keeps groups of processes, and how a node's processes are told from all others."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from lab.errors import LabError
from lab.process import wait_until

ROOT = Path("/sys/fs/cgroup")


class Mode(Enum):
    """Who keeps the cgroups that nodes run in."""

    SYSTEMD = "systemd as PID 1, cgroup v2: each node is a transient unit"
    BARE_V2 = "no systemd as PID 1, cgroup v2: each node has a cgroup of its own"
    BARE_V1 = "cgroup v1: each node has a cgroup of its own in each hierarchy"

    @property
    def version(self) -> int:
        """Return the version of cgroups that nodes see."""
        return 1 if self is Mode.BARE_V1 else 2


@dataclass(frozen=True)
class Hierarchy:
    """A mounted cgroup file system."""

    path: Path
    version: int
    writable: bool


def hierarchies(mounts: str | None = None) -> list[Hierarchy]:
    """Return the cgroup file systems below /sys/fs/cgroup."""
    found = []
    for line in (Path("/proc/self/mounts").read_text() if mounts is None else mounts).splitlines():
        _, point, kind, options = line.split()[:4]
        path = Path(point)
        if kind in ("cgroup", "cgroup2") and (path == ROOT or ROOT in path.parents):
            found.append(Hierarchy(path, 2 if kind == "cgroup2" else 1, "rw" in options.split(",")))
    return found


def mode(mounts: str | None = None, systemd: bool | None = None) -> Mode:
    """Say which of the three this computer is."""
    if all(one.version == 1 or one.path != ROOT for one in hierarchies(mounts)):
        return Mode.BARE_V1
    runs_systemd = Path("/run/systemd/system").is_dir() if systemd is None else systemd
    return Mode.SYSTEMD if runs_systemd else Mode.BARE_V2


def slice_of(lab: str) -> str:
    """Name the slice of a lab's units. No dash: systemd would nest it, and what is above would stay."""
    return f"ks_{lab.replace('-', '_')}.slice"


def problems() -> list[str]:
    """Return why nodes could not get cgroups here."""
    known = hierarchies()
    if not known:
        return [
            "no cgroup file system is mounted in /sys/fs/cgroup; start this container with one (writable)"
        ]
    found = [
        f"{one.path} is mounted read-only; the lab needs it writable (a privileged container)"
        for one in known
        if not one.writable
    ]
    if mode() is Mode.BARE_V1 and not any(one.path.name == "systemd" for one in known):
        found.append(
            "cgroup v1 without the hierarchy `systemd`: systemd-nspawn needs it; as root: mkdir "
            "/sys/fs/cgroup/systemd && mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd"
        )
    return found


class Groups:
    """A node's cgroups where we make them ourselves."""

    def __init__(self, name: str) -> None:
        self.folders = [one.path / name for one in hierarchies() if one.writable]

    def make(self) -> list[Path]:
        """Make them, empty."""
        for folder in self.folders:
            folder.mkdir(exist_ok=True)
            for name in ("cpuset.cpus", "cpuset.mems"):  # v1: empty until told, and then no process may enter
                own, above = folder / name, folder.parent / name
                if own.is_file() and above.is_file() and not own.read_text().strip():
                    own.write_text(above.read_text())
            self._delegate(folder)
        return self.folders

    @staticmethod
    def _delegate(folder: Path) -> None:
        """cgroup v2: what the node may limit must be switched on above it."""
        control = folder.parent / "cgroup.subtree_control"
        controllers = folder.parent / "cgroup.controllers"
        if not control.is_file() or not controllers.is_file():
            return
        wanted = set(controllers.read_text().split()) - set(control.read_text().split())
        if wanted:
            try:
                control.write_text(" ".join(f"+{name}" for name in sorted(wanted)))
            except OSError as error:
                raise LabError(
                    f"{control}: cannot switch on {' '.join(sorted(wanted))} ({error.strerror}); in a "
                    "container with cgroup v2 its first processes must not sit in the root of the cgroup tree"
                ) from error

    def pids(self) -> set[int]:
        """Return every process in them."""
        found: set[int] = set()
        for folder in self._all():
            with contextlib.suppress(OSError):
                found.update(int(word) for word in (folder / "cgroup.procs").read_text().split())
        return found - {0, os.getpid()}

    def kill(self) -> bool:
        """Kill every process in them; say whether all are gone."""

        def none_left() -> bool:
            left = self.pids()
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            return not left

        return wait_until(none_left, 10)

    def remove(self) -> bool:
        """Remove them; say whether that worked."""

        def none_left() -> bool:
            for folder in self._all():
                with contextlib.suppress(OSError):
                    folder.rmdir()
            return not any(folder.exists() for folder in self.folders)

        return wait_until(none_left, 5)

    def _all(self) -> Iterator[Path]:
        for top in self.folders:
            for folder, _, _ in os.walk(top, topdown=False):
                yield Path(folder)
