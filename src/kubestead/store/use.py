# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a SQLite store is in use: all that have it open share a lock on a file beside it.

(In PostgreSQL the connections hold an advisory lock, see `database`.)
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from .errors import StoreError


def lock_path(database: Path) -> Path:
    """The lock file of a database file."""
    return database.with_name(f"{database.name}.lock")


class UseLock:
    """Held from its making until `release`, or the end of the process however it ends."""

    def __init__(self, database: Path, *, alone: bool = False) -> None:
        """Share the use of `database`; with `alone`, refuse where anybody else has it open."""
        self._file = os.open(lock_path(database), os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if os.geteuid() == 0:  # what root leaves here must not keep the service out
                folder = database.resolve().parent.stat()
                os.fchown(self._file, folder.st_uid, folder.st_gid)
            fcntl.flock(self._file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise StoreError(
                f"the store {database} is in use: stop the State API first (systemctl stop machine-state-api)"
                if alone
                else f"the store {database} is being restored or moved: wait until that has ended"
            ) from error
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Let others have it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
