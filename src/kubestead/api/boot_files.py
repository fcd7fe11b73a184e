# SPDX-License-Identifier: GPL-3.0-or-later
"""The files below one folder, and nothing else: no dotfiles, no listing, no way out of it."""

from __future__ import annotations

import asyncio
import mimetypes
import os
import re
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import problem

READING = ThreadPoolExecutor(8, "boot-files")
_PIECE = 256 * 1024
_PART = re.compile(r"[^./\0\\][^/\0\\]*")  # one name of a path: no dotfile, no `..`, not empty
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class BootFiles:
    """Opens files below `folder`."""

    def __init__(self, folder: Path) -> None:
        """Serve what is below `folder`, which may be missing for now, or be a link itself."""
        self._folder = folder

    def find(self, path: str) -> ASGIApp | None:
        """The answer with a file's content; None if there is no such file to be had."""
        parts = path.removeprefix("/").split("/")
        if not all(_PART.fullmatch(part) for part in parts):
            return None
        try:
            root = self._folder.resolve(strict=True)
            target = root.joinpath(*parts).resolve(strict=True)
            if not target.is_relative_to(root) or _hidden(target.relative_to(root)):
                return None  # a link that leads out, or to what is not served
            # Should a name be replaced by a link in this moment, then not followed.
            descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError, RuntimeError):
            return None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            return None
        return _FileAnswer(descriptor, status, parts[-1])


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


@dataclass
class _FileAnswer:
    """An open file as an answer: all of it, a range, or `not modified`. It is closed in the end."""

    descriptor: int
    status: os.stat_result
    name: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._answer(scope, receive, send)
        finally:
            os.close(self.descriptor)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = {name: value.decode("latin-1") for name, value in scope["headers"]}
        size, etag = self.status.st_size, f'"{self.status.st_mtime_ns:x}-{self.status.st_size:x}"'
        headers = {
            "Accept-Ranges": "bytes",
            "ETag": etag,
            "Last-Modified": formatdate(self.status.st_mtime, usegmt=True),
            "Cache-Control": "no-cache",  # may be kept, but is asked for: an installer is replaced in place
            "X-Content-Type-Options": "nosniff",
        }
        if etag in {each.strip().removeprefix("W/") for each in asked.get(b"if-none-match", "").split(",")}:
            await Response(status_code=304, headers=headers)(scope, receive, send)
            return
        begin, end, status = 0, size, 200
        if (wanted := _range(asked, etag)) is not None:
            begin, end = wanted[0], size if wanted[1] is None else min(wanted[1] + 1, size)
            if wanted[0] < 0:
                begin, end = max(0, size + wanted[0]), size
            if begin >= size:
                refusal = f"{self.name} has {size} bytes: the range begins behind its end"
                await problem(416, refusal, {"Content-Range": f"bytes */{size}"})(scope, receive, send)
                return
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
            status = 206
        headers["Content-Length"] = str(end - begin)
        headers["Content-Type"] = _kind(self.name)
        await send({"type": "http.response.start", "status": status, "headers": _encoded(headers)})
        if scope["method"] != "HEAD":
            await self._send(begin, end, send)
        await send({"type": "http.response.body", "body": b""})

    async def _send(self, begin: int, end: int, send: Send) -> None:
        loop = asyncio.get_running_loop()
        while begin < end:
            wanted = min(_PIECE, end - begin)
            piece = await loop.run_in_executor(READING, os.pread, self.descriptor, wanted, begin)
            if not piece:
                raise OSError(f"{self.name} was cut short while it was sent")
            begin += len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": True})


def _range(asked: Mapping[bytes, str], etag: str) -> tuple[int, int | None] | None:
    """First and last byte of the one range that is asked for, the first negative for so many at the end.

    None: all of the file, also where several ranges or another version of the file are asked for.
    """
    matched = _RANGE.fullmatch(asked.get(b"range", "").strip())
    if matched is None or asked.get(b"if-range", etag) != etag:
        return None
    first, last = matched.groups()
    if not first:
        return (-int(last), None) if last and int(last) else None
    if last and int(last) < int(first):
        return None
    return int(first), int(last) if last else None


def _kind(name: str) -> str:
    if name.endswith(".ipxe"):
        return "text/plain; charset=utf-8"
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
