# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One writer of a registry at a time, by a lock that the kernel takes back however its holder ends."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
import time
import typing as t
from contextlib import contextmanager

from .problems import Problem, RegistryError

_FIRST_WAIT = 0.01
_LONGEST_WAIT = 0.1
_REMARK = 200


class RegistryLockedError(RegistryError):
    """Another writer holds the registry, and did not let go in time. Trying again may help."""


class RegistryUnwritableError(RegistryError):
    """The registry, or the folder that it is in, cannot be written."""


def lock_file(path: t.Union[str, os.PathLike[str]]) -> str:
    """Where the lock of a registry lies: hidden, beside the real file, and for good."""
    folder, name = os.path.split(os.path.realpath(os.fspath(path)))
    return os.path.join(folder, f".{name}.lock")


@contextmanager
def locked(path: t.Union[str, os.PathLike[str]], timeout: float = 10) -> t.Iterator[None]:
    """Hold the lock of the registry at `path` for a while; two threads of one program exclude each other too.

    Raises RegistryLockedError, which says who holds it, after `timeout` seconds, and RegistryUnwritableError.
    Editors know nothing of the lock: `Registry.update` looks at the file again before it replaces it.
    The lock file is never removed: whoever waits for one that is gone would wait beside the others.
    """
    name = os.fspath(path)
    descriptor, writable = _open(lock_file(name), name)
    try:
        _take(descriptor, name, timeout)
        if writable:
            _sign(descriptor)
        yield
        if writable:
            _wipe(descriptor)
    finally:
        os.close(descriptor)


def unwritable(path: str, error: OSError) -> RegistryUnwritableError:
    """What a failure to write the registry at `path` means for a person."""
    what = error.strerror or str(error)
    expectation = "a file and a folder that this user may write"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        expectation = "room on its disk; the old content is untouched"
    elif error.errno == errno.ENOENT:
        expectation = "a folder that is there"
    return RegistryUnwritableError(
        [Problem(path, None, None, None, expectation, f"cannot be written ({what})")]
    )


def _open(lock: str, path: str) -> t.Tuple[int, bool]:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(lock, os.O_RDWR | os.O_CREAT | flags, 0o644), True
    except PermissionError as error:
        # It may be another user's: who can read it can lock it. Whether the file may be written shows later.
        try:
            return os.open(lock, os.O_RDONLY | flags), False
        except OSError:
            raise unwritable(path, error) from None
    except OSError as error:
        raise unwritable(path, error) from None


def _take(descriptor: int, path: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    wait = _FIRST_WAIT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            left = deadline - time.monotonic()
            if left <= 0:
                found = f"is being changed by {_holder(descriptor)}"
                expectation = f"to be free within {timeout:g} seconds; try again"
                raise RegistryLockedError([Problem(path, None, None, None, expectation, found)]) from None
            time.sleep(min(wait, left))  # no call waits for a lock with a time limit
            wait = min(wait * 2, _LONGEST_WAIT)
        except OSError as error:
            raise unwritable(path, error) from None
        else:
            return


def _sign(descriptor: int) -> None:
    """Leave word for those who wait; the lock itself does not depend on it."""
    program = os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else "python"
    if program == "__main__.py":
        program = os.path.basename(os.path.dirname(sys.argv[0])) or program
    remark = f"{program} (process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%H:%M:%S')})"
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, remark.encode("utf-8", "replace")[:_REMARK], 0)
    except OSError:
        return  # a full disk: the lock holds all the same


def _wipe(descriptor: int) -> None:
    try:
        os.ftruncate(descriptor, 0)
    except OSError:
        return


def _holder(descriptor: int) -> str:
    try:
        remark = os.pread(descriptor, _REMARK, 0).decode("utf-8", "replace")
    except OSError:
        remark = ""
    return remark if remark.isprintable() and remark else "another program"
