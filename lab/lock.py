# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time for each lab."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LockedError


@contextmanager
def held(path: Path, name: str, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock file. It is removed at the end, unless someone took it over by then.

    The kernel drops the lock with the process, however that ends: there are no stale ones.
    """
    descriptor = _acquire(path, name, wait)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path: Path, name: str, wait: bool) -> int:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:  # the last run removed the folder just now
            continue
        if not _flock(descriptor):
            holder = os.pread(descriptor, 100, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            if not wait:
                raise LockedError(
                    f"{name} is being worked on by another run, process {holder}; "
                    "wait for it, or run this again with --wait"
                )
            time.sleep(0.2)
            continue
        if _is_the_file_at(descriptor, path):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            return descriptor
        os.close(descriptor)


def _flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_the_file_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
