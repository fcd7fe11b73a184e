# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write files so that a reader, also one after a crash, finds the old content or the new, never a part."""

from __future__ import annotations

import os
import stat
import tempfile
import typing as t
from pathlib import Path

#: How the names of files begin that are not complete yet. One that stays was left by a run that was killed.
UNFINISHED = ".new-"


def write_atomically(
    path: t.Union[str, os.PathLike[str]],
    content: t.Union[str, bytes],
    mode: t.Optional[int] = None,
    parents: bool = False,
) -> None:
    """Replace a file in one step, on the disk when this returns; raises OSError and leaves the old file then.

    path: a symbolic link is replaced itself; who wants the file behind it gives the real path.
    content: text is written as UTF-8.
    mode: of the file; without it mode and owner of the file that is replaced are kept, a new one gets 0644.
    parents: make the folders that are missing.
    """
    target = Path(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    if parents:
        target.parent.mkdir(parents=True, exist_ok=True)
    before = _status(target) if mode is None else None
    descriptor, temporary = tempfile.mkstemp(prefix=f"{UNFINISHED}{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            if before is not None:
                _keep_owner(stream.fileno(), before)
                mode = stat.S_IMODE(before.st_mode)
            os.fchmod(stream.fileno(), 0o644 if mode is None else mode)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _status(path: Path) -> t.Optional[os.stat_result]:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _keep_owner(descriptor: int, before: os.stat_result) -> None:
    if (before.st_uid, before.st_gid) == (os.geteuid(), os.getegid()):
        return
    try:
        os.fchown(descriptor, before.st_uid, before.st_gid)
    except PermissionError:
        return  # only root may give a file away; the content counts more than its owner
