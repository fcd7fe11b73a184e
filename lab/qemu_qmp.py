# SPDX-License-Identifier: GPL-3.0-or-later
"""Talk to a running QEMU: one question, one answer (QMP)."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from lab.errors import LabError


@contextmanager
def connect(path: Path, timeout: float | None = None) -> Iterator[socket.socket]:
    """Connect to a unix socket, however long its path is: the kernel takes no more than 107 characters."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(f"/proc/self/fd/{folder}/{path.name}")
            yield connection
    finally:
        os.close(folder)


def ask(path: Path, command: str, timeout: float = 10) -> dict[str, Any]:
    """Have QEMU execute a command and return its answer; OSError when nobody answers."""
    with connect(path, timeout) as connection, connection.makefile("rw", encoding="utf-8") as stream:
        _answer(stream, "QMP")
        for word in ("qmp_capabilities", command):
            stream.write(json.dumps({"execute": word}) + "\n")
            stream.flush()
            answer = _answer(stream, "return")
    return answer


def _answer(stream: IO[str], key: str) -> dict[str, Any]:
    for line in stream:  # events come in between
        said = json.loads(line)
        if "error" in said:
            raise LabError(f"QEMU: {said['error'].get('desc', said['error'])}")
        if key in said:
            found: dict[str, Any] = said[key]
            return found
    raise ConnectionResetError("QEMU ended")
