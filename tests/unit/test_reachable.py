# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses that answer and addresses that do not, on the loopback."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from kubestead.model import reachability
from kubestead.model.reachability import Target


class Handler(BaseHTTPRequestHandler):
    """A registry, a bundle that gets ready at the third question, a redirect and a proxy."""

    asked = 0

    def do_GET(self) -> None:
        """Answer by the path."""
        if self.path == "/status":
            Handler.asked += 1
            state = "building" if Handler.asked < 3 else "ready"
            said = {"state": state, "progress": f"{Handler.asked} of 3", "minors": ["1.36"]}
            self.answer(200, json.dumps(said))
        elif self.path == "/old":
            self.answer(308, "", Location="/v2/")
        elif self.path == "/v2/":
            self.answer(401, "log in first")
        elif self.path.startswith("http://elsewhere.invalid"):
            self.answer(200, "from the proxy")
        else:
            self.answer(503, "still\nbuilding kubeadm")

    def answer(self, status: int, body: str, **headers: str) -> None:
        """Send it."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server on a free port of the loopback, and no proxies but the test's own."""
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    Handler.asked = 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_all_are_asked_and_the_answers_keep_their_order(url: str) -> None:
    targets = [
        Target("images", url + "/v2/", (200, 401)),
        Target("moved", url + "/old", (401,)),
        Target("packages", url + "/x"),
    ]
    answers = reachability.ask_all(targets, 5)
    assert [answer.reached for answer in answers] == [True, True, False]
    assert answers[2].sentence() == f"packages: {url}/x: HTTP 503 (still building kubeadm)"


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    answer = reachability.ask(Target("packages", f"http://127.0.0.1:{port}/"), 2)
    assert not answer.reached
    assert "connection refused" in answer.detail


def test_other_kinds_of_address_are_refused() -> None:
    answer = reachability.ask(Target("a file", "file:///etc/passwd"), 2)
    assert not answer.reached
    assert "http://" in answer.detail


def test_a_name_that_does_not_exist_is_told_in_words() -> None:
    error = urllib.error.URLError(socket.gaierror(-2, "Name or service not known"))
    assert "name cannot be resolved" in reachability.in_words(error)


def test_the_proxy_of_the_environment_is_used(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", url)
    assert reachability.ask(Target("packages", "http://elsewhere.invalid/InRelease"), 2).reached


def test_a_bundle_that_is_being_built_is_waited_for(url: str) -> None:
    pauses: list[float] = []
    state = reachability.await_bundle(url + "/status", 2, 60, pause=pauses.append)
    assert state["state"] == "ready"
    assert len(pauses) == 2


def test_a_bundle_that_has_the_minor_is_not_waited_for(url: str) -> None:
    """Another one is being built into it; one that it does not have yet is waited for."""
    pauses: list[float] = []
    assert reachability.await_bundle(url + "/status", 2, 60, "1.36", pause=pauses.append)["state"] == "ready"
    assert pauses == []
    assert reachability.await_bundle(url + "/status", 2, 60, "1.29", pause=pauses.append)["state"] == "ready"
    assert len(pauses) == 1


def test_the_wait_has_an_end(url: str) -> None:
    clock = iter(range(0, 1000, 10))
    state = reachability.await_bundle(
        url + "/status", 2, 5, clock=lambda: float(next(clock)), pause=lambda _s: None
    )
    assert state == {"state": "building", "progress": "1 of 3", "detail": ""}


def test_a_bundle_without_a_status_page_says_nothing(url: str) -> None:
    assert reachability.bundle_state(url + "/v2/", 2)["state"] == "unknown"
