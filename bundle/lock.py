# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""One build at a time in a folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bundle.errors import LockedError


@contextmanager
def held(path: Path, *, wait: bool, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock; a second one waits and says so, or refuses. The kernel frees it when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            if not wait:
                raise LockedError(f"{path.parent} is being built by {holder}.") from None
            tell(f"{path.parent} is being built by {holder}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()}\n")
        file.flush()
        yield
