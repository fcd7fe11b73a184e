# SPDX-License-Identifier: GPL-3.0-or-later
"""The State API's client against a real server on loopback."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kubestead.model.state_api_client import (
    StateApiClient,
    StateApiError,
    StateApiRefusedError,
    StateApiUnreachableError,
    read_token,
)
from tests.unit.http_sample import Server, serving

MAC = "52:54:00:77:00:11"


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on a free port."""
    with serving() as found:
        yield found


def test_a_report(server: Server) -> None:
    client = StateApiClient(server.url + "/", "the-token", correlation_id="run-1")
    client.report_state(MAC, "provisioning", phase="prepare", progress=0, message="hello")
    method, path, headers, body = server.requests[0]
    assert (method, path) == ("POST", "/api/state")
    assert body == {
        "mac": MAC,
        "state": "provisioning",
        "phase": "prepare",
        "progress": 0,
        "message": "hello",
    }
    assert headers["Authorization"] == "Bearer the-token"
    assert headers["X-Correlation-ID"] == "run-1"
    assert headers["Content-Type"] == "application/json"


def test_the_five_paths_over_one_connection(server: Server) -> None:
    client = StateApiClient(server.url)
    server.answers = [
        (200, b'{"hostname": "a"}'),
        (200, b"{}"),
        (200, b'{"value": 1}'),
        (204, b""),
        (200, b"{}"),
    ]
    assert client.config(MAC) == {"hostname": "a"}
    assert client.states() == {}
    assert client.data(MAC, "a b/c") == {"value": 1}
    assert client.put_data(MAC, "key", [1]) is None
    assert client.healthy()
    assert [(method, path) for method, path, _, _ in server.requests] == [
        ("GET", f"/api/config/{MAC}"),
        ("GET", "/api/states"),
        ("GET", f"/api/data/{MAC}/a%20b%2Fc"),
        ("POST", "/api/data"),
        ("GET", "/healthz"),
    ]
    assert server.requests[3][3] == {"mac": MAC, "key": "key", "value": [1]}
    assert "Authorization" not in server.requests[0][2]
    assert server.connections == 1


@pytest.mark.parametrize(
    ("status", "answer", "text", "temporary"),
    [
        (422, b'{"detail": "field colour is not known"}', "422 Unprocessable", False),
        (422, b'{"detail": [{"loc": ["body", "mac"], "msg": "bad"}]}', "body.mac: bad", False),
        (409, b'{"detail": "it is retired"}', "409 Conflict: it is retired", False),
        (401, b"", "401 Unauthorized", False),
        (302, b"", "302 Found", False),
        (503, b"<html>proxy</html>", "503 Service Unavailable", True),
        (429, b"slow down", "429 Too Many Requests: slow down", True),
    ],
)
def test_refusals_say_why(server: Server, status: int, answer: bytes, text: str, temporary: bool) -> None:
    server.answers = [(status, answer)]
    client = StateApiClient(server.url, "the-token")
    with pytest.raises(StateApiRefusedError) as caught:
        client.report_state(MAC, "ready")
    assert text in str(caught.value)
    assert str(caught.value).startswith(f"POST {server.url}/api/state: {status}")
    assert (caught.value.status, caught.value.temporary) == (status, temporary)
    assert "the-token" not in str(caught.value)
    assert len(server.requests) == 1


def test_an_answer_that_is_no_json(server: Server) -> None:
    server.answers = [(200, b"welcome to nginx")]
    with pytest.raises(StateApiRefusedError, match="is this a State API"):
        StateApiClient(server.url).states()


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        client = StateApiClient(url, timeout=1)
        with pytest.raises(StateApiUnreachableError, match=f"{url}: connection refused"):
            client.states()
        assert not client.healthy()


def test_no_answer_in_time(server: Server) -> None:
    server.wait = 5
    started = time.monotonic()
    with pytest.raises(StateApiUnreachableError, match="no answer in time"):
        StateApiClient(server.url, timeout=0.2).states()
    assert time.monotonic() - started < 2


def test_tls_spoken_to_plain_http(server: Server) -> None:
    with pytest.raises(StateApiUnreachableError, match="TLS failed"):
        StateApiClient(server.url.replace("http:", "https:"), timeout=2).states()


def test_a_connection_that_the_server_closed_is_opened_again(server: Server) -> None:
    client = StateApiClient(server.url)
    server.hang_up = True
    for _ in range(3):
        client.states()
    assert (server.connections, len(server.requests)) == (3, 3)


def test_proxies_of_the_environment_are_not_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    StateApiClient(server.url).states()
    assert server.requests


