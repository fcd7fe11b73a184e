# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Modules that a run before this one has put together, ready to be sent.

Ansible reads and parses a module and all that it imports before it sends it, once in a run for each module.
That is a good part of what a run with nothing to do costs. What it made is taken along into the next run, as
long as nothing that it is made of has changed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import stat
import sys
import typing as t
from pathlib import Path

import ansible
from ansible import constants
from ansible.release import __version__
from ansible.utils.collection_loader import AnsibleCollectionConfig
from ansible_collections.kubestead.homelab.plugins.module_utils.atomic import write_atomically
from ansible_collections.kubestead.homelab.plugins.module_utils.cache import default_cache

#: Where Ansible keeps what it has put together, below its own folder of the run.
RUN_FOLDER = "ansiballz_cache"
#: Ansible's modules, ours, and those of the collection that ours need. Others may be under somebody's hands,
#: and `ansible.legacy.…`, of a `library` folder, is another one in each project.
NAMES = tuple(
    f"{name}.*"
    for name in (
        "ansible.modules",
        "ansible_collections.kubestead.homelab",
        "ansible_collections.kubernetes.core",
    )
)
#: As many states of Ansible and the collections are kept.
KEPT = 4


def roots(collection_paths: t.Iterable[str]) -> t.List[Path]:
    """Return the folders whose `modules` and `module_utils` those modules are made of."""
    kubernetes = [Path(folder, "ansible_collections/kubernetes/core/plugins") for folder in collection_paths]
    return [Path(ansible.__file__).parent, Path(__file__).resolve().parents[1], *kubernetes]


def key(folders: t.Iterable[Path]) -> str:
    """Name the state of all files that modules are made of, by path, size and time of the last change."""
    parts = [sys.version, __version__]
    for folder in folders:
        for kind in ("modules", "module_utils"):
            for path in sorted((folder / kind).rglob("*.py")):
                found = path.stat()
                parts.append(f"{path} {found.st_size} {found.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _is_safe(folder: Path) -> bool:
    """Whether nobody else can have put something there: what is in it is run on every machine."""
    found = folder.lstat()
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.geteuid()
        and not stat.S_IMODE(found.st_mode) & 0o022
    )


class PayloadCache:
    """The payloads of earlier runs, and those of this one."""

    def __init__(self, home: Path, run: Path, state: t.Callable[[], str]) -> None:
        """home: for all states of what modules are made of. run: this run's. state: names the present one."""
        self.run, self._ask = run, state
        self.state = state()
        self.kept = home / self.state
        self.brought: t.Set[str] = set()

    def bring(self) -> None:
        """Give this run what earlier ones have made; where that cannot be done, it makes its own."""
        with contextlib.suppress(OSError):
            if not (_is_safe(self.kept) and _is_safe(self.kept.parent)):
                return
            os.utime(self.kept)  # it is in use: others are forgotten first
            self.run.mkdir(mode=0o700, exist_ok=True)
            for path in self._in(self.kept):
                if not (self.run / path.name).exists():
                    write_atomically(self.run / path.name, path.read_bytes(), 0o600)
                    self.brought.add(path.name)

    def keep(self) -> None:
        """Keep what this run has made for the next one."""
        with contextlib.suppress(OSError):
            new = [path for path in self._in(self.run) if path.name not in self.brought]
            if not new or self._ask() != self.state:  # somebody is at work on the modules
                return
            self.kept.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not (_is_safe(self.kept) and _is_safe(self.kept.parent)):
                return
            for path in new:
                # Whole, also after a power cut: a part of one would fail every run to come.
                write_atomically(self.kept / path.name, path.read_bytes(), 0o600)
            os.utime(self.kept)
            self._forget_old()

    @staticmethod
    def _in(folder: Path) -> t.List[Path]:
        found = [path for pattern in NAMES for path in folder.glob(pattern)]
        return [path for path in found if not path.name.endswith((".lock", "-part"))]

    def _forget_old(self) -> None:
        states = sorted(self.kept.parent.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in states[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)


def of_this_run() -> PayloadCache:
    """The cache of Ansible's present process."""
    state = functools.partial(key, roots(AnsibleCollectionConfig.collection_paths))
    run = Path(constants.DEFAULT_LOCAL_TMP) / RUN_FOLDER
    return PayloadCache(default_cache() / "payloads", run, state)
