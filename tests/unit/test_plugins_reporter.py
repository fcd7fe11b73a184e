# SPDX-License-Identifier: GPL-3.0-or-later
"""The thread that reports to the State API: what it sends, keeps and drops, and whom it holds up."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.collection_sample import load
from tests.unit.http_sample import Server, serving

reporter = load("plugin_utils.reporter")
state_api_client = load("module_utils.state_api_client")
A, B = "52:54:00:00:00:0a", "52:54:00:00:00:0b"


@pytest.fixture
def server() -> Iterator[Server]:
    """A State API of sorts: it answers {} to all."""
    with serving() as found:
        yield found


def make(url: str, timeout: float = 2) -> Any:
    """A reporter to that address."""
    return reporter.Reporter(lambda: state_api_client.StateApiClient(url, "token", timeout))


def report(mac: str, state: str = "provisioning", phase: str = "prepare", **more: Any) -> Any:
    """A report."""
    return reporter.Report(mac[-2:], mac, state, phase, **more)


def sent(server: Server) -> list[tuple[str, str, str]]:
    """What came of reports: machine, state, phase."""
    bodies = [body for _method, path, _headers, body in server.requests if path == "/api/state"]
    return [(body["mac"][-2:], body["state"], body["phase"]) for body in bodies]


def test_reports_of_a_moment_become_one_and_keep_their_order(server: Server) -> None:
    one = make(server.url)
    for number in range(500):
        one.add(report(A, message=str(number)))
        one.add(report(B, phase="prepare" if number < 100 else "join"))
    one.add(report(A, "failed", error="no"))
    assert one.flush(5)
    assert sent(server) == [
        ("0a", "provisioning", "prepare"),
        ("0a", "failed", "prepare"),
        ("0b", "provisioning", "prepare"),
        ("0b", "provisioning", "join"),
    ]
    assert server.requests[1][3]["message"] == "499"
    assert (one.sent, one.refused, one.waiting) == (4, 0, 0)
    assert server.connections == 1


def test_a_machine_that_was_ready_is_ready_again(server: Server) -> None:
    server.answers = [(200, json.dumps({A: {"state": "ready"}, B: {"state": "installed"}}).encode())]
    one = make(server.url)
    one.add(report(A, "installed", settle=True))
    one.add(report(B, "installed", settle=True))
    assert one.flush(5)
    assert [state for _mac, state, _phase in sent(server)] == ["ready", "installed"]


def test_a_machine_that_is_refused_is_left_alone_until_it_is_taken_again(server: Server) -> None:
    refusal = b'{"detail": "a machine that is installing cannot go to provisioning"}'
    server.answers = [(200, b"{}"), (409, refusal)]
    one = make(server.url)
    one.add(report(A))
    assert one.flush(5)
    one.add(report(A, "failed"))  # or the installation would be given up for it
    assert one.flush(5)
    assert sent(server) == [("0a", "provisioning", "prepare")]
    assert (one.sent, one.refused) == (0, 1)
    assert one.first_refusal == "0a: a machine that is installing cannot go to provisioning"
    one.add(report(A, phase="join"))
    one.add(report(A, "ready", "validate"))
    assert one.flush(5)
    assert sent(server)[1:] == [("0a", "provisioning", "join"), ("0a", "ready", "validate")]
    assert one.sent == 2


def test_what_cannot_be_sent_waits(server: Server) -> None:
    tried = [0]

    def connect() -> Any:
        tried[0] += 1
        if tried[0] < 3:
            raise state_api_client.StateApiError("the token is not there yet")
        return state_api_client.StateApiClient(server.url, "token")

    one = reporter.Reporter(connect)
    server.answers = [(401, b'{"detail": "unknown token"}'), (200, b"{}"), (503, b'{"detail": "busy"}')]
    one.add(report(A))
    deadline = time.monotonic() + 20
    while not one.sent and time.monotonic() < deadline:
        one.flush(1)
    assert (one.sent, one.refused, one.waiting) == (1, 0, 0)
    assert tried[0] == 4


def kept(server: Server) -> list[tuple[str, Any, int]]:
    """What came to be kept of machines, and when: after how many reports."""
    found: list[tuple[str, Any, int]] = []
    reports = 0
    for method, path, _headers, body in server.requests:
        reports += (method, path) == ("POST", "/api/state")
        if (method, path) == ("POST", "/api/data"):
            found.append((body["key"], body["value"], reports))
    return found


def test_what_is_kept_outlives_a_report_that_another_replaces(server: Server) -> None:
    one = make(server.url)
    one.add(report(A, data={"join": 1, "other": 2}))
    one.add(report(A, data={"join": 3}))
    one.add(report(A))
    one.add(report(A, phase="network"))
    assert one.flush(5)
    assert kept(server) == [("join", 3, 1), ("other", 2, 1)]
    assert one.sent == 2


def test_what_is_kept_is_sent_again_with_its_report(server: Server) -> None:
    one = make(server.url)
    server.answers = [(200, b"{}"), (200, b"{}"), (503, b'{"detail": "busy"}')]
    one.add(report(A, data={"join": 1}))
    deadline = time.monotonic() + 20
    while not one.sent and time.monotonic() < deadline:
        one.flush(1)
    assert [(key, value) for key, value, _reports in kept(server)] == [("join", 1)] * 2
    assert (one.sent, one.refused, one.waiting) == (1, 0, 0)


def test_a_value_that_is_refused_does_not_keep_the_state_from_being_told(server: Server) -> None:
    server.answers = [(200, b"{}"), (200, b"{}"), (413, b'{"detail": "too large"}')]
    one = make(server.url)
    one.add(report(A, data={"join": 1}))
    assert one.flush(5)
    one.add(report(A, "ready"))
    assert one.flush(5)
    assert [state for _mac, state, _phase in sent(server) if state == "ready"] == ["ready"]
    assert (one.sent, one.refused) == (1, 1)


def test_an_api_that_is_not_there_holds_nobody_up() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        one = make(f"http://127.0.0.1:{free.getsockname()[1]}")
        started = time.monotonic()
        for _ in range(1000):
            one.add(report(A))
        assert time.monotonic() - started < 0.5
        assert not one.flush(3)
        assert time.monotonic() - started < 1.5
    assert one.waiting == 1
    assert "connection refused" in one.unreachable


def test_an_api_that_never_answers_holds_the_end_up_for_half_a_second() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        one = make(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.3)
        one.add(report(A))
        deadline = time.monotonic() + 10
        while not one.unreachable and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "no answer in time" in one.unreachable
        started = time.monotonic()
        assert not one.flush(3)
        assert time.monotonic() - started < 1.0


def test_an_api_that_is_slow_gets_the_last_reports_all_the_same(server: Server) -> None:
    server.wait = 0.2
    one = make(server.url)
    one.add(report(A))
    one.add(report(A, "ready"))
    assert one.flush(3)
    assert sent(server)[-1] == ("0a", "ready", "prepare")


def test_nothing_to_say() -> None:
    assert make("http://127.0.0.1:9").flush(3)