@pytest.mark.parametrize(
    "url", ["", "10.0.0.10:8080", "ftp://a", "http://", "http://a:port", "http://user:hunter2@a:1"]
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(StateApiError, match=r"expected http\(s\)://HOST:PORT") as caught:
        StateApiClient(url)
    assert "hunter2" not in str(caught.value)


def test_a_ca_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(StateApiError, match="cannot be used as the State API's CA"):
        StateApiClient("https://127.0.0.1:1", ca_file=str(tmp_path / "ca.pem"))


def test_tokens(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with pytest.raises(StateApiError, match="token cannot be read: No such file"):
        read_token(str(path))
    path.write_text("abc-123\n", encoding="utf-8")
    assert read_token(str(path)) == "abc-123"
    for text in ("", "two words", "a\nb", "ä"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(StateApiError, match="holds no token"):
            read_token(str(path))


VERBS: list[tuple[str, Callable[[StateApiClient], Any], tuple[str, str, Any]]] = [
    ("health", lambda c: c.health(), ("GET", "/healthz", None)),
    ("machines", lambda c: c.machines(), ("GET", "/api/machines", None)),
    ("machine", lambda c: c.machine(MAC), ("GET", f"/api/machines/{MAC}", None)),
    ("a MAC is quoted", lambda c: c.machine("a/b?c"), ("GET", "/api/machines/a%2Fb%3Fc", None)),
    ("events", lambda c: c.events(), ("GET", "/api/events", None)),
    (
        "events after",
        lambda c: c.events(after=0, mac=MAC, limit=5),
        ("GET", "/api/events?after=0&mac=52%3A54%3A00%3A77%3A00%3A11&limit=5", None),
    ),
    (
        "approve",
        lambda c: c.act(MAC, "approve", version=3),
        ("POST", f"/api/machines/{MAC}/approve", {"version": 3}),
    ),
    (
        "reinstall",
        lambda c: c.act(MAC, "reinstall", hostname="cp-1", version=None),
        ("POST", f"/api/machines/{MAC}/reinstall", {"hostname": "cp-1"}),
    ),
    ("registry", lambda c: c.registry(), ("GET", "/api/registry", None)),
    ("push", lambda c: c.put_registry("{}"), ("PUT", "/api/registry", {"text": "{}"})),
    (
        "push by force",
        lambda c: c.put_registry("{}", "abc", True),
        ("PUT", "/api/registry", {"text": "{}", "expected_sha256": "abc", "force": True}),
    ),
    (
        "put a machine",
        lambda c: c.put_machine(MAC, {"hostname": "a"}),
        ("PUT", f"/api/registry/machines/{MAC}", {"hostname": "a"}),
    ),
    ("delete a machine", lambda c: c.delete_machine(MAC), ("DELETE", f"/api/registry/machines/{MAC}", None)),
    ("tokens", lambda c: c.tokens(), ("GET", "/api/tokens", None)),
    (
        "make a token",
        lambda c: c.create_token("a", "machine", mac=MAC, expires_in_seconds=60),
        ("POST", "/api/tokens", {"name": "a", "scope": "machine", "mac": MAC, "expires_in_seconds": 60}),
    ),
    ("revoke", lambda c: c.revoke_token(7), ("DELETE", "/api/tokens/7", None)),
    ("claims", lambda c: c.claims(), ("GET", "/api/claims", None)),
    ("claim", lambda c: c.claim("cluster homelab"), ("GET", "/api/claims/cluster%20homelab", None)),
    ("take", lambda c: c.take_claim("c", "cp-1"), ("POST", "/api/claims/c", {"holder": "cp-1"})),
    (
        "complete",
        lambda c: c.complete_claim("c", "cp-1", 2, {"ca": "x"}),
        ("PUT", "/api/claims/c", {"holder": "cp-1", "epoch": 2, "data": {"ca": "x"}}),
    ),
    ("force", lambda c: c.force_claim("c", "cp-2"), ("POST", "/api/claims/c/force", {"holder": "cp-2"})),
    ("the keys", lambda c: c.data_keys(MAC), ("GET", f"/api/data/{MAC}", None)),
]


@pytest.mark.parametrize(("call", "request_"), [verb[1:] for verb in VERBS], ids=[verb[0] for verb in VERBS])
def test_the_verbs(
    server: Server, call: Callable[[StateApiClient], Any], request_: tuple[str, str, Any]
) -> None:
    server.answers = [(200, b'{"answer": 1}')]
    assert call(StateApiClient(server.url, "the-token")) == {"answer": 1}
    method, path, headers, body = server.requests[0]
    assert (method, path, body) == request_
    assert headers["Authorization"] == "Bearer the-token"


def test_what_a_refusal_says_beside_its_sentence(server: Server) -> None:
    server.answers = [(409, b'{"detail": "cp-1 holds it", "claim": {"holder": "cp-1", "epoch": 1}}')]
    with pytest.raises(StateApiRefusedError) as caught:
        StateApiClient(server.url).take_claim("c", "cp-2")
    assert caught.value.detail == "cp-1 holds it"
    assert caught.value.answer["claim"] == {"holder": "cp-1", "epoch": 1}
    for answer, detail in ((b"slow down\nplease", "slow down"), (b"<html>", ""), (b"[1]", ""), (b"", "")):
        server.answers = [(502, answer)]
        with pytest.raises(StateApiRefusedError) as caught:
            StateApiClient(server.url).claims()
        assert (caught.value.status, caught.value.detail) == (502, detail)


def test_what_may_not_happen_twice_goes_over_a_new_connection(server: Server) -> None:
    client = StateApiClient(server.url)
    client.machines()
    client.create_token("a", "read")
    client.machines()
    assert server.connections == 2
    client.act(MAC, "approve")
    assert server.connections == 3


def test_a_backup_is_whole_or_an_error(server: Server) -> None:
    content = bytes(range(256)) * 1000
    server.answers = [(200, content), (200, content)]
    copy = io.BytesIO()
    client = StateApiClient(server.url)
    assert client.backup(copy) == len(content)
    assert copy.getvalue() == content
    server.promise = 100
    with pytest.raises(StateApiUnreachableError, match=f"ended after {len(content)} of {len(content) + 100}"):
        client.backup(io.BytesIO())
