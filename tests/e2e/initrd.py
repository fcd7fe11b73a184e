# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of an installer's initrd, so that its own programs can be run here."""

from __future__ import annotations

import gzip
import stat
from collections.abc import Iterator
from pathlib import Path

_MAGIC = b"070701"


def unpack(initrd: Path, folder: Path) -> None:
    """Unpack folders, files and links; devices and the modules of the kernel are left out."""
    with gzip.open(initrd) as stream:
        for name, mode, content in _entries(stream):
            path = folder / name
            if "/modules/" in name:
                continue
            if stat.S_ISDIR(mode):
                path.mkdir(parents=True, exist_ok=True)
            elif stat.S_ISLNK(mode):
                path.symlink_to(content.decode())
            elif stat.S_ISREG(mode):
                path.write_bytes(content)
                path.chmod(stat.S_IMODE(mode))


def _entries(stream: gzip.GzipFile) -> Iterator[tuple[str, int, bytes]]:
    """Name, mode and content of each entry."""
    position = 0

    def take(size: int) -> bytes:
        nonlocal position
        data = stream.read(size)
        padding = -(position + size) % 4
        stream.read(padding)
        position += size + padding
        return data

    while (header := stream.read(110)) and header.startswith(_MAGIC):
        position += 110
        numbers = [int(header[at : at + 8], 16) for at in range(6, 110, 8)]
        mode, size, length = numbers[1], numbers[6], numbers[11]
        name = take(length).rstrip(b"\0").decode()
        content = take(size)
        if name == "TRAILER!!!":
            return
        yield name, mode, content
