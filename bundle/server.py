# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Kubestead contributors
"""A read-only HTTP server for a bundle: apt repository, images, status."""

from __future__ import annotations

import re
import socket
from email.utils import formatdate, parsedate_to_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

from bundle.site import Answer, Site, text

RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")


class BundleServer(ThreadingHTTPServer):
    """The server; ``site`` is what it shows."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, where: socket.socket | tuple[str, int], site: Site) -> None:
        self.site = site
        if isinstance(where, socket.socket):
            self.address_family = where.family
            super().__init__(("", 0), BundleHandler, bind_and_activate=False)
            self.socket.close()
            self.socket = where
            self.server_address = where.getsockname()
            self.server_name, self.server_port = "bundle", 0
            self.server_activate()
        else:
            self.address_family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
            super().__init__(where, BundleHandler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is nothing to write about."""


class BundleHandler(BaseHTTPRequestHandler):
    """Answers GET and HEAD from ``self.site`` (of the server, unless a subclass says otherwise)."""

    protocol_version = "HTTP/1.1"
    timeout = 75
    wbufsize = 1 << 16  # headers and a short body in one packet

    @property
    def site(self) -> Site:
        """The bundle that is served."""
        return cast(BundleServer, self.server).site

    def setup(self) -> None:
        """Send small answers at once, where there is anything to set."""
        super().setup()
        if self.connection.family in (socket.AF_INET, socket.AF_INET6):
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)

    def do_GET(self) -> None:
        """Answer with headers and content."""
        self.respond(self._answer())

    def do_HEAD(self) -> None:
        """Answer with headers only."""
        self.respond(self._answer())

    def version_string(self) -> str:
        """What the header ``Server`` says."""
        return "kubestead-bundle"

    def address_string(self) -> str:
        """The client's address; there is none on a Unix socket."""
        return str(self.client_address[0]) if self.client_address else "local"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: an image pull is hundreds of requests."""

    def _answer(self) -> Answer:
        try:
            return self.site.answer(self.path)
        except FileNotFoundError:
            # The bundle was replaced between two looks at it; the client's next attempt finds the new one.
            return text(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "The bundle is being replaced, ask again",
                **{"Retry-After": "2"},
            )

    def respond(self, answer: Answer) -> None:
        """Send an answer; a file goes out without passing through our memory."""
        try:
            if answer.file is None:
                self._send_bytes(answer)
            else:
                self._send_file(answer, answer.file)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True  # the client is gone, or has half of what was promised

    def _send_bytes(self, answer: Answer) -> None:
        self._start(answer.status, answer, len(answer.data))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.data)

    def _send_file(self, answer: Answer, path: Path) -> None:
        try:
            file = path.open("rb")
        except FileNotFoundError:
            self._send_bytes(text(HTTPStatus.NOT_FOUND, f"{path.name}: is gone"))
            return
        with file:
            about = path.stat()
            modified = formatdate(about.st_mtime, usegmt=True)
            if self._is_current(answer, about.st_mtime):
                self._start(HTTPStatus.NOT_MODIFIED, answer, 0)
                self.end_headers()
                return
            start, end = self._range(about.st_size, (modified, answer.headers.get("ETag")))
            if start >= end and about.st_size > 0:
                self._start(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, answer, 0)
                self.send_header("Content-Range", f"bytes */{about.st_size}")
                self.end_headers()
                return
            whole = (start, end) == (0, about.st_size)
            self._start(HTTPStatus.OK if whole else HTTPStatus.PARTIAL_CONTENT, answer, end - start)
            self.send_header("Last-Modified", modified)
            self.send_header("Accept-Ranges", "bytes")
            if not whole:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{about.st_size}")
            self.end_headers()
            if self.command != "HEAD" and end > start:
                self.wfile.flush()
                self.connection.sendfile(file, start, end - start)

    def _start(self, status: HTTPStatus, answer: Answer, length: int) -> None:
        self.send_response(status)
        if status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(length))
        for name, value in answer.headers.items():
            self.send_header(name, value)

    def _is_current(self, answer: Answer, modified: float) -> bool:
        if wanted := self.headers.get("If-None-Match"):
            return answer.headers.get("ETag") in [tag.strip() for tag in wanted.split(",")]
        since = self.headers.get("If-Modified-Since")
        if not since:
            return False
        try:
            return int(modified) <= parsedate_to_datetime(since).timestamp()
        except (TypeError, ValueError):
            return False

    def _range(self, size: int, validators: tuple[str | None, ...]) -> tuple[int, int]:
        """The first byte to send and the one after the last; an empty range when what was asked is not there.

        A client that holds part of another file of the same name (``If-Range``) gets all of this one.
        """
        match = RANGE.match(self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if not match or match[0] == "bytes=-" or (condition and condition not in validators):
            return 0, size
        first, last = match[1], match[2]
        if not first:
            return max(0, size - int(last)), size
        return int(first), min(size, int(last) + 1) if last else size


def make_server(
    where: socket.socket | tuple[str, int], bundle_dir: Path, status_file: Path | None = None
) -> ThreadingHTTPServer:
    """A server for a bundle folder, on an address or on a socket that is bound already.

    ``serve_forever`` starts it. The folder need not be complete, or there: ``/status`` says what it is, by
    ``status_file`` while it is being built.
    """
    return BundleServer(where, Site(bundle_dir, status_file))
