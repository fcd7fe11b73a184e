# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to an API server share a connection, and outlive one that the server has ended."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kubestead.model.kubeconfig import Client, Kubeconfig
from tests.unit.kubeadm_sample import make_certificate

#: set when a test is over, so that nobody is kept waiting
over = threading.Event()


class Handler(BaseHTTPRequestHandler):
    """Answers, hangs, or ends the connection without a word, by the path; notes who asks over which one."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[str, int]]

    def do_GET(self) -> None:
        """Note it and answer."""
        self.asked.append((f"{self.command} {self.path}", self.client_address[1]))
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/hang":
            over.wait(10)
        if self.path not in ("/gone", "/hang"):
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")
        # What the client sees at its next question is an end of which it was not told.
        self.close_connection = self.path in ("/last", "/gone", "/hang")

    def do_POST(self) -> None:
        """The same."""
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """Of a server with TLS, on a free port of the loopback."""
    certificate, key = make_certificate("localhost", days=3650)
    (tmp_path / "server.pem").write_bytes(certificate + key)
    Handler.asked = []
    over.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = Kubeconfig(f"https://127.0.0.1:{server.server_address[1]}", certificate, b"", b"")
    yield Client(config, timeout=0.5, check_name=False)
    over.set()
    server.shutdown()
    server.server_close()


def connections() -> list[int]:
    """The connections that were used, by the client's ports, in order."""
    return [port for _what, port in Handler.asked]


def test_questions_share_a_connection(client: Client) -> None:
    """One handshake for all of them."""
    assert all(client.request("/nodes").ok for _turn in range(3))
    assert len(connections()) == 3
    assert len(set(connections())) == 1


def test_a_connection_that_was_ended_meanwhile_is_made_anew(client: Client) -> None:
    """The question is asked once more, and answered."""
    assert client.request("/last").ok
    assert client.request("/nodes").ok
    assert len(set(connections())) == 2


def test_who_is_gone_is_asked_twice_and_no_more(client: Client) -> None:
    """The first question over a fresh connection is not repeated; one over a used one is, once."""
    assert client.request("/gone").status == 0
    assert len(connections()) == 1
    assert client.request("/nodes").ok
    answer = client.request("/gone")
    assert (answer.status, bool(answer.body)) == (0, True)
    assert [what for what, _port in Handler.asked].count("GET /gone") == 3


def test_what_may_not_be_sent_twice_has_a_connection_of_its_own(client: Client) -> None:
    """A POST without an answer may have been done."""
    assert client.request("/nodes").ok
    assert client.request("/gone", "POST", {}).status == 0
    assert [what for what, _port in Handler.asked] == ["GET /nodes", "POST /gone"]
    assert len(set(connections())) == 2


def test_a_server_that_hangs_is_not_waited_for_twice(client: Client) -> None:
    """What takes too long takes too long again."""
    assert client.request("/nodes").ok
    assert client.request("/hang").status == 0
    assert [what for what, _port in Handler.asked].count("GET /hang") == 1
