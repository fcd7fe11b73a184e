# SPDX-License-Identifier: GPL-3.0-or-later
"""A boot server that hears what installers report, and answers as a test wants it to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.unit.installer_sample import PROOF


@dataclass
class BootServer:
    """Answers reports as it is told to, and keeps what it is sent."""

    port: int = 0
    codes: list[int] = field(default_factory=list)  # of the next answers; afterwards 200
    reports: list[dict[str, str]] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)

    def post(self, path: str, body: str) -> int:
        """Take what an installer sends."""
        parts = urlsplit(path)
        if self.codes:
            code = self.codes.pop(0)
            if code != 200:
                return code
        if parts.path == "/boot/report":
            told = {name: values[0] for name, values in parse_qs(body, strict_parsing=True).items()}
            assert told.pop("token") == PROOF
            self.reports.append(told)
        elif parts.path == "/boot/log" and parse_qs(parts.query) == {"token": [PROOF]}:
            self.logs.append(body)
        else:
            return 404
        return 200

    @property
    def said(self) -> list[tuple[str, str]]:
        """States and phases, in their order."""
        return [(each["state"], each["phase"]) for each in self.reports]


@contextmanager
def serving() -> Iterator[BootServer]:
    """Serve until the end of the block."""
    known = BootServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200 if self.path.startswith("/scripts/") else 404, f"content of {self.path}\n")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.reply(known.post(self.path, body), "this is what the server says\n")

        def reply(self, code: int, text: str) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """The requests are kept, that is enough."""

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    known.port = web.server_address[1]
    threading.Thread(target=web.serve_forever, daemon=True).start()
    try:
        yield known
    finally:
        web.shutdown()
        web.server_close()
