# SPDX-License-Identifier: GPL-3.0-or-later
"""A small HTTP server for tests that notes requests and answers as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server(ThreadingHTTPServer):
    """Notes requests, and answers as it is told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.answers: list[tuple[int, bytes]] = []
        self.connections = 0
        self.hang_up = False
        self.wait = 0.0
        self.promise = 0  # more bytes than come

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        """Note the request and answer."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append(
            (self.command, self.path, dict(self.headers), json.loads(body) if body else None)
        )
        if self.server.wait:
            threading.Event().wait(self.server.wait)
        status, answer = self.server.answers.pop(0) if self.server.answers else (200, b"{}")
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:9/")
        self.send_header("Content-Length", str(len(answer) + self.server.promise))
        self.end_headers()
        self.wfile.write(answer)
        self.close_connection = self.server.hang_up or self.server.promise > 0

    def do_POST(self) -> None:
        """The same."""
        self.do_GET()

    def do_PUT(self) -> None:
        """The same."""
        self.do_GET()

    def do_DELETE(self) -> None:
        """The same."""
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@contextmanager
def serving() -> Iterator[Server]:
    """Such a server on a free port."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
